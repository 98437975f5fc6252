"""The test administrator: who an installation that tries things out is entered as."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select

from agentdb.auditing import recorded
from agentdb.engine.connection import Script, one
from agentdb.engine.plan import Plan
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput, BadSettings
from agentdb.supervisor.access import Permission
from agentdb.supervisor.access_keys import issue
from agentdb.supervisor.key_records import digest_of, prefix_of
from agentdb.supervisor.models import ApiKeyKind, User, UserPermission
from agentdb.supervisor.profiles import normal
from agentdb.supervisor.standing import created

VARIABLE: Final = "AGENTDB_TEST_API_KEY"
USERNAME: Final = "admin"

_THERE: Final = Plan[int](select(User.id).where(User.username == bindparam("username")), name="seed: administrator")


def proof_from(environment: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return what is stored of the key that the environment gives the test administrator; None when it gives none.

    Raises: BadSettings, which does not repeat it, for what cannot be an access key.
    """
    plaintext = environment.get(VARIABLE)
    if not plaintext:
        return None
    try:
        return {"digest": digest_of(plaintext), "prefix": prefix_of(plaintext)}
    except BadInput as error:
        raise BadSettings(f"{VARIABLE}: {error}") from None


def administrator_made(proof: Mapping[str, str], now: datetime) -> Script[bool]:
    """Within a script: make the test administrator, and tell whether there was none; one that is there stays as it is.

    Raises: Conflict when the key is somebody else's.
    """
    if (yield from one(_THERE, username=USERNAME)) is not None:
        return False
    user = yield from created(insert_one(User), normal({"username": USERNAME, "first_name": "Test"}), None)
    if user is None:
        return False
    permission = Permission.supervisor_admin
    yield from one(insert_one(UserPermission), user_id=user.id, permission=permission, granted_by=None, granted_at=now)
    detail = {"permission": permission}
    yield from recorded(actor_id=None, action="grant", entity="users", entity_id=user.id, detail=detail)
    key = {"user_id": user.id, "kind": ApiKeyKind.access, "name": "test", "scopes": ["*"], **proof}
    yield from issue({**key, "expires_at": None, "metadata": {}}, by=None, now=now)
    return True
