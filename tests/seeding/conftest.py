"""What the seeding's tests run with: a key to seal secrets, and a folder to write seed files into."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WriteSeed = Callable[..., Path]


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": hashlib.sha256(b"the seeding's tests").hexdigest()}


@pytest.fixture
def write_seed(tmp_path: Path) -> WriteSeed:
    """Return what writes files by name, with underscores for dots before the ending, and returns their folder."""

    def write(**files: str) -> Path:
        folder = tmp_path / "seed"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / f"{name}.csv").write_text(text, encoding="utf-8", newline="")
        return folder

    return write
