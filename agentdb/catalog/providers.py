"""Providers: who serves models, and the key each is called with."""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Table, select

from agentdb.auditing import recorded
from agentdb.catalog.models import Provider
from agentdb.catalog.records import ProviderEntry
from agentdb.criteria import delete_plan, update_plan
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, count, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import by_key, insert_one
from agentdb.errors import BadInput, NotFound, brief
from agentdb.keyring import Keyring
from agentdb.page import Page
from agentdb.repository import Repository
from agentdb.types import uuid7

_providers: Final[Table] = Provider.__table__  # type: ignore[assignment]
_CHANGEABLE: Final = ("name", "api_type", "endpoint", "api_key", "api_key_variable")

_BY_NAME: Final = Plan[Provider](
    select(Provider).where(Provider.name == of(_providers.c.name)), name="providers.by_name", rows=Provider, point=True
)
_UUID: Final = Plan[UUID](
    select(_providers.c.uuid).where(_providers.c.id == of(_providers.c.id, "provider_id")).with_for_update(),
    name="providers.update: uuid",
)


class _Rows(Repository[Provider]):
    model = Provider


class Providers:
    """Who serves models. A provider's key is stored sealed, and only `reveal` returns it.

    Whatever is done to a provider stands in the audit log.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
    """

    def __init__(self, connection: Connection, *, most: int) -> None:
        self.connection = connection
        self._rows = _Rows(connection, most=most)

    async def create(
        self,
        name: str,
        *,
        api_type: str | None = None,
        endpoint: str | None = None,
        api_key: Any = None,
        api_key_variable: str | None = None,
        by: int | None = None,
    ) -> ProviderEntry:
        """Create a provider.

        Args:
            name: unique.
            api_type: which interface it speaks.
            endpoint: where it is reached.
            api_key: what it is called with, text or JSON; stored sealed.
            api_key_variable: the variable that holds the key instead.
            by: the user who creates it; None: the system.

        Raises: BadInput; Conflict when the name is taken; BadSettings when there is a key to store and none to seal it.
        Cost: one transaction of two statements.
        """
        uuid = uuid7()
        sealed = None if api_key is None else _sealed(self.connection.keyring, api_key, uuid)
        given = {"name": _filled(name), "uuid": uuid, "api_type": api_type, "endpoint": endpoint}
        given |= {"api_key": sealed, "api_key_variable": api_key_variable}
        return _entry(await self.connection.run(partial(_created, given, by)), name)

    async def get(self, provider_id: int) -> ProviderEntry:
        """Return a provider.

        Raises: NotFound.
        Cost: one read by the primary key.
        """
        return _entry(await self._rows.find(provider_id), provider_id)

    async def by_name(self, name: str) -> ProviderEntry:
        """Return the provider of this name.

        Raises: NotFound.
        Cost: one read by uq_providers__name.
        """
        row: Provider | None = await self.connection.fetch_one(_BY_NAME, {"name": name})
        return _entry(row, name)

    async def list(self, *, limit: int = 50, after: str | None = None) -> Page[ProviderEntry]:
        """Return providers by name."""
        page = await self._rows.page(by="name", limit=limit, after=after)
        return Page([_entry(row, row.name) for row in page.items], page.next)

    async def update(self, provider_id: int, *, by: int | None = None, **changes: Any) -> ProviderEntry:
        """Change a provider, and return it.

        Args:
            provider_id: which.
            by: the user who changes it; None: the system.
            changes: what `create` takes; an ``api_key`` of None takes the key away.

        Raises: NotFound; as `create`.
        Cost: one transaction of three statements.
        """
        unknown = sorted(changes.keys() - {*_CHANGEABLE})
        if unknown or not changes:
            raise BadInput(f"a provider is changed by {', '.join(_CHANGEABLE)}, not {', '.join(unknown) or 'nothing'}")
        if "name" in changes:
            _filled(changes["name"])
        work = partial(_change, provider_id, changes, self.connection.keyring, by)
        return _entry(await self.connection.run(work), provider_id)

    async def reveal(self, provider_id: int, *, by: int | None = None) -> Any:
        """Return a provider's key as it was given, or None when none is stored; the audit log tells who read it.

        Args: by: the user who reads it; None: the system.
        Raises: NotFound; DecryptionFailed.
        Cost: one transaction of two statements, by the primary key.
        """
        return await self.connection.run(partial(_revealed, provider_id, self.connection.keyring, by))

    async def remove(self, provider_id: int, *, by: int | None = None) -> bool:
        """Remove a provider with the keys users have for it, and tell whether it was there; its models stay without.

        Args: by: the user who removes it; None: the system.
        Cost: one transaction of up to three statements.
        """
        return await self.connection.run(partial(_removed, provider_id, by))

    async def count(self) -> int:
        """Return how many there are."""
        return await self._rows.count()


def _created(given: dict[str, Any], by: int | None) -> Script[Provider | None]:
    row: Provider | None = yield from one(insert_one(Provider), **given)
    if row is not None:
        yield from _told("create", row.id, {"name": row.name}, by)
    return row


def _removed(provider_id: int, by: int | None) -> Script[bool]:
    row: Provider | None = yield from one(by_key(Provider), id=provider_id)
    if not (yield from count(delete_plan(Provider), id=provider_id)):
        return False
    yield from _told("remove", provider_id, {"name": row.name if row is not None else ""}, by)
    return True


def _told(action: str, provider_id: int, detail: dict[str, Any], by: int | None) -> Script[None]:
    yield from recorded(actor_id=by, action=action, entity="providers", entity_id=provider_id, detail=detail)


def _change(provider_id: int, changes: dict[str, Any], keyring: Keyring, by: int | None) -> Script[Provider | None]:
    uuid = yield from one(_UUID, provider_id=provider_id)
    if uuid is None:
        return None
    given = dict(changes)
    if given.get("api_key") is not None:
        given["api_key"] = _sealed(keyring, given["api_key"], uuid)
    plan = update_plan(Provider, frozenset(given), versioned=False)
    row: Provider | None = yield from one(plan, **given, key_id=provider_id)
    yield from _told("update", provider_id, {"columns": sorted(changes)}, by)
    return row


def _revealed(provider_id: int, keyring: Keyring, by: int | None) -> Script[Any]:
    row: Provider | None = yield from one(by_key(Provider), id=provider_id)
    if row is None:
        raise NotFound(f"there is no provider {provider_id}")
    if row.api_key is None:
        return None
    opened = keyring.open(row.api_key, table="providers", column="api_key", row=row.uuid)
    yield from _told("read", provider_id, {}, by)
    return opened


def _sealed(keyring: Keyring, api_key: Any, uuid: UUID) -> bytes:
    if api_key == "":
        raise BadInput("a provider's key is not empty; None takes it away")
    return keyring.seal(api_key, table="providers", column="api_key", row=uuid)


def _filled(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise BadInput(f"a provider's name is text that is not empty, not {brief(name)}")
    return name


def _entry(row: Provider | None, asked: int | str) -> ProviderEntry:
    if row is None:
        raise NotFound(f"there is no provider {asked!r}")
    return ProviderEntry(
        id=row.id,
        uuid=row.uuid,
        name=row.name,
        api_type=row.api_type,
        endpoint=row.endpoint,
        has_api_key=row.api_key is not None,
        api_key_variable=row.api_key_variable,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
