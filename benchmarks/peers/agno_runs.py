"""agno: the runs of an agent's session, each with one message."""

from __future__ import annotations

import itertools
import time
from typing import Any, Final

from agno.db.base import SessionType
from agno.db.postgres import AsyncPostgresDb
from agno.db.sqlite import AsyncSqliteDb
from agno.models.message import Message
from agno.run.agent import RunOutput
from agno.run.base import RunStatus
from agno.session.agent import AgentSession
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.peers.child import Address
from benchmarks.peers.turns import LATEST, SAID, copied, engine_on, turns

_SESSION: Final = "conversation"


def _run(number: int) -> RunOutput:
    said = Message(role="user", content=SAID)
    status = RunStatus.completed
    return RunOutput(run_id=f"run-{number}", agent_id="a", session_id=_SESSION, messages=[said], status=status)


class Agno:
    """What an agent does after a run: it stores the session and the run, and before the next it reads the latest."""

    def __init__(self, engine: AsyncEngine, database: Any, runs: str) -> None:
        self._engine = engine
        self._database = database
        self._runs = runs
        self._numbers = itertools.count()
        now = int(time.time())
        self._session = AgentSession(_SESSION, agent_id="a", user_id="user", created_at=now, updated_at=now)

    async def close(self) -> None:
        await self._engine.dispose()

    async def fill(self, messages: int) -> None:
        await self._append()
        keys = {"run_id": lambda _, n: f"copy-{n}", "run_index": lambda _, n: n}
        await copied(self._engine, self._runs, messages - 1, keys)
        self._numbers = itertools.count(messages)

    async def _append(self) -> None:
        number = next(self._numbers)
        await self._database.upsert_session(self._session)
        await self._database.upsert_run(_run(number), _SESSION, user_id="user", run_index=number)

    async def turn(self) -> int:
        await self._append()
        session = await self._database.get_session(_SESSION, SessionType.AGENT, runs_limit=LATEST)
        return len(session.runs or [])

    async def turns(self, seconds: float) -> float:
        return await turns(self, seconds)


async def open_on(address: Address) -> Agno:
    engine = engine_on(address)
    if address.path is not None:
        return Agno(engine, AsyncSqliteDb(db_engine=engine), "agno_runs")
    return Agno(engine, AsyncPostgresDb(db_engine=engine), "ai.agno_runs")
