"""How long a statement, a lock and an idle transaction may take, and how each connection learns it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentdb.config import Settings
from agentdb.engine.postgresql.connection import milliseconds


class Limits:
    """The server's time-outs: given at the start of a connection, or, which a pooler refuses, of each transaction."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pooler = settings.pooler == "transaction"
        self._search_path: str | None = None  # behind a pooler, where a connection cannot carry it

    def _timeouts(self) -> dict[str, str]:
        settings = self._settings
        return {
            "statement_timeout": milliseconds(settings.statement_timeout_seconds),
            "default_transaction_isolation": "read committed",
            "lock_timeout": milliseconds(settings.lock_timeout_seconds),
            "idle_in_transaction_session_timeout": milliseconds(settings.idle_in_transaction_timeout_seconds),
        }

    def with_timeouts(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return connect arguments with the time-outs, as far as the connection can carry them."""
        merged = {**arguments, "timeout": self._settings.connect_timeout_seconds}
        if self._pooler:
            own = dict(merged.get("server_settings", {}))
            self._search_path = own.pop("search_path", None)
            return {**merged, "server_settings": own, "statement_cache_size": 0}
        return {**merged, "server_settings": {**merged.get("server_settings", {}), **self._timeouts()}}

    def text(self) -> str:
        """Return the commands that tell a transaction what its connection could not carry."""
        limits = [f"SET LOCAL {name} = '{value}'" for name, value in self._timeouts().items()]
        return "; ".join(limits + ([f"SET LOCAL search_path = {self._search_path}"] if self._search_path else []))
