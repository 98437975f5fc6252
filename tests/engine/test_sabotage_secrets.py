"""No part of a digest in a message, however short."""

from __future__ import annotations

import pytest

from agentdb.database import Database
from agentdb.engine.statements import insert_one
from agentdb.errors import BadInput
from agentdb.supervisor.models import User


async def test_not_even_the_beginning_of_a_digest_is_told(db: Database) -> None:
    with pytest.raises(BadInput, match="text of 70 characters") as caught:
        await db._there().fetch_one(insert_one(User), {"username": "bob", "runtime_key_hash": "c0ffee1" * 10})

    assert "c0ffee" not in str(caught.value)
