"""The main job on real-looking input: import agent runs and report, on SQLite and then on PostgreSQL.

Run by `make demo`. The two reports have to be equal.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

DATA = Path(__file__).parent / "data"


def agentdb(url: str, *command: str) -> str:
    """Run the command line as a user would, showing what it says, and return what it prints."""
    finished = subprocess.run(  # noqa: S603 (our own program)
        [sys.executable, "-m", "agentdb", "--url", url, *command], check=True, stdout=subprocess.PIPE, text=True
    )
    return finished.stdout


def job(title: str, url: str) -> str:
    """Import the prices and the runs, twice, and return the report."""
    print(f"\n== {title}\n", flush=True)  # noqa: T201 (a program that talks)
    print(agentdb(url, "import", "prices", str(DATA / "prices-sample.csv")), end="", flush=True)  # noqa: T201
    print(agentdb(url, "import", "chat", str(DATA / "chat-sample.jsonl")), end="", flush=True)  # noqa: T201
    report = agentdb(url, "report")
    print(report, flush=True)  # noqa: T201
    return report


def main() -> int:
    """Run the job on both databases, and compare."""
    with tempfile.TemporaryDirectory(prefix="agentdb-demo-") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as another user when this one is root
        on_sqlite = job("SQLite", f"sqlite:///{folder}/sqlite/agentdb.db")
        on_postgresql = job("PostgreSQL, from the wheel", f"embedded://{folder}/postgresql")
    equal = on_sqlite == on_postgresql
    print("The two reports are equal." if equal else "The two reports DIFFER.")  # noqa: T201
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
