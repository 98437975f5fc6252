"""The embedded PostgreSQL: started, kept, shared, and never left behind."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from agentdb.config import Settings
from agentdb.engine.postgresql.embedded import EmbeddedPostgreSQL, _socket_folder
from agentdb.errors import BadSettings, Unavailable

QUICK = {"fsync": "off"}

OWNER = """
import sys, time
from pathlib import Path
from agentdb.engine.postgresql.embedded import EmbeddedPostgreSQL

server = EmbeddedPostgreSQL(Path(sys.argv[1]), parameters={"fsync": "off"})
server.launch()
print(server.target().host, flush=True)
sys.stdin.read()
server.shut_down()
"""


@pytest.fixture(scope="module")
def shelf() -> Iterator[Path]:
    """A folder that the server's user can enter, whoever runs the tests: those of pytest are private."""
    made = Path(tempfile.mkdtemp(prefix="agentdb-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def folder(shelf: Path) -> Path:
    """A folder with one cluster for all these tests: making one takes longer than they do."""
    return shelf / "embedded"


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgreSQL]:
    server = EmbeddedPostgreSQL(folder, parameters=QUICK)
    yield server
    server.shut_down()


@contextmanager
def owner(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that runs the server of a folder until its standard input ends, and the server's sockets."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


async def ask(server: EmbeddedPostgreSQL, query: str) -> object:
    connection = await asyncpg.connect(**server.target().connect_arguments())
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def leader(folder: Path) -> int:
    return int((folder / "cluster" / "postmaster.pid").read_text().split()[0])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def there(path: Path | str) -> bool:
    return Path(path).exists()


def private(path: Path | str) -> bool:
    return Path(path).stat().st_mode & 0o077 == 0


@contextmanager
def another_program(user: int) -> Iterator[int]:
    """The pid of a program that is no PostgreSQL, run by its user if we can."""
    identity: dict[str, Any] = {"user": user} if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "60"], **identity) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def wait_for_the_end_of(pid: int) -> None:
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, f"server {pid} outlives its owner"
        time.sleep(0.02)


async def test_what_is_written_is_there_after_a_restart(folder: Path) -> None:
    async with EmbeddedPostgreSQL(folder, parameters=QUICK) as server:
        sockets = server.target().host
        await ask(server, "CREATE EXTENSION IF NOT EXISTS vector")
        await ask(server, "CREATE TABLE kept AS SELECT 'é'::text COLLATE \"C\" AS word")

    assert not there(sockets)
    async with EmbeddedPostgreSQL(folder, parameters=QUICK) as server:
        assert await ask(server, 'SELECT upper(word COLLATE "default") FROM kept') == "É"
        assert await ask(server, "SHOW server_version_num") >= "18"  # type: ignore[operator]


async def test_the_url_is_one_that_settings_read(server: EmbeddedPostgreSQL) -> None:
    await server.start()

    arguments = Settings.load(server.url("template1")).target.connect_arguments()
    connection = await asyncpg.connect(**arguments)
    assert await connection.fetchval("SELECT current_database()") == "template1"
    await connection.close()


async def test_only_the_owner_may_read_what_is_in_the_folder(server: EmbeddedPostgreSQL, folder: Path) -> None:
    await server.start()

    for name in ("password", "server.log", "lock"):
        assert private(folder / name)
    assert private(folder / "cluster")
    assert private(server.target().host)


async def test_starting_and_stopping_twice_does_nothing_more(server: EmbeddedPostgreSQL, folder: Path) -> None:
    await server.start()
    first = leader(folder)
    await server.start()

    assert leader(folder) == first
    await server.stop()
    await server.stop()
    assert not alive(first)
    with pytest.raises(Unavailable, match="not started"):
        server.target()


async def test_the_server_dies_with_a_killed_owner(server: EmbeddedPostgreSQL, folder: Path) -> None:
    with owner(folder) as (process, sockets):
        pid = leader(folder)
        process.send_signal(signal.SIGKILL)
        process.wait()

        wait_for_the_end_of(pid)
        await server.start()
        assert await ask(server, "SELECT 1") == 1
        assert not sockets.exists()


