"""What a database holds secret, as this process knows it: read when asked for, and again when it may have changed.

A process sees its own changes as soon as they are committed, and those of others after at most ten seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Self, TypeAlias

from sqlalchemy import select, true

from agentdb.engine.asked import several
from agentdb.engine.connection import Connection
from agentdb.engine.plan import Plan
from agentdb.engine.scoping.beyond import beyond_tenant
from agentdb.errors import BadInput, DecryptionFailed, MissingReference, brief
from agentdb.hub.models.settings import Variable
from agentdb.hub.redaction import Redactor, Registered
from agentdb.keyring import Keyring

# What texts go through before they are stored.
Redact: TypeAlias = Callable[[Iterable[str | None]], Awaitable[list[str]]]

FRESH: Final = timedelta(seconds=10)
LARGE: Final = 1 << 18  # characters: some milliseconds

_SENSITIVE: Final = beyond_tenant(
    Plan[Variable](select(Variable).where(Variable.sensitive == true()), name="variables.sensitive", rows=Variable),
    "what is masked in anybody's texts must be known; it is told to nobody",
)


class KnownSecrets:
    """The secrets of one database, shared by all who redact for it."""

    def __init__(self, registered: Registered | None = None) -> None:
        self.registered = Registered() if registered is None else registered
        self.changes = 0
        self._redactor = Redactor({}, self.registered)
        self._read_at: datetime | None = None

    def fresh(self, now: datetime) -> Redactor | None:
        """Return the redactor, unless what it knows is too old."""
        if self._read_at is None or not timedelta(0) <= now - self._read_at < FRESH:
            return None
        return self._redactor

    def stamp(self) -> int:
        """Return what tells, after a read, whether something was changed since before it."""
        return self.changes

    def learn(self, secrets: Mapping[str, str], now: datetime, stamp: int) -> Redactor:
        """Return a redactor of these secrets, kept for others unless something has changed since they were read.

        Args:
            secrets: as they were read.
            now: the moment before that.
            stamp: of that moment.
        """
        redactor = self._redactor
        if not redactor.knows(secrets):
            redactor = Redactor(secrets, self.registered)
        if stamp == self.changes:
            self._redactor, self._read_at = redactor, now
        return redactor

    def changed(self) -> None:
        """Let the secrets be read again before they are used."""
        self.changes += 1
        self._read_at = None


class UnitSecrets(KnownSecrets):
    """The secrets as a unit sees them: the database's, until the unit changes one.

    Args:
        database: the secrets of the database.
        writes: whether the unit does; one that reads sees an old state, and tells nobody of it.
    """

    def __init__(self, database: KnownSecrets, *, writes: bool) -> None:
        super().__init__(database.registered)
        self._database = database
        self._tells = writes

    def fresh(self, now: datetime) -> Redactor | None:
        """Return the redactor, unless what it knows is too old."""
        return super().fresh(now) or (None if self.changes else self._database.fresh(now))

    def stamp(self) -> int:
        """Return what tells, after a read, whether something was changed since before it."""
        return super().stamp() if self.changes else self._database.stamp()

    def learn(self, secrets: Mapping[str, str], now: datetime, stamp: int) -> Redactor:
        """Return a redactor of these secrets, and tell the others while the unit has changed none."""
        if self._tells and not self.changes:
            return self._database.learn(secrets, now, stamp)
        return super().learn(secrets, now, stamp)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Whether it is committed or never was, and whether or not that could be told: the others read anew.
        if self.changes:
            self._database.changed()


class Redaction:
    """What masks secrets before they are stored, over one connection.

    Args:
        connection: the database itself, or an open unit, whose own changes count at once.
        secrets: what is known of the database's secrets.
        tenant: the user in whose scope it is, when it is in one.
    """

    def __init__(self, connection: Connection, secrets: KnownSecrets, *, tenant: int | None = None) -> None:
        self.connection = connection
        self._secrets = secrets
        self._tenant = tenant

    async def current(self) -> Redactor:
        """Return what masks the sensitive variables there are, and the runtime keys that were registered.

        A value that no configured key opens is not masked: nobody here can know it.

        Cost: none while it is fresh; one read every ten seconds, and after each change of a variable.
        """
        now, stamp = self.connection.now(), self._secrets.stamp()
        redactor = self._secrets.fresh(now)
        if redactor is not None:
            return redactor
        rows = await self.connection.fetch_all(_SENSITIVE, {})
        return self._secrets.learn(_opened_among(self.connection.keyring, rows), now, stamp)

    async def redact(self, texts: Iterable[str | None]) -> list[str]:
        """Return texts with what is secret masked; for a great many characters on a thread, so that others go on.

        Raises: BadInput for what is not text.
        """
        given = list(several(texts, "texts"))
        for text in given:
            if text is not None and not isinstance(text, str):
                raise BadInput(f"text is a str, not {type(text).__name__}")
        redactor = await self.current()
        if sum(len(text) for text in given if text) < LARGE:
            return [redactor.redact(text) for text in given]
        return await asyncio.to_thread(lambda: [redactor.redact(text) for text in given])

    def register(self, user_id: int, plaintext: str) -> None:
        """Mask a runtime key that was issued to a user, in this process; keys before it stay masked.

        Raises: BadInput for what is not text; MissingReference within another user's scope.
        """
        self._check(user_id)
        self._secrets.registered.register(user_id, plaintext)

    def forget(self, user_id: int) -> None:
        """Mask the runtime keys of a user no more: they were revoked.

        Raises: BadInput for what is no id; MissingReference within another user's scope.
        """
        self._check(user_id)
        self._secrets.registered.forget(user_id)

    def changed(self) -> None:
        """Read the secrets again before they are used next."""
        self._secrets.changed()

    def _check(self, user_id: int) -> None:
        if self._tenant is not None and user_id != self._tenant:
            raise MissingReference(f"redaction: there is no user {brief(user_id)}", constraint="scope")


def opened(keyring: Keyring, variable: Variable) -> str:
    """Return a variable's value, wherever it is stored.

    Raises: DecryptionFailed.
    """
    if variable.secret is None:
        return variable.value or ""
    return str(keyring.open(variable.secret, table="variables", column="secret", row=variable.key))


def _opened_among(keyring: Keyring, variables: Iterable[Variable]) -> dict[str, str]:
    secrets = {}
    for variable in variables:
        with suppress(DecryptionFailed):
            secrets[variable.key] = opened(keyring, variable)
    return secrets
