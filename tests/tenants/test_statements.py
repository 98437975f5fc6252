"""Any statement within a scope answers as if nothing but the user's rows were there."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import FromClause, Select, Table, exists, func, literal, select, union, union_all
from sqlalchemy.engine import Dialect

from agentdb.base import Entity
from agentdb.database import Database
from agentdb.engine.dialects import SQLITE
from agentdb.engine.plan import Plan
from agentdb.testing.factories import make_conversation, make_user

TABLES = ("users", "agents", "agent_tools", "conversations", "messages", "memories", "mail_messages", "mail_recipients")
LINKS = (
    ("conversations", "user_id", "users"),
    ("conversations", "agent_id", "agents"),
    ("messages", "conversation_id", "conversations"),
    ("agents", "user_id", "users"),
    ("agent_tools", "agent_id", "agents"),
    ("memories", "agent_id", "agents"),
    ("memories", "user_id", "users"),
    ("mail_messages", "from_user_id", "users"),
    ("mail_recipients", "message_id", "mail_messages"),
    ("mail_recipients", "user_id", "users"),
)
Rows = dict[str, list[dict[str, Any]]]


class _Tuple:
    """A row of any shape."""

    def __init__(self, *values: Any) -> None:
        self.values = values


def table(name: str) -> Table:
    return Entity.metadata.tables[name]


def columns_of(name: str) -> list[str]:
    """Return the columns that hold numbers."""
    return ["id", *(column.key for column in table(name).c if column.foreign_keys)]


async def everything(db: Database) -> Rows:
    """Return the keys and references of every row."""
    held: Rows = {}
    for name in TABLES:
        keys = columns_of(name)
        plan = Plan[Any](select(*(table(name).c[key] for key in keys)), name="all", rows=_Tuple)
        rows = await db.supervisor.connection.fetch_all(plan, {})
        held[name] = [dict(zip(keys, row.values, strict=True)) for row in rows]
    return held


def seen_by(user_id: int, rows: Rows) -> Rows:
    """Return what a user sees, said once more, and in Python."""
    agents = {row["id"]: row["user_id"] for row in rows["agents"]}
    talks = {row["id"]: row["user_id"] for row in rows["conversations"]}
    addressed = {row["message_id"] for row in rows["mail_recipients"] if row["user_id"] == user_id}
    mine: dict[str, Callable[[dict[str, Any]], bool]] = {
        "users": lambda row: row["id"] == user_id,
        "agents": lambda row: row["user_id"] in (user_id, None),
        "agent_tools": lambda row: agents[row["agent_id"]] in (user_id, None),
        "conversations": lambda row: row["user_id"] == user_id,
        "messages": lambda row: talks[row["conversation_id"]] == user_id,
        "memories": lambda row: (
            agents[row["agent_id"]] in (user_id, None) if row["user_id"] is None else row["user_id"] == user_id
        ),
        "mail_messages": lambda row: row["from_user_id"] == user_id or row["id"] in addressed,
        "mail_recipients": lambda row: row["user_id"] == user_id,
    }
    return {name: [row for row in rows[name] if mine[name](row)] for name in TABLES}


async def make_rows(db: Database, dice: random.Random) -> list[int]:
    """Make a few users with a few rows of each table; return the users."""
    users = [(await make_user(db)).id for _ in range(4)]
    tools = [(await db.catalog.tools.create(f"tool {number}")).id for number in range(2)]
    agents = []
    for number in range(8):
        owner = dice.choice([*users, None])
        agents.append((await db.catalog.agents.add(user_id=owner, name=f"agent {number}")).id)
    toolsets = db.catalog.agents.connection
    await toolsets.insert_many(
        table("agent_tools"), [{"agent_id": agent, "tool_id": dice.choice(tools)} for agent in agents]
    )
    for number in range(10):
        owner = dice.choice(users)
        await make_conversation(db, user_id=owner, agent_id=dice.choice([*agents, None]), messages=number % 4)
        await db.knowledge.memories.add(
            agent_id=dice.choice(agents), user_id=dice.choice([*users, None]), content=f"memory {number}"
        )
        others = [user for user in users if user != owner]
        await db.hub.mail.send(owner, to=dice.sample(others, dice.randint(1, 2)), body=f"letter {number}")
    return users


class Writer:
    """Writes statements by chance."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.names = 0

    def statement(self, depth: int = 2) -> Select[Any]:
        """Return a SELECT of one number from one table, or from two that are joined, with conditions."""
        child, column, parent = self.dice.choice(LINKS)
        one, other = self._of(child, depth), self._of(parent, depth)
        match self.dice.randrange(4):
            case 0:
                found = select(one.c.id)
            case 1:
                found = select(func.coalesce(one.c.id, 0)).select_from(
                    one.join(other, one.c[column] == other.c.id, isouter=self.dice.random() < 0.5)
                )
            case 2:
                found = select(func.coalesce(one.c.id, -5)).select_from(
                    other.outerjoin(one, one.c[column] == other.c.id)
                )
                return found.where(self._condition(parent, other, depth))
            case _:
                many = select(func.count()).select_from(one).where(one.c[column] == other.c.id).scalar_subquery()
                return select(other.c.id * 1000 + many).where(self._condition(parent, other, depth))
        return found.where(self._condition(child, one, depth))

    def _of(self, name: str, depth: int) -> FromClause:
        """Return a table, by its own name or another; or what a subquery or a WITH clause reads of it."""
        whole = table(name)
        kind = self.dice.randrange(5) if depth else self.dice.randrange(2)
        self.names += 1
        if kind == 0:
            return whole.alias(f"named_{self.names}")
        if kind == 3:
            return select(*(whole.c[key] for key in columns_of(name))).subquery(f"within_{self.names}")
        if kind == 4:
            return select(*(whole.c[key] for key in columns_of(name))).cte(f"with_{self.names}")
        return whole.alias(f"plain_{self.names}") if kind == 1 else whole

    def _condition(self, name: str, row: FromClause, depth: int) -> Any:
        links = [link for link in LINKS if link[0] == name]
        back = [link for link in LINKS if link[2] == name]
        choice = self.dice.randrange(4) if depth else 0
        if choice == 1 and links:
            _, column, parent = self.dice.choice(links)
            other = table(parent).alias(f"asked_{self.names}")
            self.names += 1
            return row.c[column].in_(select(other.c.id).where(self._condition(parent, other, depth - 1)))
        if choice == 2 and back:
            child, column, _ = self.dice.choice(back)
            other = table(child).alias(f"asked_{self.names}")
            self.names += 1
            found = exists(select(literal(1)).select_from(other).where(other.c[column] == row.c.id))
            return found if self.dice.random() < 0.5 else ~found
        return row.c.id % 3 != self.dice.randrange(3)

    def whole(self) -> Any:
        """Return a statement, or several as a union."""
        kind = self.dice.randrange(3)
        if kind == 0:
            return self.statement()
        both = union if kind == 1 else union_all
        return both(self.statement(), self.statement(1))


