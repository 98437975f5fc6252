"""Whatever bytes seed files hold: an answer, or an error of ours, and soon."""

from __future__ import annotations

import tempfile
import time
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentdb.errors import AgentDBError
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


def test_a_long_file_of_one_mark_takes_no_longer_than_its_length() -> None:
    began = time.perf_counter()

    for piece in ('"', '""', ",", "\n", "\r", "a", '"a', "1"):
        parse(piece * (200_000 // len(piece)))

    assert time.perf_counter() - began < 10
