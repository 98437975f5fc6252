"""What the disk remembers."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Have the disk remember a file, or which files a folder has.

    Never of a database file that this process has open: closing any descriptor of it drops all locks on it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
