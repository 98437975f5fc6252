"""The Database: opened once, two doors, and every repository's calls as transactions of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from agentdb import migrating, seeding, services
from agentdb.aggregates import Aggregates
from agentdb.config import Settings
from agentdb.doors import Shortcut, enter, leave, refuse_inside_a_unit
from agentdb.engine.choice import AnyEngine, engine_for, serving
from agentdb.engine.events import Hook
from agentdb.engine.guarding import GuardedEngine
from agentdb.engine.observing import Observing
from agentdb.engine.plan import Plan
from agentdb.engine.retrying import retrying
from agentdb.errors import AgentDBError, Unavailable
from agentdb.hub.filing.folder import Folder
from agentdb.hub.masking import KnownSecrets, UnitSecrets
from agentdb.seeding import SeedReport
from agentdb.supervisor.key_use import KeyUses
from agentdb.tenants import Scope, Tenant
from agentdb.unit import Unit

R = TypeVar("R")

_ALIVE = Plan[int](select(literal(1)), name="health")


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the database answers, and how its connections are doing."""

    alive: bool
    problem: str | None
    in_use: int
    waiting: int
    size: int


class Database(Aggregates):
    """One database, for one event loop.

    ``db.hub.runs.start(...)`` and its like are one call, one transaction. Several calls in one transaction go through
    ``write()``; reads that belong together, or must not write, through ``read()``.
    """

    def __init__(self, settings: Settings, *, template: Path | None = None) -> None:
        self.settings = settings
        self._template = template
        self._service = None if settings.service is None else services.named(settings.service)
        self._engine: AnyEngine | GuardedEngine | None = None
        self._observing = Observing(settings)
        self._shortcut = Shortcut()
        self._opening = asyncio.Lock()
        self._server = AsyncExitStack()
        super().__init__(
            self._shortcut,
            most=settings.page_limit,
            secrets=KnownSecrets(),
            key_uses=KeyUses(),
            folder=Folder(settings.attachments),
        )

    async def open(self) -> Self:
        """Connect, and bring the schema up to date unless the settings say never; seed it when they say so.

        Raises: BadSettings, Unavailable or SchemaMismatch, naming the setting and never the password.
        """
        async with self._opening:
            if self._engine is None:
                async with AsyncExitStack() as opened:
                    settings = await opened.enter_async_context(serving(self.settings))
                    opened.push_async_callback(self._folder.let_go)
                    engine = engine_for(settings, template=self._template, observing=self._observing)
                    opened.push_async_callback(engine.close)
                    await engine.open()
                    answering: AnyEngine | GuardedEngine = engine
                    if self._service is not None:
                        await migrating.ensure(engine, settings.model_copy(update={"migrate": "never"}))
                        answering = GuardedEngine(engine, self._service)
                    else:
                        if self._template is None:  # which is of the present schema
                            await migrating.ensure(engine, settings)
                        await seeding.ensure(engine, settings)
                    self._key_uses.open(answering)
                    opened.push_async_callback(self._key_uses.close)
                    self._server = opened.pop_all()
                self._engine = answering
                self._shortcut.lead_to(answering)
        return self

    async def close(self) -> None:
        """Let what is in flight finish, and let go of every connection, thread and task."""
        async with self._opening:
            self._engine = None
            self._shortcut.lead_to(None)
            # A cancelled caller does not leave half of it open: the rest is closed behind its back.
            await asyncio.shield(asyncio.ensure_future(self._server.aclose()))

    def __await__(self) -> Generator[Any, None, Self]:
        return self.open().__await__()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # The two doors

    def write(self) -> AbstractAsyncContextManager[Unit]:
        """Open a unit that writes: it commits when its block is left, and rolls back when any error leaves it.

        Units that write follow one another on SQLite. Keep them short: await no model and no web page in one.

        Raises: BadInput inside another unit of the same task.
        """
        return self._unit(writes=True)

    def read(self) -> AbstractAsyncContextManager[Unit]:
        """Open a unit that reads one snapshot and cannot write, on a replica where one is configured."""
        return self._unit(writes=False)

    @asynccontextmanager
    async def _unit(self, *, writes: bool, scope: Scope | None = None) -> AsyncIterator[Unit]:
        refuse_inside_a_unit("write()" if writes else "read()", self._shortcut)
        with UnitSecrets(self._secrets, writes=writes) as secrets:
            async with self._there().transaction(writes=writes) as whole:
                transaction, tenant = (whole, None) if scope is None else (scope.of(whole), scope.user_id)
                most, uses, folder = self.settings.page_limit, self._key_uses, self._folder
                unit = Unit(
                    transaction, writes=writes, most=most, secrets=secrets, key_uses=uses, folder=folder, tenant=tenant
                )
                enter(unit, self._shortcut)
                try:
                    yield unit
                    await unit.finish()
                finally:
                    leave(unit)
                    await unit.let_go()

    async def run(self, work: Callable[[Unit], Awaitable[R]]) -> R:
        """Run ``work`` in a write unit, again from its beginning while other transactions are in its way.

        Args: work: it may run several times, so it keeps its effects inside the unit.
        Raises: Contended when the last attempt was contended too.
        """
        return await self._again(work, None)

    async def _again(self, work: Callable[[Unit], Awaitable[R]], scope: Scope | None) -> R:
        async def attempt() -> R:
            async with self._unit(writes=True, scope=scope) as unit:
                return await work(unit)

        return await retrying(attempt, attempts=self.settings.retry_attempts)

    def as_user(self, user_id: int) -> Tenant:
        """Return this database as one user sees it: what that user owns, and what is everybody's.

        Another user's row is as good as not there; see `agentdb.tenants`. It costs nothing to make, and holds nothing:
        make one for each request.

        Raises: BadInput for what is no id.
        """
        return Tenant(
            user_id,
            self,
            self._shortcut,
            most=self.settings.page_limit,
            secrets=self._secrets,
            key_uses=self._key_uses,
            folder=self._folder,
        )

    # The rest

    async def seed(self, directory: Path | None = None) -> SeedReport:
        """Load seed files, all or none, and tell what was done; see `agentdb.seeding`.

        Args: directory: a folder of CSV files; None: those that are shipped.
        Raises: BadInput with every problem of the files; BadSettings.
        """
        return await seeding.seed(self, directory)

    @property
    def sessions(self) -> async_sessionmaker[AsyncSession]:
        """Plain SQLAlchemy sessions over the same connections, which commit and roll back by themselves.

        On SQLite each holds the one writer from its first statement until its commit.

        Raises: BadInput inside an open unit of the same task, whose own session is ``unit.session``.
        """
        refuse_inside_a_unit("sessions", self._shortcut)
        return async_sessionmaker(self._there().sessions(), expire_on_commit=False)

    def now(self) -> datetime:
        """Return the database's present moment, as it is bound to rows."""
        return self._there().now()

    def observe(self, hook: Hook, *, parameters: bool = False) -> Callable[[], None]:
        """Let a hook see every statement, and every wait for a connection or a turn; what is returned lets it go.

        It is called in the event loop, when a statement has ended; an error of its own is logged, once, and breaks no
        call. The database may be closed yet: then it sees the first statements too.

        Args:
            hook: takes `Statement` and `Wait`.
            parameters: whether it gets the values that were bound; secrets among them are sealed.
        """
        return self._observing.add(hook, parameters=parameters)

    def connections(self) -> dict[str, int]:
        """Return how the connections of an open database are doing: in_use, waiting, size."""
        return self._there().state()

    async def health(self) -> Health:
        """Ask the database whether it answers; a problem is told, not raised."""
        engine = self._there()
        try:
            alive, problem = await engine.fetch_one(_ALIVE, {}) == 1, None
        except AgentDBError as error:
            alive, problem = False, str(error)
        return Health(alive, problem, **engine.state())

    @property
    def path(self) -> Path | None:
        """The file of an open database, of one in memory too; None on a server."""
        path: Path | None = getattr(self._there(), "path", None)
        return path

    @property
    def attachments(self) -> Path:
        """The folder of attachments' files; of a database in memory a temporary one."""
        return self._folder.path

    def _there(self) -> AnyEngine:
        if self._engine is None:
            raise Unavailable("the database is not open; use `async with`, or await open()")
        return cast("AnyEngine", self._engine)  # a guard is asked what the engine is asked


class SessionFactory:
    """Makes plain SQLAlchemy sessions over a database: ``async with factory:`` opens and closes it.

    Inside, ``async with factory() as session: ...`` is SQLAlchemy's own.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def __call__(self, **options: Any) -> AsyncSession:
        """Return a new session."""
        return self.database.sessions(**options)

    async def __aenter__(self) -> Self:
        await self.database.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the database."""
        await self.database.close()


def connect(url: str | None = None, **settings: Any) -> Database:
    """Return the database that the URL, or else the environment, names; ``async with`` opens and closes it.

    Args:
        url: see `Settings`; in any form `agentdb.urls.parse` reads.
        settings: any field of `Settings` by its name.

    Raises: BadSettings; what needs the database is raised when it is opened.
    """
    return Database(Settings.load(url, **settings))


def session_factory(url: str | None = None, **settings: Any) -> SessionFactory:
    """Return a factory of plain SQLAlchemy sessions, for services that want nothing else.

    Args and Raises: as `connect`.
    """
    return SessionFactory(connect(url, **settings))
