"""What goes in and out of the service, as its OpenAPI document tells."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from agentdb.models import MessageRole

T = TypeVar("T")

# Written without an exponent: str(Decimal("0.000000250")) is "2.50E-7".
Dollars = Annotated[
    Decimal,
    Field(ge=0, max_digits=18, decimal_places=9, examples=["0.0125"]),
    PlainSerializer(lambda dollars: f"{dollars:f}", return_type=str, when_used="json"),
]
Tokens = Annotated[int, Field(ge=0, le=10**12)]


class Shown(BaseModel):
    """Something made from a row or a record."""

    model_config = ConfigDict(from_attributes=True)


class NewUser(BaseModel):
    """A person to sign up."""

    username: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["alice"])
    email: str | None = Field(default=None, max_length=255, examples=["alice@example.org"])


class UserShown(Shown):
    """A person."""

    id: int
    username: str
    email: str | None
    created_at: datetime


class NewConversation(BaseModel):
    """A conversation to begin."""

    title: str = Field(default="", max_length=255, examples=["a trip to Lisbon"])
    key: str | None = Field(default=None, max_length=255, description="An id of the caller's own; unique.")


class ConversationShown(Shown):
    """A conversation."""

    id: int
    key: str | None
    title: str
    user_id: int
    agent_id: int | None
    message_count: int = Field(validation_alias="last_position")
    last_message_at: datetime | None
    created_at: datetime


class Usage(BaseModel):
    """What making a message cost."""

    model: str = Field(min_length=1, max_length=255, examples=["gpt-4o"])
    cost: Dollars
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    agent_id: int | None = Field(default=None, description="The agent that spent it.")


class NewMessage(BaseModel):
    """A message to append."""

    role: MessageRole
    content: str | list[dict[str, Any]] = Field(
        description="Text, or blocks with a type.", examples=["Which trams go to Belém?"]
    )
    usage: Usage | None = Field(default=None, description="Charged to the conversation's user, with the message.")


class MessageShown(Shown):
    """A message."""

    id: int
    position: int = Field(description="From 1, without gaps.")
    role: MessageRole
    content: str | list[dict[str, Any]]
    created_at: datetime


class Spend(Shown):
    """What calls of models cost a user, in US dollars."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost: Dollars


class PageShown(BaseModel, Generic[T]):
    """Some of a list."""

    items: list[T]
    next: str | None = Field(description="Pass it as `after` for the items that follow; null: there are none.")
