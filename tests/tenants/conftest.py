"""A database whose secrets can be sealed, and whose passwords cost little."""

from __future__ import annotations

from typing import Any

import pytest
from argon2.profiles import CHEAPEST

from agentdb.supervisor.hashing import HASHER, Hasher
from tests.tenants.worlds import ENCRYPTION_KEY


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": ENCRYPTION_KEY}


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash as little as there is to hash: who may see what does not depend on it."""
    for name, value in vars(Hasher(CHEAPEST)).items():
        monkeypatch.setattr(HASHER, name, value)
