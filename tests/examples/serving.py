"""Examples served over real HTTP, on databases that can be taken away from them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sqlite3
import ssl
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn
from aiohttp import web
from fastapi import FastAPI

from agentdb.urls import Target

ROOT = Path(__file__).parents[2]
# It trusts nobody, and nobody needs it here: a client would read the system's certificates, which takes 50 ms.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class File:
    """A SQLite file, which another program may keep locked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    @asynccontextmanager
    async def gone(self) -> AsyncIterator[None]:
        """Write to it in another program's transaction, which does not end."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")


class Cable:
    """A TCP port that leads to a PostgreSQL server's socket, and may be cut."""

    def __init__(self, target: Target) -> None:
        self.lead_to(target)
        self._user, self._database = target.user, target.database
        self._password = target.password.get_secret_value() if target.password else ""
        self._port = 0
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def lead_to(self, target: Target) -> None:
        """Lead to a server, from the next connection on."""
        self._socket = f"{target.host}/.s.PGSQL.{target.port}" if target.host.startswith("/") else None
        self._address = (target.host, target.port)

    @property
    def url(self) -> str:
        return f"postgresql://{self._user}:{self._password}@127.0.0.1:{self._port}/{self._database}?sslmode=disable"

    async def lay(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse new connections, and reset those there are."""
        if self._server is not None:
            self._server.close()
            for end in self._ends:
                end.transport.abort()
            while self._tasks:
                await asyncio.wait(self._tasks)
            await self._server.wait_closed()
            self._server = None

    @asynccontextmanager
    async def gone(self) -> AsyncIterator[None]:
        """Take the server away."""
        await self.cut()
        yield
        await self.lay()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._socket is not None:
                far_reader, far_writer = await asyncio.open_unix_connection(self._socket)
            else:
                far_reader, far_writer = await asyncio.open_connection(*self._address)
        except OSError:  # there is no server at the other end
            writer.transport.abort()
            return
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self._ends.add(sink)
        with contextlib.suppress(ConnectionError):
            while some := await source.read(65_536):
                sink.write(some)
                await sink.drain()
        sink.close()
        with contextlib.suppress(ConnectionError):
            await sink.wait_closed()
        self._ends.discard(sink)


@asynccontextmanager
async def serving(app: FastAPI | web.Application) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application on a free port, and yield a client of it."""
    listener = socket.create_server(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = _uvicorn(app, listener) if isinstance(app, FastAPI) else _runner(app, listener)
    async with server, httpx.AsyncClient(base_url=base_url, trust_env=False, verify=NO_TLS) as client:
        yield client


@asynccontextmanager
async def _uvicorn(app: FastAPI, listener: socket.socket) -> AsyncIterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="on"))
    task = asyncio.create_task(server.serve([listener]))
    while not server.started and not task.done():  # noqa: ASYNC110 (uvicorn tells it by no event)
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def _runner(app: web.Application, listener: socket.socket) -> AsyncIterator[None]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def program(
    module: str, url: str, *, clients: int = 10
) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.subprocess.Process]]:
    """Run an example as a program of its own, and end it as an orchestrator does; the last it says is left to read."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "AGENTDB_URL": url}
    ran = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, str(port), cwd=ROOT, env=environment, stdout=DEVNULL, stderr=PIPE
    )
    try:
        limits = httpx.Limits(max_connections=clients + 1, max_keepalive_connections=clients + 1)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=NO_TLS, limits=limits, timeout=60
        ) as client:
            async with asyncio.timeout(30):
                await _until_it_answers(client, ran)
            yield client, ran
        ran.terminate()
        async with asyncio.timeout(10):
            await ran.wait()
    finally:
        if ran.returncode is None:
            ran.kill()
            await ran.wait()


async def _until_it_answers(client: httpx.AsyncClient, ran: asyncio.subprocess.Process) -> None:
    while ran.returncode is None:
        with contextlib.suppress(httpx.TransportError):
            if (await client.get("/readyz")).status_code == 200:
                return
        await asyncio.sleep(0.05)
