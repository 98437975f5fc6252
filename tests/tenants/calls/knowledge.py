"""Calls of the knowledge aggregate's repositories."""

from __future__ import annotations

from agentdb.errors import BadInput, NotFound, StaleVersion
from agentdb.knowledge.records import Chunk, DocumentClaim
from tests.tenants.walking import Call
from tests.tenants.worlds import LONG_AGO, Person

VECTOR = [1.0] * 1536
NOT_HELD = StaleVersion


def claim_of(p: Person) -> DocumentClaim:
    """Return the claim somebody would have on a person's document."""
    return DocumentClaim(p.document.id, "w", 1, p.document.content_hash, LONG_AGO, p.document)


CALLS: dict[str, dict[str, Call]] = {
    "collections": {
        "by_name": Call(lambda at, p: at.by_name(p.id, p.collection.name)),
        "create": Call(lambda at, p: at.create(p.id, "new", 3)),
        "delete": Call(lambda at, p: at.delete(p.id, p.collection.id)),
        "of_user": Call(lambda at, p: at.of_user(p.id)),
        "owned": Call(lambda at, p: at.owned(p.id, p.collection.id)),
        "rename": Call(lambda at, p: at.rename(p.id, p.collection.id, "renamed")),
    },
    "documents": {
        "chunks": Call(lambda at, p: at.chunks(p.document.id)),
        "claim": Call(lambda at, _: at.claim("w"), of_nobody=True),
        "complete": Call(
            lambda at, p: at.complete(claim_of(p), [Chunk("content", VECTOR)], model="m"),
            own=NOT_HELD,
            theirs=(NOT_HELD,),
        ),
        "create": Call(lambda at, p: at.create(p.id, "title", "content")),
        "delete": Call(lambda at, p: at.delete(p.document.id)),
        "document": Call(lambda at, p: at.document(p.document.id)),
        "embed_again": Call(lambda at, _: at.embed_again(model="m"), of_nobody=True),
        "fail": Call(lambda at, p: at.fail(claim_of(p), "broken"), own=NOT_HELD, theirs=(NOT_HELD,)),
        "heartbeat": Call(lambda at, p: at.heartbeat(claim_of(p)), own=NOT_HELD, theirs=(NOT_HELD,)),
        "near": Call(lambda at, p: at.near(p.id, VECTOR)),
        "of_user": Call(lambda at, p: at.of_user(p.id)),
        "release": Call(lambda at, p: at.release(claim_of(p)), own=NOT_HELD, theirs=(NOT_HELD,)),
        "retry": Call(lambda at, p: at.retry(p.document.id), own=NotFound),
        "revise": Call(lambda at, p: at.revise(p.document.id, title="new")),
        "search": Call(lambda at, p: at.search(p.id, p.name)),
        "statuses": Call(lambda at, p: at.statuses(user_id=p.id)),
    },
    "hybrid": {"search": Call(lambda at, p: at.search(p.id, p.name))},
    "indexes": {
        "build": Call(lambda at, p: at.build(p.id, p.collection.id), may=(BadInput,), alone=True),
        "drop": Call(lambda at, p: at.drop(p.id, p.collection.id), may=(BadInput,), alone=True),
        "recall": Call(lambda at, p: at.recall(p.id, p.collection.id)),
        "state": Call(lambda at, p: at.state(p.id, p.collection.id)),
        "tidy": Call(lambda at, _: at.tidy(), may=(BadInput,), alone=True, of_nobody=True),
    },
    "memories": {
        "forget": Call(lambda at, p: at.forget(p.agent.id, p.memory.id)),
        "near": Call(lambda at, p: at.near(p.agent.id, VECTOR)),
        "newest": Call(lambda at, p: at.newest(p.agent.id)),
        "of_agent": Call(lambda at, p: at.of_agent(p.agent.id)),
        "purge": Call(lambda at, _: at.purge(), of_nobody=True),
        "remember": Call(lambda at, p: at.remember(p.agent.id, "new", user_id=p.id)),
        "search": Call(lambda at, p: at.search(p.agent.id, p.name)),
    },
    "vectors": {
        "discard": Call(lambda at, p: at.discard(p.id, p.collection.id, ids=[p.vector.id])),
        "named": Call(lambda at, p: at.named(p.id, p.collection.id, [p.vector.external_id])),
        "pour": Call(lambda at, p: at.pour(p.id, p.collection.id, [{"embedding": [0, 1], "content": "new"}])),
        "put": Call(lambda at, p: at.put(p.id, p.collection.id, "new", [0, 1])),
        "put_many": Call(lambda at, p: at.put_many(p.id, p.collection.id, [{"external_id": "n", "embedding": [0, 1]}])),
        "search": Call(lambda at, p: at.search(p.id, p.collection.id, [1, 0])),
    },
}
