"""Mail and chat: a message comes with its recipients and its attachments, all in one batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from agentdb.engine.connection import Script, each
from agentdb.engine.folding import folded
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput
from agentdb.hub.mailing.participants import digest_of, participants_of
from agentdb.hub.models.mail import MailAttachment, MailKind, MailMessage, MailRecipient, RecipientType
from agentdb.importing.naisys.source import Row
from agentdb.importing.naisys.values import maybe, moment, name, text, word
from agentdb.importing.naisys.work import Importing

Letter = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]


async def import_mail(work: Importing) -> None:
    """Bring messages. Whether one was read or put away is as it was when it came."""

    async def batch(rows: list[Row]) -> list[Letter]:
        ids = [row["id"] for row in rows]
        recipients = _by_message(await work.hub.having("mail_recipients", "message_id", ids))
        links = _by_message(await work.hub.having("mail_attachments", "message_id", ids))
        letters = work.carried(
            "mail_messages", rows, lambda row: _letter(work, row, recipients[row["id"]], links[row["id"]])
        )
        masked = await work.database.hub.redaction.redact(
            part for message, _, _ in letters for part in (message["subject"], message["body"])
        )
        for (message, _, _), subject, body in zip(letters, masked[::2], masked[1::2], strict=True):
            message |= {"subject": subject, "body": body}
            message |= {"subject_folded": folded(subject), "body_folded": folded(body)}
        return letters

    for messages, recipients, links in await work.follow("mail_messages", batch, _store):
        work.report.stored("mail_messages", messages)
        work.report.stored("mail_recipients", recipients)
        work.report.stored("mail_attachments", links)


def _by_message(rows: Sequence[Row]) -> defaultdict[int, list[Row]]:
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["message_id"]].append(row)
    return found


def _letter(work: Importing, row: Row, recipients: Sequence[Row], links: Sequence[Row]) -> Letter:
    sender = row["from_user_id"]
    if sender not in work.users:
        raise BadInput("its sender is not there")
    created, kind = moment(row["created_at"]), word(MailKind, row["kind"])
    named = _once(work, recipients)
    seen = [work.users[sender], *(work.users[user] for user, (how, _) in named.items() if how is not RecipientType.bcc)]
    participants = participants_of(seen)
    digest = digest_of(participants)
    message = {
        "from_user_id": work.users[sender],
        "from_username": name(work.names[sender]),
        "host_id": work.hosts.get(row["host_id"]),
        "kind": kind,
        "participants": participants,
        "participants_digest": digest,
        "subject": text(row["subject"]),
        "body": text(row["body"]),
        "created_at": created,
    }
    of_message = {"kind": kind, "participants_digest": digest}
    addressed = [
        _recipient(one, work.users[user], how, own=user == sender) | of_message for user, (how, one) in named.items()
    ]
    enclosed = [
        {"attachment_id": work.attachments[link["attachment_id"]], "created_at": moment(link["created_at"])}
        for link in links
        if link["attachment_id"] in work.attachments
    ]
    return message, addressed, enclosed


def _once(work: Importing, recipients: Sequence[Row]) -> dict[int, tuple[RecipientType, Row]]:
    """Return each user once: nothing there keeps a user from being named twice; being addressed counts."""
    named: dict[int, tuple[RecipientType, Row]] = {}
    for row in recipients:
        how = word(RecipientType, row["type"])
        there = named.get(row["user_id"])
        if row["user_id"] not in work.users:
            work.report.leave("mail_recipients", row["id"], "its user is not there")
        elif there is None:
            named[row["user_id"]] = how, row
        else:
            work.report.leave("mail_recipients", row["id"], "its user is named on this message twice")
            if there[0] is RecipientType.from_:
                named[row["user_id"]] = how, row
    return named


def _recipient(row: Row, user_id: int, how: RecipientType, *, own: bool) -> dict[str, Any]:
    created, read, archived = (maybe(moment, row[key]) for key in ("created_at", "read_at", "archived_at"))
    moments = [at for at in (created, read, archived) if at is not None]
    return {
        "user_id": user_id,
        "type": how,
        "own": own,
        "read_at": read,
        "archived_at": archived,
        "created_at": min(moments),
        "updated_at": max(moments),
    }


def _store(letters: Sequence[Letter]) -> Script[tuple[int, int, int]]:
    stored = yield from each(insert_one(MailMessage), [message for message, _, _ in letters])
    ids = [message.id for message in stored if message is not None]
    recipients = _with_ids(ids, [addressed for _, addressed, _ in letters])
    links = _with_ids(ids, [enclosed for _, _, enclosed in letters])
    yield from each(insert_one(MailRecipient), recipients)
    yield from each(insert_one(MailAttachment), links)
    return len(ids), len(recipients), len(links)


def _with_ids(ids: Sequence[int], parts: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    return [{"message_id": key, **row} for key, rows in zip(ids, parts, strict=True) for row in rows]
