"""What the columns of a user may hold, whichever way a user is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from agentdb.engine.folding import folded
from agentdb.errors import BadInput, brief

SEARCHED: Final = ("username", "email", "title")
# Columns of which more is to be kept than their value, and what keeps it.
_ELSEWHERE: Final = {
    "status": "disable(), enable(), archive() or restore()",
    "role_id": "roles.assign()",
    "lead_user_id": "leads.set_lead()",
    "password_hash": "passwords.set()",
    "runtime_key_hash": "runtime_keys.issue()",
}
_USERNAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_EMAIL: Final = re.compile(r"[^\s@]+@[^\s@]+").fullmatch


def plain(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return values that any change may have.

    Raises: BadInput for a column of which more is to be kept than its value.
    """
    for name in _ELSEWHERE.keys() & values.keys():
        raise BadInput(f"users.{name} is not changed by its value; use {_ELSEWHERE[name]}")
    return values


def new(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of a new user.

    Raises: BadInput for what is no object, and when it brings an id and a lead, with which a circle could begin, or
        what proves who a user is.
    """
    given: object = values
    if not isinstance(given, Mapping):
        raise BadInput(f"a user is an object of columns, not {type(given).__name__}")
    for name in ("password_hash", "runtime_key_hash"):
        if values.get(name) is not None:
            raise BadInput(f"a user is added without users.{name}; use {_ELSEWHERE[name]} afterwards")
    if "id" in values and values.get("lead_user_id") is not None:
        raise BadInput("a user who is added with an id has no lead yet; use leads.set_lead() afterwards")
    return values


def normal(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user's values with the name checked, the address normalised, and what a search compares."""
    normal = dict(values)
    if "username" in normal and not (isinstance(normal["username"], str) and _USERNAME(normal["username"])):
        raise BadInput(f"a username has 1 to 64 letters, digits, '_' and '-', not {brief(normal['username'])}")
    if normal.get("email") is not None:
        normal["email"] = address(normal["email"])
    for name in SEARCHED:
        if isinstance(normal.get(name, ""), str | None):
            continue
        raise BadInput(f"users.{name} is text, not {type(normal[name]).__name__}")
    return normal | {f"{name}_folded": folded(normal[name] or "") for name in SEARCHED if name in normal}


def address(email: Any) -> str:
    """Return an e-mail address as it is stored.

    Raises: BadInput for what is none.
    """
    if not isinstance(email, str):
        raise BadInput(f"an e-mail address is text, not {type(email).__name__}")
    address = email.strip().lower()
    if not _EMAIL(address):
        raise BadInput(f"{brief(email)} is not an e-mail address; write name@domain")
    return address
