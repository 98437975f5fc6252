"""Tools: what agents can call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, exists, false, or_, select, true

from agentdb.catalog.models import Tool, UserTool
from agentdb.criteria import beyond, column_of, update_plan
from agentdb.engine.asked import is_text, several, whole_number
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, one
from agentdb.engine.folding import ESCAPE, containing, folded
from agentdb.engine.plan import Plan
from agentdb.engine.spelling import TextType
from agentdb.errors import BadInput, InvalidTransition, NotFound, brief
from agentdb.page import Page, values_of
from agentdb.repository import Repository, capped, page_of

LONGEST_TEXT: Final = 255  # of a search, in characters

_tools: Final[Table] = Tool.__table__  # type: ignore[assignment]
_of_users: Final[Table] = UserTool.__table__  # type: ignore[assignment]
_SEARCHED: Final = ("name", "description")
_FILTERS: Final = ("category", "type", "is_builtin")

_BY_NAME: Final = Plan[Tool](
    select(Tool).where(Tool.name == of(_tools.c.name)), name="tools.by_name", rows=Tool, point=True
)
_BUILTIN: Final = Plan[bool](
    select(_tools.c.is_builtin).where(_tools.c.id == of(_tools.c.id, "tool_id")).with_for_update(),
    name="tools.locked",
)
_REMOVE: Final = Plan[None](
    delete(_tools).where(_tools.c.id == of(_tools.c.id, "tool_id"), _tools.c.is_builtin == false()), name="tools.remove"
)


@cache
def _list_plan(filters: frozenset[str], *, searched: bool, of_user: bool, after: bool) -> Plan[Tool]:
    statement = select(Tool).where(*(_tools.c[name] == of(_tools.c[name]) for name in sorted(filters)))
    if searched:
        pattern = bindparam("pattern", type_=TextType())
        found = (_tools.c[f"{name}_folded"].like(pattern, escape=ESCAPE) for name in _SEARCHED)
        statement = statement.where(or_(*found))
    if of_user:
        given = exists().where(_of_users.c.tool_id == _tools.c.id, _of_users.c.user_id == of(_of_users.c.user_id))
        statement = statement.where(or_(_tools.c.is_builtin == true(), given))
    if after:
        statement = statement.where(beyond([_tools.c.name], newest_first=False))
    return Plan(statement.order_by(_tools.c.name).limit(bindparam("limit")), name="tools.list", rows=Tool)


class Tools(Repository[Tool]):
    """The tools of an installation. Built-in ones are everybody's, and are neither changed nor removed."""

    model = Tool

    async def create(self, name: str, *, description: str = "", **details: Any) -> Tool:
        """Create a tool.

        Args: details: any other column.
        Raises: BadInput; Conflict when the name is taken.
        Cost: one insert.
        """
        return await self.add(name=name, description=description, **details)

    async def by_name(self, name: str) -> Tool:
        """Return the tool of this name.

        Raises: NotFound.
        Cost: one read by uq_tools__name.
        """
        tool = await self.connection.fetch_one(_BY_NAME, {"name": name})
        if tool is None:
            raise NotFound(f"there is no tool {name!r}")
        return tool

    async def list(
        self,
        *,
        category: str | None = None,
        type: str | None = None,  # noqa: A002 (the column's name)
        is_builtin: bool | None = None,
        user_id: int | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Tool]:
        """Return tools by name: all, those of a kind, or those a user may use.

        Args:
            category: of this category only.
            type: of this type only.
            is_builtin: those only that are, or are not.
            user_id: those only that are built in, or given to this user.
            limit: how many.
            after: the ``next`` of the page before.

        Cost: one read by uq_tools__name, which passes over the others.
        """
        return await self._listed(None, category, type, is_builtin, user_id=user_id, limit=limit, after=after)

    async def search(
        self,
        text: str,
        *,
        category: str | None = None,
        type: str | None = None,  # noqa: A002
        is_builtin: bool | None = None,
        user_id: int | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Tool]:
        """Return the tools whose name or description contains a text, in whatever case, by name.

        Args: text: ``%`` and ``_`` stand for themselves; the others as of `list`.
        Raises: BadInput for no text, or one of more than 255 characters.
        Cost: one read by uq_tools__name, which looks at each tool until the page is full.
        """
        if not isinstance(text, str):
            raise BadInput(f"a search for tools is for text, not {brief(text)}")
        if not text.strip() or len(text) > LONGEST_TEXT:
            raise BadInput(f"a search for tools is for 1 to {LONGEST_TEXT} characters, not {len(text)}")
        return await self._listed(text, category, type, is_builtin, user_id=user_id, limit=limit, after=after)

    async def _listed(
        self, text: str | None, *filters: Any, user_id: int | None, limit: int, after: str | None
    ) -> Page[Tool]:
        limit = capped(limit, self.most)
        values = {name: value for name, value in zip(_FILTERS, filters, strict=True) if value is not None}
        for name, value in values.items():
            if not (isinstance(value, bool) if name == "is_builtin" else is_text(value)):
                raise BadInput(f"{name} is {'True or False' if name == 'is_builtin' else 'text'}, not {brief(value)}")
        criteria = frozenset(values)
        if text is not None:
            values["pattern"] = containing(text)
        if user_id is not None:
            values["user_id"] = whole_number(user_id, "user_id")
        listing = f"tools.list:{sorted(values.items())}"
        if after is not None:
            (values["after_0"],) = values_of(listing, after, [_tools.c.name])
        plan = _list_plan(criteria, searched=text is not None, of_user=user_id is not None, after=after is not None)
        rows = await self.connection.fetch_all(plan, {**values, "limit": limit + 1})
        return page_of(rows, limit, listing, ["name"])

    # Whichever way a tool is written, a search finds it, and a built-in one stays as it is.

    async def add(self, **values: Any) -> Tool:
        """Add a tool, by columns."""
        return await super().add(**searchable(values))

    async def add_many(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add tools in bulk, all or none, and return how many."""
        return await super().add_many([searchable(row) for row in several(rows, "rows")])

    async def update(self, *key: Any, expected_version: int | None = None, **changes: Any) -> Tool:
        """Change columns of a tool, and return it.

        Raises: NotFound; InvalidTransition for a built-in one; Conflict, BadInput.
        Cost: one transaction of two statements.
        """
        if expected_version is not None or not changes:
            raise BadInput("a tool has no version to expect" if changes else "nothing to change in tools")
        for name in changes:
            column_of(Tool, name)
        tool_id = self._key(key)["id"]
        return self._there(await self.connection.run(partial(_update, tool_id, searchable(changes))))

    async def upsert(self, *, on: Sequence[str], **values: Any) -> Tool:  # noqa: ARG002 (whatever is given)
        """Refuse: it would change a built-in tool without asking."""
        raise BadInput("tools are added by create() and changed by update()")

    async def remove(self, *key: Any) -> bool:
        """Remove a tool from whoever has it, and tell whether it was there.

        Raises: InvalidTransition for a built-in one.
        Cost: one statement, and a second for one that stays.
        """
        tool_id = self._key(key)["id"]
        return await self.connection.run(partial(_remove, tool_id))


def searchable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool's values with what a search compares.

    Raises: BadInput for what is no object, and for a name or description that is not text.
    """
    columns: object = values
    if not isinstance(columns, Mapping):
        raise BadInput(f"a tool is an object of columns, not {type(columns).__name__}")
    given = {name: values[name] for name in _SEARCHED if name in values}
    for name, text in given.items():
        if not isinstance(text, str) or (name == "name" and not text.strip()):
            raise BadInput(f"tools.{name} is text{' that is not empty' * (name == 'name')}, not {brief(text)}")
    return {**values, **{f"{name}_folded": folded(text) for name, text in given.items()}}


def _update(tool_id: int, changes: Mapping[str, Any]) -> Script[Tool | None]:
    yield from _refuse_builtin(tool_id, "changed")
    return (yield from one(update_plan(Tool, frozenset(changes), versioned=False), **changes, key_id=tool_id))


def _remove(tool_id: int) -> Script[bool]:
    if (yield from count(_REMOVE, tool_id=tool_id)):
        return True
    if (yield from one(_BUILTIN, tool_id=tool_id)) is not None:
        yield from _refuse_builtin(tool_id, "removed")
    return False


def _refuse_builtin(tool_id: int, done: str) -> Script[None]:
    builtin = yield from one(_BUILTIN, tool_id=tool_id)
    if builtin is None:
        raise NotFound(f"tools has no row {tool_id}")
    if builtin:
        raise InvalidTransition(f"tool {tool_id} is built in and is not {done}; create one of another name")
