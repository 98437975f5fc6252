"""What the catalog's tests run with: a key to seal secrets."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": hashlib.sha256(b"the catalog's tests").hexdigest()}
