"""Knowledge: documents, and a search of all that a person has."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from agentdb.integrations.fastapi import PageShown, Paging, Shown, problems
from agentdb.knowledge.records import Hit, Source
from agentdb.models import KnowledgeBase
from examples.fastapi_service.callers import Me, Mine
from examples.fastapi_service.parameters import LARGEST, Asked, Id, Title

routes = APIRouter(tags=["knowledge"])

Text = Annotated[str, Query(min_length=1, max_length=1_000, description="Words; any of them will do.")]
Agent = Annotated[int | None, Query(ge=1, le=LARGEST, description="Whose memories too.")]


class NewDocument(Asked):
    """A document to keep."""

    title: Title = Field(examples=["Trams of Lisbon"])
    content: str = Field(min_length=1, max_length=1_000_000)
    tags: list[Title] = Field(default=[], max_length=50)


class DocumentShown(
    Shown,
    of=KnowledgeBase,
    shows=("id", "uuid", "title", "content", "tags", "processing_status", "total_chunks", "created_at"),
):
    """A document, and how far its processing got."""


class HitShown(BaseModel):
    """What a search has found."""

    source: Source
    id: int = Field(description="Of the document's passage, the memory or the message.")
    text: str
    score: float = Field(description="The more, the better; of use among the hits of one search only.")


@routes.post("/documents", status_code=201, responses=problems(422))
async def add_document(new: NewDocument, mine: Mine, me: Me) -> DocumentShown:
    """Keep a document. Its words are found at once; its meaning once a worker has embedded it."""
    return DocumentShown.model_validate(await mine.knowledge.documents.create(me.user_id, **new.model_dump()))


@routes.get("/documents", responses=problems(422))
async def list_documents(mine: Mine, me: Me, paging: Paging) -> PageShown[DocumentShown]:
    """List one's documents."""
    return paging.shown(await mine.knowledge.documents.of_user(me.user_id, **paging.words), DocumentShown)


@routes.delete("/documents/{document_id}", status_code=204, responses=problems(404))
async def delete_document(document_id: Id, mine: Mine) -> None:
    """Delete a document, if it is there."""
    await mine.knowledge.documents.delete(document_id)


@routes.get("/search", responses=problems(422))
async def search(
    mine: Mine, me: Me, q: Text, agent_id: Agent = None, limit: Annotated[int, Query(ge=1, le=50)] = 10
) -> list[HitShown]:
    """Search documents, messages, and an agent's memories by their words."""
    hits = await mine.knowledge.hybrid.search(me.user_id, q, agent_id=agent_id, limit=limit)
    return [_shown(hit) for hit in hits]


def _shown(hit: Hit) -> HitShown:
    content = hit.row.content
    return HitShown(source=hit.source, id=hit.row.id, text=content if isinstance(content, str) else "", score=hit.score)
