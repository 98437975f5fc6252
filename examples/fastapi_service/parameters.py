"""What many requests have: ids, amounts, free JSON; and what all of their bodies are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from agentdb.integrations.shapes import Dollars

LARGEST = 2**63 - 1


def _utc(at: datetime) -> datetime:
    """Return a moment in UTC, where the first and the last of other time zones are not."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("a moment between the years 1 and 9999 in UTC is expected") from None


Id = Annotated[int, Path(ge=1, le=LARGEST)]
Reference = Annotated[int, Field(ge=1, le=LARGEST)]
Title = Annotated[str, Field(min_length=1, max_length=255)]
Tokens = Annotated[int, Field(ge=0, le=10**12)]
Moment = Annotated[AwareDatetime, AfterValidator(_utc), Field(description="With its offset from UTC.")]
Json = Annotated[dict[str, Any], Field(description="Whatever the caller likes.")]


class Asked(BaseModel):
    """What a request asks for. A field that is not known is refused: misspelt, it would be left out without a word."""

    model_config = ConfigDict(extra="forbid")


__all__ = ["LARGEST", "Asked", "Dollars", "Id", "Json", "Moment", "Reference", "Title", "Tokens"]
