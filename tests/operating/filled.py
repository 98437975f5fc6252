"""A database with values of every kind, and what the tests of backups ask of one."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any, Final

from agentdb.database import Database
from agentdb.models import CostSource
from agentdb.testing.factories import make_conversation, make_run_session, make_user

KEY: Final = hashlib.sha256(b"of the backups").hexdigest()
CONTENT: Final[dict[str, Any]] = {
    "z": -0.0,
    "a": [1.0, 1, 0.1, 1e16, 1e-7, -5, None, True, "é 😀 \u2028"],
    "nested": {"b": {}, "a": []},
}
FILE: Final = b"what was attached" * 1000


async def fill(db: Database) -> str:
    """Store a row of every kind of value, and return the hash of a file."""
    user = await make_user(db)
    session = await make_run_session(db, user_id=user.id)
    await db.hub.logs.append(session, [{"role": "llm", "message": f"line {number} 😀"} for number in range(50)])
    await db.hub.costs.append(
        source=CostSource.console, model="m", cost=Decimal("0.123456789"), user_id=user.id, run_session_id=session.id
    )
    conversation = await make_conversation(db, user_id=user.id)
    await db.conversation.messages.append(conversation.id, role="user", content=[{"type": "x", "value": CONTENT}])
    collection = await db.knowledge.collections.create(user.id, "notes", 3)
    await db.knowledge.vectors.put_many(
        user.id,
        collection.id,
        [{"external_id": f"{number}", "embedding": [0.1, -1 / 3, number * 1e-30]} for number in range(20)],
    )
    await db.hub.variables.save("greeting", "hello")
    if db.supervisor.connection.keyring.ready:
        await db.catalog.providers.create("p", api_key="sk-hunter2")
    stored = await db.hub.attachments.store(FILE, filename="a.txt", uploaded_by=user.id, purpose="mail")
    return str(stored.file_hash)
