"""A database whose secrets can be sealed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tenants.worlds import ENCRYPTION_KEY


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": ENCRYPTION_KEY}
