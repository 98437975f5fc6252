"""Cursors: opaque, of one list, and safe to pass through JSON and URLs."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdb.errors import BadInput
from agentdb.models import Cost, User
from agentdb.page import cursor_of, values_of

COLUMNS: list[Any] = [User.__table__.c.created_at, User.__table__.c.uuid, Cost.__table__.c.cost, User.__table__.c.id]


@given(st.datetimes(timezones=st.just(UTC)), st.uuids(), st.decimals(0, 10**9, places=9), st.integers(0, 2**63 - 1))
def test_a_cursor_holds_what_was_put_in(moment: datetime, key: object, cost: Decimal, number: int) -> None:
    values = [moment, key, cost, number]

    cursor = cursor_of("list", values)

    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)
    assert values_of("list", json.loads(json.dumps(cursor)), COLUMNS) == values


@given(st.text(max_size=60))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        values_of("list", text, COLUMNS)


def test_what_decodes_to_something_else_is_refused(subtests: pytest.Subtests) -> None:
    for content in (b"[]", b"{}", b"[1]", b"null", b'["x",1,2,3,4]', b"\xff", b"1"):
        with subtests.test(content=content), pytest.raises(BadInput):
            values_of("list", base64.urlsafe_b64encode(content).rstrip(b"=").decode(), COLUMNS)


def test_a_cursor_of_another_list_is_refused() -> None:
    cursor = cursor_of("list", [1])

    with pytest.raises(BadInput, match="another list"):
        values_of("other", cursor, COLUMNS[-1:])
