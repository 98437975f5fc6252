"""Price lists in CSV."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from agentdb.catalog.prices import COLUMNS
from agentdb.catalog.records import PriceReport
from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.importing import import_prices
from agentdb.importing.prices import read_prices

SAMPLE = Path(__file__).parents[2] / "examples" / "data" / "prices-sample.csv"
HEADER = ",".join(COLUMNS)


async def test_the_sample_goes_in_once(db: Database) -> None:
    first = await import_prices(db, SAMPLE)
    second = await import_prices(db, SAMPLE)

    assert first == PriceReport(added=10, changed=0, unchanged=0, kept=0, providers_added=3, rounded=1)
    assert second == PriceReport(added=0, changed=0, unchanged=10, kept=0, providers_added=0, rounded=1)


def test_a_list_may_be_compressed_and_have_more_columns(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv.gz"
    file.write_bytes(gzip.compress(f'\ufeffnote,{HEADER}\r\n"a, b",m,p,chat,1,2,3,4,5,6\r\n'.encode()))

    assert read_prices(file) == [dict(zip(COLUMNS, ["m", "p", "chat", "1", "2", "3", "4", "5", "6"], strict=True))]


NO_LISTS: list[tuple[bytes, str]] = [
    (b"", "it has no column key, provider"),
    (b"key,provider\n", "it has no column mode, max_input_tokens"),
    (f"{HEADER}\n{'x,' * 9}x\n".encode(), "line 2: more fields"),
    (f"{HEADER}\n\xe9\n".encode("latin-1"), "is not UTF-8 text"),
    (f'{HEADER}\n"a\n'.encode(), "line 2: unexpected end of data"),
]


def test_a_file_that_is_no_price_list_says_why(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for content, reason in NO_LISTS:
        with subtests.test(reason=reason):
            file = tmp_path / "prices.csv"
            file.write_bytes(content)

            with pytest.raises(BadInput, match=reason):
                read_prices(file)


async def test_a_bad_price_names_its_model_and_lets_nothing_in(db: Database, tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text(f"{HEADER}\ngood,p,chat,,,1,1,,\nbad,p,chat,,,dear,1,,\n", encoding="utf-8")

    with pytest.raises(BadInput, match="bad: input_cost_per_token is a number, not 'dear'"):
        await import_prices(db, file)
    assert await db.catalog.models.count() == 0
