"""Makes the environment of the peers whose libraries are not ours: ``python -m benchmarks.peers``."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.peers.hiring import REQUIREMENTS, folder, python_of


def main() -> None:
    """Make the environment, or bring it up to date."""
    where = folder()
    if not python_of(where).exists():
        print(f"setting up {where} ...", flush=True)
        venv.create(where, with_pip=True)
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    if not _installed(where, lines):  # then as many as possible
        missing = [line for line in lines if not _installed(where, [line])]
        sys.exit(f"not installed, and left out by make bench: {', '.join(missing)}")
    print("the peers are there: make bench measures them too")


def _installed(where: Path, requirements: list[str]) -> bool:
    quiet = ["--quiet", "--disable-pip-version-check"]
    command = [str(python_of(where)), "-m", "pip", "install", *quiet, *requirements]
    return subprocess.run(command, check=False).returncode == 0  # noqa: S603 (the environment's own interpreter)


if __name__ == "__main__":
    main()
