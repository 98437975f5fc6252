"""What is shown of rows: what was named, in the column's type, and nothing that is secret."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from agentdb.base import Entity
from agentdb.database import Database
from agentdb.integrations.shapes import PageShown, Shown, next_url
from agentdb.models import (
    ApiKey,
    Conversation,
    IntegrationConnection,
    SpendLimit,
    User,
    UserKind,
    Variable,
)
from agentdb.page import Page
from agentdb.supervisor.models import Session


class UserShown(Shown, of=User, shows=("id", "uuid", "username", "email", "kind", "created_at")):
    note: str = "none"


class LimitShown(Shown, of=SpendLimit, shows=("amount",)):
    pass


class ConversationShown(Shown, of=Conversation, shows=("id", "metadata")):
    pass


def test_fields_have_the_types_of_their_columns() -> None:
    kinds = {name: field.annotation for name, field in UserShown.model_fields.items()}

    assert kinds == {
        "id": int,
        "uuid": UUID,
        "username": str,
        "email": str | None,
        "kind": UserKind,
        "created_at": datetime,
        "note": str,
    }


async def test_a_row_is_shown_without_what_was_not_named(db: Database) -> None:
    user = await db.supervisor.users.create("alice")
    limit = await db.hub.limits.set(Decimal("0.00000025"), user_id=user.id)
    conversation = await db.conversation.conversations.create(user_id=user.id, metadata={"a": [1]})

    shown = UserShown.model_validate(user).model_dump()
    assert shown.keys() == {"id", "uuid", "username", "email", "kind", "created_at", "note"}
    assert shown["username"] == "alice"
    assert LimitShown.model_validate(limit).model_dump(mode="json") == {"amount": "0.000000250"}
    assert ConversationShown.model_validate(conversation).metadata == {"a": [1]}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("model", "column"),
    [
        (User, "password_hash"),
        (User, "runtime_key_hash"),
        (ApiKey, "digest"),
        (ApiKey, "secret"),
        (Session, "token_hash"),
        (Variable, "secret"),
        (IntegrationConnection, "access_token"),
    ],
)
def test_a_secret_is_not_shown_even_when_it_is_named(model: type[Entity], column: str) -> None:
    with pytest.raises(TypeError, match=f"{column} holds a secret"):
        type("Leaky", (Shown,), {}, of=model, shows=(column,))


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(TypeError, match="User has no column usernaem; expected one of id, "):
        type("Wrong", (Shown,), {}, of=User, shows=("usernaem",))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("http://db.example/things", "/things?after=abc"),
        ("http://db.example/things?limit=5&q=a%26b&after=old", "/things?limit=5&q=a%26b&after=abc"),
        ("/under/things?empty=", "/under/things?empty=&after=abc"),
    ],
)
def test_the_next_page_is_where_this_one_was_asked_for(asked: str, told: str) -> None:
    assert next_url(Page([1], "abc"), asked) == told


def test_the_last_page_has_no_next_one() -> None:
    page: PageShown[int] = PageShown[int].made(Page([1, 2], None), int, "/things")

    assert page.model_dump() == {"items": [1, 2], "next": None, "next_url": None}


def test_a_page_is_called_after_its_items() -> None:
    shown: Any = PageShown[UserShown]

    assert shown.__name__ == "UserShownPage"
