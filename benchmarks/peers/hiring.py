"""How a peer's process is started and asked; those with libraries of their own run in an environment of their own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.adapter import Place

ROOT: Final = Path(__file__).parents[2]
REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
FOLDER_VARIABLE: Final = "AGENTDB_BENCH_PEERS"
_LONGEST_LINE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Peer:
    """A library that does the same work.

    Attributes:
        name: what the table calls it.
        module: of this package, what it is asked through.
        apart: it needs libraries that are not ours to install.
    """

    name: str
    module: str
    apart: bool = False

    @property
    def python(self) -> Path | None:
        """The interpreter that has its libraries; None: there is none yet."""
        if not self.apart:
            return Path(sys.executable)
        return python_of(folder()) if python_of(folder()).exists() else None


PROCRASTINATE: Final = Peer("procrastinate", "procrastinate_queue")
PGQUEUER: Final = Peer("pgqueuer", "pgqueuer_queue")
TALKERS: Final = (
    Peer("openai-agents", "openai_agents", apart=True),
    Peer("google-adk", "google_adk", apart=True),
    Peer("agno", "agno_runs", apart=True),
    Peer("langgraph", "langgraph_saver", apart=True),
)


def folder() -> Path:
    """Return where the environment of the peers is: outside of the tree."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentdb" / "peers"


def python_of(environment: Path) -> Path:
    """Return the interpreter of an environment."""
    return environment / "bin" / "python"


class Hired:
    """A peer's process: what it is asked for is a method's name and its arguments."""

    def __init__(self, peer: Peer, process: Process) -> None:
        self._peer = peer
        self._process = process

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Return what the method returned.

        Raises: RuntimeError with what the process told when it failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write((json.dumps([method, arguments]) + "\n").encode())
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        told = json.loads(line) if line else {"error": "its process has ended"}
        if "error" in told:
            error = RuntimeError(f"{self._peer.name}: {told['error'].strip().splitlines()[-1]}")
            error.add_note(told["error"])
            raise error
        return told["answer"]

    async def dismiss(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def hired(peer: Peer, place: Place) -> AsyncIterator[Hired]:
    """Start a peer on an empty database, and end it after.

    Raises: FileNotFoundError when its environment is not there.
    """
    if peer.python is None:
        raise FileNotFoundError(f"{peer.name} is not installed; make bench-peers installs it")
    server = {name: place.server[name] for name in ("host", "port", "user", "password", "database") if place.server}
    address = {"server": server, "path": None if place.path is None else str(place.path)}
    command = [str(peer.python), "-m", "benchmarks.peers.child", peer.module, json.dumps(address)]
    # Its libraries would look for keys, and tell their makers how they are used.
    quiet = {"AGNO_TELEMETRY": "false", "OPENAI_AGENTS_DISABLE_TRACING": "1", "LANGSMITH_TRACING": "false"}
    environment = {**os.environ, **quiet}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdin=PIPE, stdout=PIPE, limit=_LONGEST_LINE
    )
    one = Hired(peer, process)
    try:
        yield one
    finally:
        await one.dismiss()
