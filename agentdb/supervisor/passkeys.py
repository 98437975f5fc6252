"""Passkeys: WebAuthn credentials that users sign in with; this stores them, and checks their counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Table, and_, bindparam, delete, exists, or_, select, update

from agentdb.auditing import recorded
from agentdb.engine.asked import is_text, texts, whole_number
from agentdb.engine.columns import of
from agentdb.engine.connection import Script, count, one
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput, NotFound, StaleVersion, brief
from agentdb.guarded import Guarded
from agentdb.supervisor.logins import revoked
from agentdb.supervisor.models import PasskeyCredential, User, UserStatus
from agentdb.supervisor.open_tokens import forgotten_at_first
from agentdb.supervisor.passwords import has_passkey
from agentdb.supervisor.principals import locked, locked_active
from agentdb.supervisor.records import PasskeyFound, PasskeyShown

LONGEST_LABEL: Final = 64

_users: Final[Table] = User.__table__  # type: ignore[assignment]
_passkeys: Final[Table] = PasskeyCredential.__table__  # type: ignore[assignment]

_found: Final = {"username", "uuid", "kind"}
_FIND: Final = Plan[PasskeyFound](
    select(*((_users if name in _found else _passkeys).c[name] for name in PasskeyFound.__dataclass_fields__))
    .join_from(_passkeys, _users, _users.c.id == _passkeys.c.user_id)
    .where(_passkeys.c.credential_id == of(_passkeys.c.credential_id), _users.c.status == UserStatus.active),
    name="passkeys.by_credential_id",
    rows=PasskeyFound,
    point=True,
)
_OF_USER: Final = Plan[PasskeyShown](
    select(*(_passkeys.c[name] for name in PasskeyShown.__dataclass_fields__))
    .where(_passkeys.c.user_id == bindparam("user_id"))
    .order_by(_passkeys.c.id),
    name="passkeys.of_user",
    rows=PasskeyShown,
)


def _use_plan() -> Plan[int]:
    counted = bindparam("counted", type_=WholeType())
    active = exists().where(_users.c.id == _passkeys.c.user_id, _users.c.status == UserStatus.active)
    moved_on = or_(_passkeys.c.counter < counted, and_(_passkeys.c.counter == 0, counted == 0))
    statement = (
        update(_passkeys)
        .where(_passkeys.c.credential_id == of(_passkeys.c.credential_id, "used"), moved_on, active)
        .values(counter=counted, last_used_at=of(_passkeys.c.last_used_at, "now"))
    )
    return Plan(statement.returning(_passkeys.c.user_id), name="passkeys.use")


_USE: Final = _use_plan()
_mine: Final = and_(_passkeys.c.id == bindparam("passkey_id"), _passkeys.c.user_id == bindparam("owner"))
_RENAME: Final = Plan[None](
    update(_passkeys).where(_mine).values(device_label=of(_passkeys.c.device_label, "label")), name="passkeys.rename"
)
_DELETE: Final = Plan[None](delete(_passkeys).where(_mine), name="passkeys.delete")
_CLEAR: Final = Plan[None](delete(_passkeys).where(_passkeys.c.user_id == bindparam("user_id")), name="passkeys.clear")


class Passkeys(Guarded[PasskeyCredential]):
    """The passkeys of users. Whether an answer is signed by one, the caller has checked with its public key."""

    model = PasskeyCredential

    async def enroll(self, user_id: int, *, by: int | None = None, **credential: Any) -> PasskeyCredential:
        """Give a user a passkey, and return it. With the first thing to sign in with, open registration tokens end.

        Args:
            user_id: whose.
            by: the user who does this; None: the system.
            credential: as of `credential_values`.

        Raises: NotFound; InvalidTransition for a user who is not active; Conflict for a credential that is known;
            BadInput.
        Cost: one transaction of four statements.
        """
        values = credential_values(**credential)
        return await self.connection.run(lambda: _enroll(user_id, values, by))

    async def by_credential_id(self, credential_id: str) -> PasskeyFound:
        """Return a passkey with its user, who is active.

        Raises: NotFound.
        Cost: one read by uq_passkey_credentials__credential_id.
        """
        found = await self.connection.fetch_one(_FIND, {"credential_id": credential_id})
        if found is None:
            raise NotFound("there is no such passkey, or its user may not act")
        return found

    async def of_user(self, user_id: int) -> list[PasskeyShown]:
        """Return a user's passkeys, the oldest first.

        Cost: one read by ix_passkey_credentials__user_id.
        """
        return await self.connection.fetch_all(_OF_USER, {"user_id": user_id})

    async def use(self, credential_id: str, counter: int) -> int:
        """Note that a passkey has signed somebody in, and return the user's id.

        Args: credential_id: of the passkey; counter: of the signed answer: above the last one, or 0 where the
            authenticator does not count, as many do not.
        Raises: NotFound for an unknown passkey, or a user who is not active; StaleVersion for a counter that is not
            above the last one: the answer was given before, or the passkey was copied.
        Cost: one statement; of two with the same counter one is refused.
        Source: WebAuthn Level 2, sections 6.1.1 and 7.2, step 21.
        """
        values = {"used": credential_id, "counted": counter, "now": self.connection.now()}
        user_id: int | None = await self.connection.fetch_one(_USE, values)
        if user_id is None:
            found = await self.by_credential_id(credential_id)
            raise StaleVersion(
                f"passkey {found.id} has counted to {found.counter} and answers with {counter}: "
                "the answer is an old one, or the passkey was copied; remove it"
            )
        return user_id

    async def rename(self, user_id: int, passkey_id: int, label: str, *, by: int | None = None) -> bool:
        """Give a user's passkey another label, and return whether the user has it.

        Raises: BadInput for a label of more than 64 characters.
        Cost: one transaction of one or two statements.
        """
        checked = _label(label)
        return await self.connection.run(lambda: _rename(user_id, passkey_id, checked, by))

    async def delete(self, user_id: int, passkey_id: int, *, but: int | None = None, by: int | None = None) -> bool:
        """Take a passkey from a user, end the user's login sessions, and return whether the user had it.

        Args:
            user_id: whose.
            passkey_id: which.
            but: the id of the session that stays, if there is another passkey or a password to sign in with.
            by: the user who does this; None: the system.

        Raises: NotFound for an unknown user.
        Cost: one transaction of up to five statements.
        """
        return await self.connection.run(lambda: _delete(user_id, passkey_id, but, by))

    async def clear(self, user_id: int, *, by: int | None = None) -> int:
        """Take all passkeys from a user, end all of the user's login sessions, and return how many passkeys there were.

        Raises: NotFound for an unknown user.
        Cost: one transaction of four statements.
        """
        return await self.connection.run(lambda: _clear(user_id, by))


def credential_values(
    *,
    credential_id: str,
    public_key: str,
    counter: int = 0,
    transports: Iterable[str] = (),
    device_label: str = "",
    device_type: str | None = None,
    backed_up: bool = False,
    aaguid: str | None = None,
) -> dict[str, Any]:
    """Return the columns of a new passkey.

    Args:
        credential_id: in base64url, as the authenticator gave it.
        public_key: in base64url.
        counter: of the registration.
        transports: such as ``usb`` and ``internal``.
        device_label: what the user calls it, up to 64 characters.
        device_type: ``singleDevice`` or ``multiDevice``.
        backed_up: whether it is synchronised to other devices.
        aaguid: the authenticator's model.

    Raises: BadInput.
    """
    names = [transports] if isinstance(transports, str) else texts(transports, "transports")
    if any("," in name for name in names):
        raise BadInput(f"a transport is one word, such as 'usb', without commas: {brief(names)}")
    if not credential_id or not public_key or whole_number(counter, "a passkey's counter") < 0:
        raise BadInput("a passkey has a credential id, a public key, and a counter from 0")
    return {
        "credential_id": credential_id,
        "public_key": public_key,
        "counter": counter,
        "transports": ",".join(names),
        "device_label": _label(device_label),
        "device_type": device_type,
        "backed_up": backed_up,
        "aaguid": aaguid,
    }


def _label(label: str) -> str:
    if not is_text(label) or len(label) > LONGEST_LABEL:
        raise BadInput(f"a passkey's label is a text of up to {LONGEST_LABEL} characters")
    return label


def enrolled(user_id: int, values: Mapping[str, Any], by: int | None) -> Script[PasskeyCredential]:
    """Within a script: store a passkey of a user who is locked."""
    passkey: PasskeyCredential | None = yield from one(insert_one(PasskeyCredential), user_id=user_id, **values)
    if passkey is None:
        raise NotFound("passkey_credentials: the row was not stored; a trigger took it away")
    yield from forgotten_at_first(user_id, passkey.id)
    yield from _told("enroll", user_id, passkey.id, by)
    return passkey


def _enroll(user_id: int, values: Mapping[str, Any], by: int | None) -> Script[PasskeyCredential]:
    yield from locked_active(user_id)
    return (yield from enrolled(user_id, values, by))


def _told(action: str, user_id: int, passkey_id: int, by: int | None) -> Script[None]:
    detail = {"user_id": user_id}
    yield from recorded(actor_id=by, action=action, entity="passkey_credentials", entity_id=passkey_id, detail=detail)


def _rename(user_id: int, passkey_id: int, label: str, by: int | None) -> Script[bool]:
    if not (yield from count(_RENAME, owner=user_id, passkey_id=passkey_id, label=label)):
        return False
    yield from _told("rename", user_id, passkey_id, by)
    return True


def _delete(user_id: int, passkey_id: int, but: int | None, by: int | None) -> Script[bool]:
    user = yield from locked(user_id)
    if not (yield from count(_DELETE, owner=user_id, passkey_id=passkey_id)):
        return False
    may_return = user.password_hash is not None or (yield from has_passkey(user_id))
    yield from revoked(user_id, but if may_return else None)
    yield from _told("delete", user_id, passkey_id, by)
    return True


def _clear(user_id: int, by: int | None) -> Script[int]:
    yield from locked(user_id)
    passkeys = yield from count(_CLEAR, user_id=user_id)
    ended = yield from revoked(user_id)
    detail = {"passkeys": passkeys, "sessions": ended}
    yield from recorded(actor_id=by, action="clear_passkeys", entity="users", entity_id=user_id, detail=detail)
    return passkeys
