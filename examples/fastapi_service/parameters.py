"""What many requests have: ids, amounts, free JSON."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import AwareDatetime, Field

from agentdb.integrations.shapes import Dollars

LARGEST = 2**63 - 1

Id = Annotated[int, Path(ge=1, le=LARGEST)]
Reference = Annotated[int, Field(ge=1, le=LARGEST)]
Title = Annotated[str, Field(min_length=1, max_length=255)]
Tokens = Annotated[int, Field(ge=0, le=10**12)]
Moment = Annotated[AwareDatetime, Field(description="With its offset from UTC.")]
Json = Annotated[dict[str, Any], Field(description="Whatever the caller likes.")]

__all__ = ["LARGEST", "Dollars", "Id", "Json", "Moment", "Reference", "Title", "Tokens"]