async def test_a_second_process_visits_and_outlives_the_owner(server: EmbeddedPostgreSQL, folder: Path) -> None:
    with owner(folder) as (process, sockets):
        pid = leader(folder)
        await server.start()
        assert Path(server.target().host) == sockets
        await server.stop()
        assert alive(pid)

        await server.start()
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        with pytest.raises(OSError, match="No such file"):
            await ask(server, "SELECT 1")
        await server.stop()
        await server.start()
        assert await ask(server, "SELECT 1") == 1


async def test_many_starts_at_once_make_one_server(folder: Path) -> None:
    servers = [EmbeddedPostgreSQL(folder, parameters=QUICK) for _ in range(4)]
    try:
        await asyncio.gather(*(server.start() for server in servers))

        assert len({server.target().host for server in servers}) == 1
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


async def test_a_crash_is_recovered_from(server: EmbeddedPostgreSQL, folder: Path) -> None:
    await server.start()
    await ask(server, "CREATE TABLE IF NOT EXISTS before_the_crash ()")
    os.kill(leader(folder), signal.SIGKILL)
    await server.stop()
    assert (folder / "cluster" / "postmaster.pid").exists()

    await server.start()
    assert await ask(server, "SELECT count(*) FROM before_the_crash") == 0


async def test_a_stale_pid_that_lives_on_in_another_program_is_no_obstacle(
    server: EmbeddedPostgreSQL, folder: Path
) -> None:
    await server.start()
    file = folder / "cluster" / "postmaster.pid"
    text, status = file.read_text(), file.stat()
    await server.stop()
    with another_program(status.st_uid) as other:
        file.write_text(text.replace(text.split()[0], str(other), 1))
        os.chown(file, status.st_uid, status.st_gid)
        await server.start()

        assert await ask(server, "SELECT 1") == 1


async def test_a_cancelled_start_leaves_no_server(server: EmbeddedPostgreSQL, folder: Path) -> None:
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0.02)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert not (folder / "cluster" / "postmaster.pid").exists()


async def test_a_failed_start_quotes_the_log(folder: Path) -> None:
    server = EmbeddedPostgreSQL(folder, parameters={"shared_buffers": "plenty"})

    with pytest.raises(Unavailable, match=r"does not start: .*shared_buffers.*plenty"):
        await server.start()


async def test_tcp_asks_for_the_password(folder: Path) -> None:
    async with EmbeddedPostgreSQL(folder, tcp=True, parameters=QUICK) as server:
        target = server.target()
        assert (target.host, await ask(server, "SELECT inet_server_addr()::text")) == ("127.0.0.1", "127.0.0.1/32")

        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(**{**target.connect_arguments(), "password": "guess"})


async def test_visiting_a_server_without_tcp_by_tcp_is_refused(server: EmbeddedPostgreSQL, folder: Path) -> None:
    await server.start()
    visitor = EmbeddedPostgreSQL(folder, tcp=True)
    await visitor.start()

    with pytest.raises(BadSettings, match="did not ask for TCP"):
        visitor.target()


async def test_a_missing_wheel_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(BadSettings, match=r"agentdb\[embedded\]"):
        await EmbeddedPostgreSQL(folder).start()


async def test_an_unknown_major_is_refused(shelf: Path) -> None:
    with pytest.raises(BadSettings, match=r"wants PostgreSQL 17.*known are 16, 18"):
        await EmbeddedPostgreSQL(shelf / "seventeen", 17).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
async def test_a_private_parent_is_named_to_root(shelf: Path) -> None:
    private = shelf / "private"
    private.mkdir(mode=0o700)

    with pytest.raises(BadSettings, match=f"cannot enter {private}; run `chmod"):
        await EmbeddedPostgreSQL(private / "embedded").start()
    assert private.stat().st_mode & 0o777 == 0o700


def test_a_long_temporary_folder_is_not_used_for_sockets(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(shelf / ("x" * 90)))

    made = _socket_folder()
    assert len(os.fsencode(made / ".s.PGSQL.65535")) < 104
    made.rmdir()
