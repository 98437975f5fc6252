"""Variables: named values for agents' configurations and shells, the sensitive ones sealed once there are keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Select, Table, bindparam, case, delete, select, true, update

from agentdb.criteria import beyond
from agentdb.engine.asked import flag, texts
from agentdb.engine.columns import bound_columns, of
from agentdb.engine.connection import Connection, Script, count
from agentdb.engine.functions import among
from agentdb.engine.plan import Plan
from agentdb.engine.spelling import TextType
from agentdb.engine.statements import insert_into
from agentdb.errors import BadInput, BadSettings, NotFound
from agentdb.hub.masking import Redaction, opened
from agentdb.hub.models.settings import Variable
from agentdb.hub.settings import NamedValue
from agentdb.hub.templates import BULLETS
from agentdb.page import Page, values_of
from agentdb.repository import capped, page_of

_variables: Final[Table] = Variable.__table__  # type: ignore[assignment]

RESERVED: Final = frozenset({"NAISYS_API_KEY"})  # the runner's own, different for each agent
_KEY: Final = TextType(255).binder("")
_VALUE: Final = TextType().binder("")


def _save_plan() -> Plan[Variable]:
    statement = insert_into(_variables)
    changed = ("value", "secret", "export_to_shell", "sensitive", "updated_by", "updated_at")
    statement = statement.on_conflict_do_update(
        index_elements=["key"], set_={key: statement.excluded[key] for key in changed}
    )
    columns = [column.key for column in bound_columns(_variables)]
    return Plan(statement.returning(_variables), name="variables.save", rows=Variable, columns=columns)


def _ensure_plan() -> Plan[Variable]:
    """Insert a variable, or make the one that is there sensitive; it never stops being so."""
    statement = insert_into(_variables)
    given, there = statement.excluded, _variables.c
    upgraded = given.sensitive & ~there.sensitive
    statement = statement.on_conflict_do_update(
        index_elements=["key"],
        set_={
            "sensitive": there.sensitive | given.sensitive,
            "updated_by": case((upgraded, given.updated_by), else_=there.updated_by),
            "updated_at": case((upgraded, given.updated_at), else_=there.updated_at),
        },
    )
    columns = [column.key for column in bound_columns(_variables)]
    return Plan(statement.returning(_variables), name="variables.ensure", rows=Variable, columns=columns)


def _list_plan(name: str, statement: Select[Any]) -> Plan[Variable]:
    return Plan(statement.order_by(_variables.c.key).limit(bindparam("limit")), name=f"variables.{name}", rows=Variable)


_SAVE: Final = _save_plan()
_ENSURE: Final = _ensure_plan()
_GET: Final = Plan[Variable](
    select(Variable).where(Variable.key == bindparam("key")), name="variables.get", rows=Variable
)
_REMOVE: Final = Plan[None](delete(_variables).where(_variables.c.key == bindparam("key")), name="variables.remove")
_FIRST: Final = _list_plan("list", select(Variable))
_NEXT: Final = _list_plan("list", select(Variable).where(beyond([_variables.c.key], newest_first=False)))
_EXPORTED: Final = Plan[Variable](
    select(Variable).where(Variable.export_to_shell == true()).order_by(_variables.c.key),
    name="variables.exported",
    rows=Variable,
)
_NAMED: Final = Plan[Variable](
    select(Variable).where(among(_variables.c.key, "names")), name="variables.resolve", rows=Variable
)
_OPEN: Final = _list_plan(
    "seal_all: open",
    select(Variable).where(Variable.sensitive == true(), Variable.value.is_not(None), Variable.key > bindparam("key")),
)
# Only what is still as it was read: a save that came in between has its own value.
_SEAL: Final = Plan[None](
    update(_variables)
    .where(
        _variables.c.key == of(_variables.c.key, "named"),
        _variables.c.value == of(_variables.c.value, "read"),
        _variables.c.sensitive == true(),
    )
    .values(secret=of(_variables.c.secret, "sealed"), value=None),
    name="variables.seal",
)


class Variables:
    """The variables of an installation.

    A sensitive value is stored sealed where the connection has encryption keys, and as it is where it has none. Who may
    see it is the service's to decide: it passes ``reveal=True`` for a caller whose permission it has checked.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
        redaction: what learns of changes, so that logs and mail mask the new values.
    """

    def __init__(self, connection: Connection, *, most: int, redaction: Redaction) -> None:
        self.connection = connection
        self.most = most
        self._redaction = redaction

    async def save(
        self,
        key: str,
        value: str,
        *,
        export_to_shell: bool = False,
        sensitive: bool = False,
        by: int | None = None,
    ) -> NamedValue:
        """Set a variable, whether or not it is there, and return it as anybody may see it.

        Args:
            key: 1 to 255 characters; not one of `RESERVED`.
            value: text.
            export_to_shell: whether agents' shells have it.
            sensitive: whether it is masked; False for one that was: its value is plain from now on.
            by: the user who does it; who first set it is kept.

        Raises: BadInput for a reserved key; MissingReference for an unknown user.
        Cost: one statement.
        """
        try:
            stored = await self._write(_SAVE, key, value, export_to_shell, sensitive=sensitive, by=by)
        finally:  # a write may be done although its answer is lost
            self._redaction.changed()
        return self._shown(stored, reveal=False)

    async def ensure(self, key: str, *, sensitive: bool = False, by: int | None = None) -> NamedValue:
        """Return a variable, set to nothing if it was not there; ``sensitive`` makes one that is there sensitive.

        One that is sensitive stays so, and nothing else of one that is there changes.

        Args and Raises: as `save`.
        Cost: one statement, and one more to seal the value of one that has become sensitive.
        """
        try:
            stored = await self._write(_ENSURE, key, "", False, sensitive=sensitive, by=by)
            if stored.sensitive and stored.value is not None and self.connection.keyring.ready:
                await self.connection.execute(_SEAL, self._sealing(stored))
        finally:
            self._redaction.changed()
        return self._shown(stored, reveal=False)

    async def get(self, key: str, *, reveal: bool = False) -> NamedValue:
        """Return a variable.

        Raises: NotFound; DecryptionFailed when it is to be revealed and its key is not configured.
        Cost: one read by the primary key.
        """
        flag(reveal, "reveal")
        stored = await self.connection.fetch_one(_GET, {"key": key})
        if stored is None:
            raise NotFound(f"there is no variable {key!r}")
        return self._shown(stored, reveal=reveal)

    async def value(self, key: str) -> str | None:
        """Return a variable's value, sensitive or not, for the platform itself; None when there is no such variable.

        Raises: DecryptionFailed.
        Cost: one read by the primary key.
        """
        stored = await self.connection.fetch_one(_GET, {"key": key})
        return None if stored is None else opened(self.connection.keyring, stored)

    async def remove(self, key: str) -> None:
        """Remove a variable.

        Raises: NotFound.
        """
        try:
            if not await self.connection.execute(_REMOVE, {"key": key}):
                raise NotFound(f"there is no variable {key!r}")
        finally:
            self._redaction.changed()

    async def list(self, *, reveal: bool = False, limit: int = 50, after: str | None = None) -> Page[NamedValue]:
        """Return variables by key.

        Args: reveal: whether the caller may see sensitive values; they are None otherwise.
        Raises: DecryptionFailed, when they are to be revealed.
        Cost: one read by the primary key.
        """
        flag(reveal, "reveal")
        limit = capped(limit, self.most)
        values: dict[str, Any] = {"limit": limit + 1}
        if after is not None:
            (values["after_0"],) = values_of("variables", after, [_variables.c.key])
        rows = await self.connection.fetch_all(_FIRST if after is None else _NEXT, values)
        page = page_of(rows, limit, "variables", ["key"])
        return Page([self._shown(row, reveal=reveal) for row in page.items], page.next)

    async def exported(self) -> dict[str, str]:
        """Return what agents' shells have, sensitive values too: for a runner, not for a page.

        Raises: DecryptionFailed.
        """
        rows = await self.connection.fetch_all(_EXPORTED, {})
        return {row.key: opened(self.connection.keyring, row) for row in rows}

    async def resolve(self, names: Iterable[str], *, reveal: bool = False) -> dict[str, str]:
        """Return the values of those variables that are there; of sensitive ones, `BULLETS`.

        Args:
            names: as `templates.references` finds them.
            reveal: whether the caller may see sensitive values.

        Raises: DecryptionFailed, when they are to be revealed.
        Cost: one read by the primary key; none for no names.
        """
        flag(reveal, "reveal")
        wanted = list(dict.fromkeys(texts(names, "names")))
        if not wanted:
            return {}
        rows = {row.key: row for row in await self.connection.fetch_all(_NAMED, {"names": wanted})}
        keyring = self.connection.keyring
        return {
            name: BULLETS if row.sensitive and not reveal else opened(keyring, row)
            for name in wanted
            if (row := rows.get(name)) is not None
        }

    async def seal_all(self, *, batch: int = 100) -> int:
        """Seal the sensitive values that were stored before there were keys, and return how many.

        Args: batch: how many in one transaction.
        Raises: BadSettings when there are no keys.
        Cost: one read and one transaction for each batch; others may save meanwhile.
        """
        keyring = self.connection.keyring
        if not keyring.ready:
            raise BadSettings("there is no key to seal with; set AGENTDB_ENCRYPTION_KEYS")
        sealed, key = 0, ""
        while rows := await self.connection.fetch_all(_OPEN, {"key": key, "limit": capped(batch, self.most)}):
            sealed += await self.connection.run(partial(_seal, [self._sealing(row) for row in rows]))
            key = rows[-1].key
        return sealed

    async def _write(
        self, plan: Plan[Variable], key: str, value: str, export_to_shell: bool, *, sensitive: bool, by: int | None
    ) -> Variable:
        _KEY(key)
        if not key:
            raise BadInput("a variable's key is not empty")
        if key in RESERVED:
            raise BadInput(f"{key} is reserved: each agent has its own; choose another key")
        _VALUE(value)  # a sealed one is held to the same
        keyring = self.connection.keyring
        seals = sensitive and keyring.ready
        given = {
            "key": key,
            "value": None if seals else value,
            "secret": keyring.seal(value, table="variables", column="secret", row=key) if seals else None,
            "export_to_shell": export_to_shell,
            "sensitive": sensitive,
            "created_by": by,
            "updated_by": by,
        }
        stored = await self.connection.fetch_one(plan, given)
        if stored is None:
            raise NotFound(f"variables: {key} was not stored; a trigger or a rule took it away")
        return stored

    def _sealing(self, row: Variable) -> dict[str, Any]:
        sealed = self.connection.keyring.seal(row.value, table="variables", column="secret", row=row.key)
        return {"named": row.key, "read": row.value, "sealed": sealed}

    def _shown(self, row: Variable, *, reveal: bool) -> NamedValue:
        hidden = row.sensitive and not reveal
        return NamedValue(
            row.key,
            None if hidden else opened(self.connection.keyring, row),
            row.export_to_shell,
            row.sensitive,
            row.created_by,
            row.updated_by,
            row.created_at,
            row.updated_at,
        )


def _seal(calls: Sequence[dict[str, Any]]) -> Script[int]:
    sealed = 0
    for call in calls:
        sealed += yield from count(_SEAL, **call)
    return sealed
