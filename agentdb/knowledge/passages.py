"""How passages are found: the chunks of documents, and documents that have none, by words and by meaning."""

from __future__ import annotations

from functools import cache
from typing import Final

from sqlalchemy import Table, bindparam, select
from sqlalchemy.sql import ColumnElement

from agentdb.engine.columns import of
from agentdb.engine.containing import contains
from agentdb.engine.fulltext import has_words, hits, weighed
from agentdb.engine.plan import Plan
from agentdb.engine.quantities import WholeType
from agentdb.knowledge.models import KnowledgeBase

documents: Final[Table] = KnowledgeBase.__table__  # type: ignore[assignment]

LIMIT: Final = bindparam("limit", type_=WholeType())
# A document is its own only passage until it is cut up, so that it is found from the first moment.
PASSAGE: Final = documents.c.parent_document_id.is_not(None) | (documents.c.total_chunks == 1)
OF_USER: Final = documents.c.user_id == of(documents.c.user_id)


def passage_filters(tagged: bool) -> list[ColumnElement[bool]]:
    """Return the conditions of a user's passages, and of those with all of some tags."""
    return [OF_USER, PASSAGE, *([contains(documents.c.tags, "tags")] if tagged else [])]


@cache
def all_words_plan(tagged: bool) -> Plan[KnowledgeBase]:
    """Return the plan that finds the passages with all the words, the newest first."""
    statement = select(KnowledgeBase).where(has_words(documents), *passage_filters(tagged))
    return Plan(
        statement.order_by(documents.c.id.desc()).limit(LIMIT), name="documents.search: all words", rows=KnowledgeBase
    )


@cache
def any_words_plan(tagged: bool) -> Plan[KnowledgeBase]:
    """Return the plan that finds the passages with any of the words, those with more and rarer ones first."""
    hit = hits(documents)
    own = select(hit.c.place, hit.c.id).join(documents, documents.c.id == hit.c.id).where(*passage_filters(tagged))
    weights = weighed(own.subquery("found"))
    statement = select(KnowledgeBase).join(weights, weights.c.id == documents.c.id)
    return Plan(
        statement.order_by(weights.c.weight.desc(), documents.c.id.desc()).limit(LIMIT),
        name="documents.search: any word",
        rows=KnowledgeBase,
    )
