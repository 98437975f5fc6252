"""google-adk: the events of a DatabaseSessionService."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from google.adk.events import Event
from google.adk.sessions import DatabaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai.types import Content, Part
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.peers.child import Address
from benchmarks.peers.turns import LATEST, SAID, copied, engine_on, turns

_WHOSE: Final = {"app_name": "benchmark", "user_id": "user", "session_id": "conversation"}
_RECENT: Final = GetSessionConfig(num_recent_events=LATEST)


def _event() -> Event:
    return Event(author="user", invocation_id="i", content=Content(role="user", parts=[Part(text=SAID)]))


class GoogleADK:
    """A session is loaded with its latest events, and takes one more: it is written to only as it was read."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._service = DatabaseSessionService(db_engine=engine)

    async def close(self) -> None:
        await self._engine.dispose()

    async def fill(self, messages: int) -> None:
        session = await self._service.create_session(**_WHOSE)
        await self._service.append_event(session, _event())
        # One by one would take minutes.
        keys = {"id": lambda _, n: f"copy-{n}", "timestamp": lambda last, n: last - timedelta(milliseconds=n)}
        await copied(self._engine, "events", messages - 1, keys)

    async def turn(self) -> int:
        session: Session | None = await self._service.get_session(**_WHOSE, config=_RECENT)
        if session is None:
            return 0
        await self._service.append_event(session, _event())
        return len(session.events)

    async def turns(self, seconds: float) -> float:
        return await turns(self, seconds)


async def open_on(address: Address) -> GoogleADK:
    return GoogleADK(engine_on(address))
