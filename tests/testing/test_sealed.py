"""What a developer's shell says of databases, services and keys does not reach a test's database."""

from __future__ import annotations

import pytest

from agentdb.config import Settings
from agentdb.testing.plugin import SEALED


def test_neither_keys_nor_a_service_of_the_shell_reach_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTDB_ENCRYPTION_KEYS", "no key at all")
    monkeypatch.setenv("AGENTDB_SERVICE", "gateway")
    monkeypatch.setenv("AGENTDB_REPLICA_URL", "postgresql://nowhere/replica")

    settings = Settings.load("sqlite://", **SEALED)

    assert settings.encryption_keys == ()
    assert (settings.service, settings.replica_url) == (None, None)
