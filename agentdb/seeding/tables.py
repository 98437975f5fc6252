"""The tables that are seeded, in the order of their references: what a row is known by, and what a seed overwrites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, Table

from agentdb.base import Entity
from agentdb.catalog.agents import identity_of
from agentdb.catalog.models import Agent, AgentTool, AIModel, Prompt, Provider, Tool, UserAgent, UserTool
from agentdb.catalog.tools import searchable
from agentdb.criteria import table_of
from agentdb.engine.columns import bound_columns, column_default
from agentdb.errors import BadInput
from agentdb.supervisor.models import Policy, Role, RolePolicy, User
from agentdb.supervisor.profiles import normal

Values = Mapping[str, Any]
Key = tuple[Any, ...]


def _as_it_is(values: Values) -> dict[str, Any]:
    return dict(values)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SeedTable:
    """A table that is seeded from the file of its name.

    Attributes:
        model: its rows.
        key: the columns a row without an id is known by.
        overwrites: the columns a seed changes of a row that is there; its others are the installation's own.
        left_out: the columns no seed writes.
        complete: adds to a row's values what belongs to them; may raise BadInput.
        called: makes the key of a row from what other files call it by.
    """

    model: type[Entity]
    key: tuple[str, ...]
    overwrites: frozenset[str]
    left_out: frozenset[str] = frozenset()
    complete: Callable[[Values], dict[str, Any]] = _as_it_is
    called: Callable[[str], Key] = lambda name: (name,)

    @property
    def table(self) -> Table:
        """The table itself."""
        return table_of(self.model)

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def file(self) -> str:
        """The file's usual name."""
        return f"{self.name.replace('_', '-')}.csv"

    def columns(self) -> dict[str, Column[Any]]:
        """Return the columns a file may have, by name."""
        return {
            column.name: column
            for column in self.table.columns
            if column.name not in self.left_out | {"updated_at"} and not column.name.endswith("_folded")
        }

    def references(self) -> dict[str, tuple[Column[Any], str]]:
        """Return what may be named instead of numbered: ``role`` for ``role_id``, with the table it is in."""
        return {
            column.name.removesuffix("_id"): (column, target)
            for column in self.columns().values()
            for target in [target_of(column)]
            if target in BY_NAME and (column.name not in self.key or len(self.key) > 1)
        }

    def required(self) -> list[str]:
        """Return the columns a new row must bring."""
        derived = {"uuid"}
        return [
            column.name
            for column in bound_columns(self.table)
            if column_default(column, inserting=True) is None and column.name not in derived
        ]


def target_of(column: Column[Any]) -> str | None:
    """Return the table that a column refers to, if it does."""
    for key in column.foreign_keys:
        return str(key.target_fullname).partition(".")[0]
    return None


def _prompt_key(name: str) -> Key:
    """Return the key of a prompt from ``name@version``.

    Raises: BadInput.
    """
    called, _, version = name.rpartition("@")
    if not called or not (version.isascii() and version.isdigit() and len(version) < 10):
        raise BadInput(f"a prompt is named with its version, such as helper@1, not {name[:80]!r}")
    return (called, int(version))


def _agent(values: Values) -> dict[str, Any]:
    """Return an agent's values with the uuid that its owner and name make, so that it is found again.

    Raises: BadInput for an owner that is named, and may not be there yet.
    """
    if "name" not in values or values.get("uuid") is not None:
        return dict(values)
    if not isinstance(values.get("user_id"), int | None):
        raise BadInput("an agent's owner is given by user_id, as a number")
    return {**values, "uuid": identity_of(values["name"], values.get("user_id"))}


TABLES: Final = (
    SeedTable(Role, ("name",), frozenset({"name", "display_order"})),
    SeedTable(Policy, ("name",), frozenset({"name", "resource", "action"})),
    SeedTable(RolePolicy, ("role_id", "policy_id"), frozenset({"role_id", "policy_id"})),
    SeedTable(
        User,
        ("username",),
        frozenset({"username", "email", "first_name", "last_name", "title", "role_id", "agent_id"}),
        # Each of these is more than its value.
        frozenset({"status", "lead_user_id", "password_hash", "runtime_key_hash", "version"}),
        complete=normal,
    ),
    SeedTable(
        Provider,
        ("name",),
        frozenset({"name", "api_type", "endpoint", "api_key", "api_key_variable"}),
    ),
    SeedTable(
        AIModel,
        ("key",),
        frozenset(
            {
                "key",
                "provider_id",
                "name",
                "version_name",
                "type",
                "max_context",
                "max_output",
                "max_reasoning",
                "price_input",
                "price_output",
                "price_cache_read",
                "price_cache_write",
                "pricing",
                "capabilities",
                "is_builtin",
            }
        ),
        frozenset({"is_custom", "shipped"}),
    ),
    SeedTable(
        Prompt,
        ("name", "version"),
        frozenset({"name", "version", "content"}),
        called=_prompt_key,
    ),
    SeedTable(
        Tool,
        ("name",),
        frozenset({"name", "description", "category", "type", "parameters", "is_builtin"}),
        complete=searchable,
    ),
    SeedTable(
        Agent,
        ("uuid",),
        frozenset({"name", "prompt_id", "model_id", "visible"}),
        complete=_agent,
        called=lambda name: (identity_of(name),),
    ),
    SeedTable(AgentTool, ("agent_id", "tool_id"), frozenset({"agent_id", "tool_id"})),
    SeedTable(UserAgent, ("user_id", "agent_id"), frozenset({"user_id", "agent_id", "role"})),
    SeedTable(UserTool, ("user_id", "tool_id"), frozenset({"user_id", "tool_id", "credential"})),
)
BY_NAME: Final = {table.name: table for table in TABLES}
