"""What the supervisor's users may do, and what they sign in with."""

from __future__ import annotations

from typing import Any

from agentdb.importing.naisys.source import Row
from agentdb.importing.naisys.values import maybe, moment, text, whole, word
from agentdb.importing.naisys.work import Importing
from agentdb.supervisor.access import Permission
from agentdb.supervisor.models import PasskeyCredential, RegistrationToken, UserPermission


async def import_accounts(work: Importing) -> None:
    """Bring permissions, passkeys and registration tokens; logins stay behind."""
    source = work.supervisor
    if source is None:
        return

    def permission(row: Row) -> dict[str, Any]:
        granted = moment(row["granted_at"])
        return {
            "user_id": work.accounts[row["user_id"]],
            "permission": str(word(Permission, row["permission"])),
            "granted_by": work.accounts.get(row["granted_by"]),
            "granted_at": granted,
            "created_at": granted,
        }

    def passkey(row: Row) -> dict[str, Any]:
        created = moment(row["created_at"])
        used = maybe(moment, row["last_used_at"])
        return {
            "user_id": work.accounts[row["user_id"]],
            "credential_id": text(row["credential_id"]),
            "public_key": text(row["public_key"]),
            "counter": whole(row["counter"]),
            "transports": text(row["transports"]),
            "device_label": text(row["device_label"]),
            "last_used_at": used,
            "created_at": created,
            "updated_at": used or created,
        }

    def token(row: Row) -> dict[str, Any]:
        created = moment(row["created_at"])
        used = maybe(moment, row["used_at"])
        return {
            "user_id": work.accounts[row["user_id"]],
            "token_hash": text(row["token_hash"]),
            "expires_at": moment(row["expires_at"]),
            "used_at": used,
            "created_at": created,
            "updated_at": used or created,
        }

    for table, model, on, convert in (
        ("user_permissions", UserPermission, ("user_id", "permission"), permission),
        ("passkey_credentials", PasskeyCredential, ("credential_id",), passkey),
        ("registration_tokens", RegistrationToken, ("token_hash",), token),
    ):
        rows = [row for row in await source.all(table) if row["user_id"] in work.accounts]
        await work.add_unless_there(table, model, on, work.carried(table, rows, convert))
        work.progress(table, len(rows), len(rows))
    logins = await source.count("sessions")
    if logins:
        work.report.of("sessions").left = logins
        work.report.note(
            f"{logins} logins of the supervisor are not carried: their cookies are another site's; users log in again"
        )
