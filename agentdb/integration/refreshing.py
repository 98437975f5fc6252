"""Refreshing tokens: one asks the provider, whoever else wants to waits for what that one is given.

The turn is a lease in the connection's row, not a transaction that stays open while a web page is awaited: whoever dies
with it is succeeded when it ends, and an answer that comes later than that is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar

from agentdb.engine.connection import Connection
from agentdb.errors import BadInput, InvalidTransition, StaleVersion
from agentdb.integration.changing import Turn, given_up, let_go, refreshed, turn_taken
from agentdb.integration.models import ConnectionStatus, IntegrationConnection
from agentdb.integration.records import Tokens

R = TypeVar("R")

Fetch = Callable[[str], Awaitable[Tokens]]

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Refresh:
    """A wish for tokens that are good.

    Args:
        connection: the database itself.
        connection_id: whose tokens.
        user_id: whose connection; None: anybody's.
        fetch: asks the provider.
        lease: how long it may take.
        margin: how long before its end a token is replaced.
        seen: the version of the token that the provider did not take any more.
    """

    connection: Connection
    connection_id: int
    user_id: int | None
    fetch: Fetch
    lease: timedelta
    margin: timedelta
    seen: int | None

    async def run(self) -> IntegrationConnection:
        """Return the connection when its tokens are good, by whoever has refreshed them."""
        pause, waited = FIRST_PAUSE_SECONDS, None
        while True:
            now = self.connection.now()
            found = await self.connection.run(
                partial(
                    turn_taken,
                    self.connection_id,
                    self.user_id,
                    self.connection.keyring,
                    now,
                    self.lease,
                    self.margin,
                    self.seen,
                    waited,
                )
            )
            if isinstance(found, Turn):
                return await self._take(found)
            if self._is_good(found, waited):
                return found
            if found.refresh_token is None:
                raise InvalidTransition(
                    f"connection {self.connection_id} has nothing to be refreshed with; connect it again"
                )
            waited = found.token_version if waited is None else waited
            await asyncio.sleep(pause)  # somebody is at it, or has just given up
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _is_good(self, row: IntegrationConnection, waited: int | None) -> bool:
        if row.status is not ConnectionStatus.connected or row.token_version == self.seen:
            return False
        # One that came meanwhile is the newest there is, though a provider may give it less time than the margin.
        margin = self.margin if waited in {None, row.token_version} else timedelta(0)
        return row.expires_at is None or row.expires_at > self.connection.now() + margin

    async def _take(self, turn: Turn) -> IntegrationConnection:
        try:
            async with asyncio.timeout(self.lease.total_seconds()):
                tokens = checked(await self.fetch(turn.refresh_token))
        except asyncio.CancelledError:
            # Others need not wait for the end of the lease. Where this cannot be done, they do.
            with contextlib.suppress(Exception):
                await _to_its_end(self._run(partial(let_go, turn)))
            raise
        except Exception as error:
            # Its text may be anything, also what was sent.
            message = f"refreshing failed: {type(error).__name__}"
            await self._run(partial(given_up, turn, self.connection.now(), message))
            raise
        # The provider may take the old refresh token no more: its answer is stored, whoever is cancelled now.
        stored: IntegrationConnection | None = await _to_its_end(
            self._run(partial(refreshed, turn, tokens, self.connection.keyring, self.connection.now()))
        )
        if stored is None:
            raise StaleVersion(
                f"connection {self.connection_id}: the tokens came too late, somebody else has refreshed, connected or "
                "disconnected it; read it again"
            )
        return stored

    async def _run(self, work: Callable[[], Any]) -> Any:
        return await self.connection.run(work)


async def _to_its_end(work: Coroutine[Any, Any, R]) -> R:
    """Return what work returns; who is cancelled meanwhile waits for its end, and is cancelled then."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def checked(answer: Any) -> Tokens:
    """Return what has to be tokens.

    Raises: BadInput.
    """
    if not isinstance(answer, Tokens):
        raise BadInput(f"Tokens are expected, not {type(answer).__name__}")
    return answer
