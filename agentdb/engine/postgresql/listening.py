"""Telling other processes what changed, and hearing them: NOTIFY after the commit, and one connection that LISTENs.

A NOTIFY takes a lock of the whole database until its commit, so that none belongs into a transaction that does real
work: what was told within a moment is said by one statement of its own, and only while somebody listens. Whoever does
holds a lock of the session in SHARE mode, and whoever could take it alone knows that nobody would hear.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from agentdb.engine.postgresql.connection import discard
from agentdb.engine.watching import Watch, Watches

Driver = Any  # asyncpg.Connection: the package carries no types

CHANNEL: Final = "agentdb"
LISTENING: Final = int.from_bytes(b"agentdb\1")  # the key of the lock that listeners share
SAY: Final = f"SELECT pg_notify('{CHANNEL}', $1) WHERE NOT pg_try_advisory_xact_lock({LISTENING})"

BETWEEN_SECONDS: Final = 0.01  # so that many writes are one NOTIFY
UNHEARD_SECONDS: Final = 0.25  # so that writers whom nobody hears hardly ask; who begins to listen hears this late
CLOSING_SECONDS: Final = 5.0
ALIVE_SECONDS: Final = 30.0  # a connection that ended without a word is noticed so late
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0

_logger: Final = logging.getLogger("agentdb")


class News:
    """What changes in one database, told to this process and to others.

    Args:
        say: runs `SAY` with a payload in a transaction of its own, and tells whether anybody listens.
        connect: makes a connection that may LISTEN; None where there is only a pooler.
    """

    def __init__(self, say: Callable[[str], Awaitable[bool]], connect: Callable[[], Awaitable[Driver]] | None) -> None:
        self._say = say
        self._connect = connect
        self._name = uuid.uuid4().hex[:12]  # in front of what is said: our own words are no news
        self._watches = Watches()
        self._unsaid: set[str] = set()
        self._saying: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._tried = asyncio.Event()
        self._warned = False
        self._closed = False

    def tell(self, topics: Collection[str]) -> None:
        """Tell that tables have changed, after the commit: here at once, elsewhere in a moment."""
        self._watches.tell(topics)
        self._unsaid.update(topics)
        if self._saying is None and not self._closed:
            self._saying = asyncio.get_running_loop().create_task(self._say_all())

    async def _say_all(self) -> None:
        while self._unsaid:
            heard = await self._say_now()
            await asyncio.sleep(BETWEEN_SECONDS if heard else UNHEARD_SECONDS)
        self._saying = None

    async def _say_now(self) -> bool:
        topics, self._unsaid = self._unsaid, set()
        try:
            return await self._say(f"{self._name} {' '.join(sorted(topics))}")
        except Exception:  # noqa: BLE001 (whatever it is: those who follow look by themselves, a little later)
            return False
        except BaseException:
            self._unsaid |= topics
            raise

    @asynccontextmanager
    async def watch(self, topic: str) -> AsyncIterator[Watch]:
        """Watch a table: whatever is committed anywhere from now on is noticed.

        While the server cannot be listened to, only this process is heard.

        Raises: Unavailable when the database is closed.
        """
        try:
            with self._watches.watch(topic) as watch:
                if self._listening is None:
                    self._listen()
                await self._tried.wait()
                yield watch
        finally:
            if not self._watches:
                self._stop_listening()

    def _listen(self) -> None:
        if self._connect is None:
            self._warn("nothing listens behind a pooler: set AGENTDB_DIRECT_URL")
            self._tried.set()
            return
        self._tried.clear()
        self._listening = asyncio.get_running_loop().create_task(self._listen_on(self._connect))

    def _stop_listening(self) -> None:
        task, self._listening = self._listening, None
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _listen_on(self, connect: Callable[[], Awaitable[Driver]]) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                connection = await connect()
                try:
                    ended = await self._hear(connection)
                    pause = FIRST_PAUSE_SECONDS
                    await _until(ended, connection)
                finally:
                    await discard(connection)
            except Exception as error:  # noqa: BLE001 (whatever it is, it is tried again)
                self._warn(f"the server cannot be listened to ({type(error).__name__})")
            self._tried.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _hear(self, connection: Driver) -> asyncio.Future[None]:
        """Begin to hear others, and return what is done when the connection ends."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def end(_connection: Driver) -> None:
            if not ended.done():
                ended.set_result(None)

        connection.add_termination_listener(end)
        await connection.add_listener(CHANNEL, self._heard)
        await connection.fetchval(f"SELECT pg_advisory_lock_shared({LISTENING})")
        self._warned = False
        if self._tried.is_set():
            self._watches.tell_all()  # of what changed while nobody listened
        self._tried.set()
        return ended

    def _heard(self, _connection: Driver, _process: int, _channel: str, payload: str) -> None:
        speaker, *topics = payload.split(" ")
        if speaker != self._name:
            self._watches.tell(topics)

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning("%s; whoever follows a table polls, and learns of other processes' changes late", why)

    async def close(self) -> None:
        """Say what is unsaid, stop listening, and tell those who watch."""
        self._closed = True
        self._watches.close()
        self._stop_listening()
        if self._saying is not None:
            self._saying.cancel()
            await asyncio.wait([self._saying])
            self._saying = None
        if self._unsaid:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSING_SECONDS):
                    await self._say_now()
        while self._ending:
            await asyncio.wait(self._ending)


async def _until(ended: asyncio.Future[None], connection: Driver) -> None:
    """Return when a connection has ended.

    Raises: the driver's errors, when it does not answer any more.
    """
    while not ended.done():
        await asyncio.wait([ended], timeout=ALIVE_SECONDS)
        if not ended.done():
            await connection.fetchval("SELECT 1", timeout=ALIVE_SECONDS)