def climbing() -> Any:
    """Return all messages with those they answer, by a recursive WITH clause that joins a table again."""
    messages, talks = table("messages"), table("conversations")
    climb = select(messages.c.id, messages.c.conversation_id).where(messages.c.id % 2 == 0).cte("climb", recursive=True)
    again = messages.alias("again")
    step = select(again.c.id, again.c.conversation_id).join(climb, again.c.conversation_id == climb.c.conversation_id)
    climb = climb.union(step)
    return select(climb.c.id * 100 + talks.c.id).join(talks, talks.c.id == climb.c.conversation_id)


def answered(rows: Rows, statement: Any, dialect: Dialect) -> list[int]:
    """Return what SQLite answers to a statement, unscoped, where only these rows are there."""
    with sqlite3.connect(":memory:") as raw:
        for name, held in rows.items():
            keys = columns_of(name)
            raw.execute(f"CREATE TABLE {name} ({', '.join(keys)})")
            places = ", ".join("?" for _ in keys)
            raw.executemany(f"INSERT INTO {name} VALUES ({places})", [list(row.values()) for row in held])
        text = str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
        answers: list[int] = sorted(row[0] for row in raw.execute(text))
        return answers


@pytest.mark.parametrize(
    ("seed", "most"), [(0, 60), *(pytest.param(seed, 120, marks=pytest.mark.long) for seed in (0, 1, 2, 3))]
)
async def test_a_scoped_statement_sees_what_is_the_users_alone(db: Database, seed: int, most: int) -> None:
    dice = random.Random(seed)  # noqa: S311 (the same each time)
    users = await make_rows(db, dice)
    rows = await everything(db)
    writer = Writer(dice)

    for statement in [climbing(), *(writer.whole() for _ in range(most))]:
        for user_id in (dice.choice(users), 404):
            plan = Plan[Any](statement, name="by chance", rows=_Tuple)
            got = await db.as_user(user_id).supervisor.connection.fetch_all(plan, {})
            wanted = answered(seen_by(user_id, rows), statement, SQLITE)
            assert sorted(row.values[0] for row in got) == wanted, str(statement)
