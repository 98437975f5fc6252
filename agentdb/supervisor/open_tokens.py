"""Registration tokens that are still open, when their user has got what they are for in another way.

Whoever has such a token may set a password in place of the one there is: it must not outlive the first.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Table, bindparam, delete, exists

from agentdb.engine.connection import Script, count
from agentdb.engine.plan import Plan
from agentdb.supervisor.models import PasskeyCredential, RegistrationToken, User

_tokens: Final[Table] = RegistrationToken.__table__  # type: ignore[assignment]
_users: Final[Table] = User.__table__  # type: ignore[assignment]
_passkeys: Final[Table] = PasskeyCredential.__table__  # type: ignore[assignment]

_open: Final = (_tokens.c.user_id == bindparam("user_id"), _tokens.c.used_at.is_(None))
_FORGET: Final = Plan[None](delete(_tokens).where(*_open), name="registrations.forget")
_FORGET_AT_FIRST: Final = Plan[None](
    delete(_tokens).where(
        *_open,
        ~exists().where(_users.c.id == _tokens.c.user_id, _users.c.password_hash.is_not(None)),
        ~exists().where(_passkeys.c.user_id == _tokens.c.user_id, _passkeys.c.id != bindparam("passkey_id")),
    ),
    name="registrations.forget: first passkey",
)


def forgotten(user_id: int) -> Script[None]:
    """Within a script: take a user's open tokens away."""
    yield from count(_FORGET, user_id=user_id)


def forgotten_at_first(user_id: int, passkey_id: int) -> Script[None]:
    """Within a script: take a user's open tokens away if this passkey is the first thing the user signs in with.

    Who has something already was given the token for one thing more, and may use it still.
    """
    yield from count(_FORGET_AT_FIRST, user_id=user_id, passkey_id=passkey_id)
