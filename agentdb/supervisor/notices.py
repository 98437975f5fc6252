"""Notices: those who follow the users are told that one of them stands otherwise than before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from agentdb.engine.connection import Script, each
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_or_update
from agentdb.hub.models.machines import UserNotification

_NOTICE: Final[Plan[UserNotification]] = insert_or_update(UserNotification, ("user_id",), frozenset({"user_id"}))


def noticed(user_ids: Iterable[int]) -> Script[None]:
    """Within a script: tell followers that these users have changed, once the transaction is committed."""
    yield from each(_NOTICE, [{"user_id": user_id} for user_id in sorted(user_ids)])
