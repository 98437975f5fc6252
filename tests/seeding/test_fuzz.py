"""Whatever bytes seed files hold: an answer, or an error of ours, and soon."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentdb.database import Database
from agentdb.errors import AgentDBError
from agentdb.seeding import BadSeed, SeedReport
from agentdb.seeding.folder import SeedFolder
from agentdb.seeding.grammar import parse
from agentdb.seeding.reading import read
from agentdb.seeding.tables import BY_NAME, TABLES

_MARKS = ['"', '""', ",", "\n", "\r\n", "\r", " ", ":text", "@", "\ufeff", "\0", "\ud7ff", "é"]
_WORDS = [
    "null",
    "true",
    "helper@1",
    "file:",
    "file:../x",
    "file:models.csv",
    "env:HOME",
    "env:",
    "{",
    "[[",
    '{"a":',
    "]",
]
_NUMBERS = ["007", "1e400", "0x" + "f" * 5000, "9" * 5000, "-1", "}"]
_PIECES = st.sampled_from([*_MARKS, *_WORDS, *_NUMBERS])
_COLUMNS = st.sampled_from(sorted({name for table in TABLES for name in (*table.columns(), *table.references())}))
_TEXTS = st.lists(st.one_of(_PIECES, st.text(max_size=8)), max_size=40).map("".join)
_CELLS = st.one_of(_PIECES, st.text(max_size=8), st.just("[" * 3000))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(_TEXTS)
def test_every_text_parses_and_loses_no_character_but_marks(text: str) -> None:
    parsed = parse(text)

    kept = sum(len(field.text) for row in parsed.rows for field in row)
    assert kept <= len(text)
    marks = sum(text.count(mark) for mark in '",\n\r')
    assert kept >= len(text) - marks
    lines = text.split("\n")
    for row in parsed.rows:
        for field in row:
            assert 1 <= field.place.line <= len(lines)
            assert 1 <= field.place.column <= len(lines[field.place.line - 1]) + 1


@pytest.mark.long
@settings(derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(BY_NAME)),
    header=st.lists(_COLUMNS, max_size=6),
    rows=st.lists(st.lists(_CELLS, max_size=6), max_size=5),
    tail=st.one_of(st.just(b""), st.binary(max_size=20)),
)
def test_whatever_a_file_holds_is_rows_or_problems(
    name: str, header: list[str], rows: list[list[str]], tail: bytes
) -> None:
    text = "\n".join(",".join(cells) for cells in [header, *rows])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{name}.csv").write_bytes(text.encode() + tail)
        with suppress(AgentDBError):
            sheets, problems = read(SeedFolder(Path(folder)), {"HOME": "/home\udcff"})
            for problem in problems.found:
                assert problem.file == f"{name}.csv"
                assert problem.line >= 1
            assert len(sheets) <= 1


async def test_whatever_files_hold_they_are_loaded_or_refused_by_an_error_of_ours(db: Database, tmp_path: Path) -> None:
    dice = random.Random(20261121)  # noqa: S311 (the same files in each run)
    plain = ["a", "b", "c", "1", "2"]
    odd = [*_WORDS, *_NUMBERS, *_MARKS, *plain, "llm", '"{}"', '"[]"', "é" * 300, "x@1"]
    outcomes: Counter[type] = Counter()

    for turn in range(60):
        folder = tmp_path / str(turn)
        folder.mkdir()
        for table in dice.sample(TABLES, 3):
            more = dice.sample([*table.columns(), *table.references()], dice.randint(0, 4))
            header = [*dict.fromkeys([*table.key, *table.required(), *(more if turn % 3 else ())])]
            cells = odd if turn % 3 else plain
            rows = [[dice.choice(cells) for _ in header] for _ in range(dice.randint(0, 3 if turn % 3 else 1))]
            (folder / table.file).write_bytes("\n".join(map(",".join, [header, *rows])).encode())
        (outcome,) = await asyncio.gather(db.seed(folder), return_exceptions=True)
        outcomes[type(outcome)] += 1

    assert set(outcomes) == {SeedReport, BadSeed}
    assert min(outcomes.values()) > 4


@pytest.mark.long
def test_a_long_file_of_one_mark_takes_no_longer_than_its_length() -> None:
    began = time.perf_counter()

    for piece in ('"', '""', ",", "\n", "\r", "a", '"a', "1"):
        parse(piece * (200_000 // len(piece)))

    assert time.perf_counter() - began < 10
