"""The service and its worker, over one database, until Ctrl+C.

Run by `make serve`. PORT is the service's; the worker has the next one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 15


def serve(port: int) -> int:
    """Run both until one ends or somebody wants them to; return the exit code."""
    wanted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: wanted.set())
    # A group of their own: Ctrl+C is ours to pass on.
    programs = []
    for module, at in (("examples.fastapi_service", port), ("examples.aiohttp_worker", port + 1)):
        command = [sys.executable, "-m", module, str(at)]
        programs.append(subprocess.Popen(command, cwd=ROOT, start_new_session=True))  # noqa: S603 (our own programs)
    print(f"service: http://127.0.0.1:{port}/docs  worker: http://127.0.0.1:{port + 1}/readyz", flush=True)  # noqa: T201
    while not wanted.wait(0.2) and all(program.poll() is None for program in programs):
        pass
    return _end(programs)


def _end(programs: Sequence[subprocess.Popen[bytes]]) -> int:
    failed = any(program.poll() not in {None, 0} for program in programs)
    for program in programs:
        if program.poll() is None:
            program.terminate()
    for program in programs:
        try:
            program.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
    return int(failed)


if __name__ == "__main__":
    sys.exit(serve(int(os.environ.get("PORT") or 8000)))
