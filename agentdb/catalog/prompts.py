"""Prompts: versions under one name, which stay as they are once an agent has them."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, exists, func, select, update

from agentdb.catalog.models import Agent, Prompt
from agentdb.criteria import beyond
from agentdb.engine.advisory import turn_taken
from agentdb.engine.asked import is_text
from agentdb.engine.columns import of
from agentdb.engine.connection import Connection, Script, count, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import by_key, insert_one
from agentdb.errors import BadInput, InvalidTransition, NotFound
from agentdb.page import Page, values_of
from agentdb.repository import Repository, capped, page_of

_prompts: Final[Table] = Prompt.__table__  # type: ignore[assignment]
_agents: Final[Table] = Agent.__table__  # type: ignore[assignment]

_VERSION: Final = Plan[Prompt](
    select(Prompt).where(Prompt.name == of(_prompts.c.name), Prompt.version == of(_prompts.c.version)),
    name="prompts.version",
    rows=Prompt,
)
_LATEST: Final = Plan[Prompt](
    select(Prompt).where(Prompt.name == of(_prompts.c.name)).order_by(Prompt.version.desc()).limit(1),
    name="prompts.latest",
    rows=Prompt,
)

# One after another: of two that publish, the second counts on from the first.
_TURN: Final = Plan[None](turn_taken("publish a prompt"), name="prompts.publish: turn")
_LAST: Final = Plan[int](
    select(func.coalesce(func.max(_prompts.c.version), 0)).where(_prompts.c.name == of(_prompts.c.name)),
    name="prompts.publish: last",
)
# Locked against agents that are about to have it: those that came before are seen by the statement after.
_LOCK: Final = Plan[int](
    select(_prompts.c.id).where(_prompts.c.id == of(_prompts.c.id, "prompt_id")).with_for_update(),
    name="prompts.locked",
)
_UNUSED: Final = ~exists().where(_agents.c.prompt_id == _prompts.c.id)
_CHANGE: Final = Plan[Prompt](
    update(_prompts)
    .where(_prompts.c.id == of(_prompts.c.id, "prompt_id"), _UNUSED)
    .values(content=of(_prompts.c.content))
    .returning(_prompts),
    name="prompts.update",
    rows=Prompt,
)
_USER: Final = Plan[int](
    select(_agents.c.id).where(_agents.c.prompt_id == of(_agents.c.prompt_id)).limit(1), name="prompts.used"
)
_REMOVE: Final = Plan[None](
    delete(_prompts).where(_prompts.c.id == of(_prompts.c.id, "prompt_id"), _UNUSED), name="prompts.remove"
)


@cache
def _list_plan(*, after: bool) -> Plan[Prompt]:
    newer = _prompts.alias("newer")
    latest = ~exists().where(newer.c.name == _prompts.c.name, newer.c.version > _prompts.c.version)
    statement = select(Prompt).where(latest)
    if after:
        statement = statement.where(beyond([_prompts.c.name], newest_first=False))
    return Plan(statement.order_by(_prompts.c.name).limit(bindparam("limit")), name="prompts.list", rows=Prompt)


class _Rows(Repository[Prompt]):
    model = Prompt


class Prompts:
    """The prompts of agents. Each name has versions 1, 2, 3 and on; what an agent has, nobody changes.

    Args:
        connection: the database itself, or an open unit.
        most: the cap on every limit.
    """

    def __init__(self, connection: Connection, *, most: int) -> None:
        self.connection = connection
        self.most = most
        self._rows = _Rows(connection, most=most)

    async def publish(self, name: str, content: str) -> Prompt:
        """Add the next version of a prompt, the first one of a new name, and return it.

        Those who publish at once get one version each, without a gap.

        Raises: BadInput.
        Cost: one transaction of three statements; those who publish follow one another.
        """
        if not is_text(name) or not name.strip():
            raise BadInput("a prompt's name is text that is not empty")
        return await self.connection.run(partial(_publish, name, content))

    async def find(self, prompt_id: int) -> Prompt | None:
        """Return the version with this id, or None."""
        return await self._rows.find(prompt_id)

    async def get(self, prompt_id: int) -> Prompt:
        """Return the version with this id.

        Raises: NotFound.
        """
        return await self._rows.get(prompt_id)

    async def latest(self, name: str) -> Prompt:
        """Return the newest version of a prompt.

        Raises: NotFound.
        Cost: one read by uq_prompts__name_version.
        """
        prompt = await self.connection.fetch_one(_LATEST, {"name": name})
        if prompt is None:
            raise NotFound(f"there is no prompt {name!r}; publish it")
        return prompt

    async def version(self, name: str, version: int) -> Prompt:
        """Return one version of a prompt.

        Raises: NotFound.
        Cost: one read by uq_prompts__name_version.
        """
        prompt = await self.connection.fetch_one(_VERSION, {"name": name, "version": version})
        if prompt is None:
            raise NotFound(f"there is no version {version} of prompt {name!r}")
        return prompt

    async def list(self, *, limit: int = 50, after: str | None = None) -> Page[Prompt]:
        """Return the newest version of each prompt, by name.

        Cost: one read by uq_prompts__name_version.
        """
        limit = capped(limit, self.most)
        values: dict[str, Any] = {"limit": limit + 1}
        if after is not None:
            (values["after_0"],) = values_of("prompts.list", after, [_prompts.c.name])
        rows = await self.connection.fetch_all(_list_plan(after=after is not None), values)
        return page_of(rows, limit, "prompts.list", ["name"])

    async def versions(self, name: str, *, limit: int = 50, after: str | None = None) -> Page[Prompt]:
        """Return the versions of a prompt, the newest first.

        Cost: one read by uq_prompts__name_version.
        """
        return await self._rows.page(by="version", newest_first=True, limit=limit, after=after, name=name)

    async def update(self, prompt_id: int, content: str) -> Prompt:
        """Correct a version that no agent has, and return it.

        Raises: NotFound; InvalidTransition once an agent has it.
        Cost: one transaction of two statements.
        """
        return await self.connection.run(partial(_update, prompt_id, content))

    async def remove(self, prompt_id: int) -> bool:
        """Remove a version that no agent has, and tell whether it was there.

        The number of the newest version is given again; that of any other is not.

        Raises: InvalidTransition while an agent has it.
        Cost: one transaction of two statements.
        """
        return await self.connection.run(partial(_remove, prompt_id))


def _publish(name: str, content: str) -> Script[Prompt]:
    yield from count(_TURN)
    last = yield from one(_LAST, name=name)
    prompt: Prompt | None = yield from one(insert_one(Prompt), name=name, version=(last or 0) + 1, content=content)
    if prompt is None:
        raise NotFound("prompts: the row was not stored; a trigger or a rule took it away")
    return prompt


def used(prompt_id: int) -> Script[bool]:
    """Within a script: lock a prompt against agents that are about to have it, and tell whether one has it."""
    yield from one(_LOCK, prompt_id=prompt_id)
    return (yield from one(_USER, prompt_id=prompt_id)) is not None


def _update(prompt_id: int, content: str) -> Script[Prompt]:
    yield from one(_LOCK, prompt_id=prompt_id)
    prompt: Prompt | None = yield from one(_CHANGE, prompt_id=prompt_id, content=content)
    if prompt is None:
        used = yield from one(by_key(Prompt), id=prompt_id)
        raise NotFound(f"prompts has no row {prompt_id}") if used is None else _in_use(used)
    return prompt


def _remove(prompt_id: int) -> Script[bool]:
    yield from one(_LOCK, prompt_id=prompt_id)
    if (yield from count(_REMOVE, prompt_id=prompt_id)):
        return True
    used = yield from one(by_key(Prompt), id=prompt_id)
    if used is not None:
        raise _in_use(used)
    return False


def _in_use(prompt: Prompt) -> InvalidTransition:
    return InvalidTransition(f"an agent has version {prompt.version} of prompt {prompt.name!r}; publish another")
