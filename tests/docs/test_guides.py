"""Every snippet of the guides runs, on both databases, in the order of the page."""

from __future__ import annotations

import ast
import inspect
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import agentdb
from agentdb.database import Database
from agentdb.errors import BudgetExceeded

GUIDES = Path(__file__).parents[2] / "docs"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": "8f2d61b0c49e7a35d1906b7c3ef85a24697fe0d2b8431c5ae5a1372f4cd80b96"}


def snippets(guide: str) -> list[str]:
    return SNIPPET.findall((GUIDES / guide).read_text(encoding="utf-8"))


def compiled(snippet: str, guide: str) -> CodeType:
    """Return a snippet as code that may await at its top."""
    code: CodeType = compile(snippet, guide, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return code


@pytest.mark.parametrize("guide", sorted(path.name for path in GUIDES.glob("*.md") if snippets(path.name)))
async def test_a_guides_snippets_run(db: Database, guide: str) -> None:
    names: dict[str, Any] = {
        "agentdb": agentdb,
        "db": db,
        "Decimal": Decimal,
        "timedelta": timedelta,
        "monday": datetime(2026, 3, 9, tzinfo=UTC),
        "BudgetExceeded": BudgetExceeded,
    }

    for snippet in snippets(guide):
        result = eval(compiled(snippet, guide), names)  # noqa: S307 (our own pages)
        if inspect.isawaitable(result):
            await result
