"""What a field is: null, a file's text, a variable's, a flag, JSON, a number or text."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentdb.errors import BadInput
from agentdb.seeding.cells import Cell, Kind, cell_of
from agentdb.seeding.folder import SeedFolder

SET = {"KEY": "123", "EMPTY": "", "JSON": '{"a": 1}'}


def cell(text: str, **options: Any) -> Cell:
    return cell_of(text, None, SET, **options)


FIELDS: list[tuple[str, Kind, object]] = [
    ("null", Kind.NULL, None),
    (" null\t", Kind.NULL, None),
    ("NULL", Kind.TEXT, "NULL"),
    ("", Kind.TEXT, ""),
    (" \u00a0\ufeff ", Kind.TEXT, ""),
    (" a b ", Kind.TEXT, "a b"),
    ("\x1fa", Kind.TEXT, "\x1fa"),
    ("true", Kind.FLAG, True),
    ("false", Kind.FLAG, False),
    ("TRUE", Kind.TEXT, "TRUE"),
    ("env:KEY", Kind.VARIABLE, "123"),
    ("env:JSON", Kind.VARIABLE, '{"a": 1}'),
    ("env:EMPTY", Kind.VARIABLE, ""),
    ("env:UNSET", Kind.NULL, None),
    ("env:", Kind.NULL, None),
    ("file:a.txt", Kind.TEXT, "file:a.txt"),
    ('["a"]', Kind.JSON, ["a"]),
    ('{"a": [1, null]}', Kind.JSON, {"a": [1, None]}),
    ('{"a": "env:KEY", "b": ["env:UNSET"]}', Kind.JSON, {"a": "123", "b": [None]}),
    ("{a}", Kind.TEXT, "{a}"),
    ("{", Kind.TEXT, "{"),
    ("[NaN]", Kind.TEXT, "[NaN]"),
]


def test_a_field_is_what_its_text_says(subtests: pytest.Subtests) -> None:
    for text, kind, value in FIELDS:
        with subtests.test(text=text):
            found = cell(text)

            assert (found.kind, found.value) == (kind, value)


NUMBERS: list[tuple[str, object]] = [
    ("0", 0),
    ("007", 7),
    ("+5", 5),
    ("-5", -5),
    (".5", Decimal("0.5")),
    ("5.", 5),
    ("0.005", Decimal("0.005")),
    ("1e3", 1000),
    ("1E-3", Decimal("0.001")),
    ("0x10", 16),
    ("0b11", 3),
    ("0o17", 15),
    ("0XfF", 255),
    ("Infinity", float("inf")),
    ("-Infinity", float("-inf")),
    ("1e999999999", float("inf")),
    ("9007199254740993", 9007199254740993),
    ("\u00a012", 12),
]


def test_a_number_is_read_with_all_its_digits(subtests: pytest.Subtests) -> None:
    for text, number in NUMBERS:
        with subtests.test(text=text):
            found = cell(text)

            assert (found.kind, found.value) == (Kind.NUMBER, number)


NO_NUMBERS: list[str] = [
    "NaN",
    "1_000",
    "1,000",
    "--1",
    "1 2",
    "1n",
    "2026-11-20",
    "+0x10",
    "0x",
    ".",
    "e5",
    "1e",
    "\u0663",
    "infinity",
]


def test_what_is_no_number_stays_text(subtests: pytest.Subtests) -> None:
    for text in NO_NUMBERS:
        with subtests.test(text=text):
            assert cell(text).kind is Kind.TEXT


def test_a_column_of_text_is_not_cast(subtests: pytest.Subtests) -> None:
    for text in ["007", "true", "[1]", "1e3", " 007 "]:
        with subtests.test(text=text):
            assert cell(text, cast=False) == Cell(Kind.TEXT, text.strip(), text.strip())


def test_a_files_text_is_verbatim(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_bytes(b"  007\r\n")

    assert cell_of(" file:a/b.txt ", SeedFolder(tmp_path), {}).value == "  007\r\n"


REFUSED: list[str] = [
    "../secret",
    "a/../../secret",
    "a/..",
    "/etc/passwd",
    "out",
    "outside/secret",
    "absent",
    "",
    ".",
    "a",
    "pipe",
    "loop",
    "latin1",
    "x\0y",
    "..\\secret",
    "n" * 5000,
]


def test_a_file_outside_the_folder_or_none_at_all_is_refused(tmp_path: Path, subtests: pytest.Subtests) -> None:
    folder = tmp_path / "seed"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "outside").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "latin1").write_bytes(b"\xe9")
    os.mkfifo(folder / "pipe")

    for name in REFUSED:
        with subtests.test(name=name):
            with pytest.raises(BadInput) as refused:
                cell_of(f"file:{name}", SeedFolder(folder), {})

            assert "secret" not in str(refused.value).replace(repr(name), "")


def test_a_file_is_named_by_its_path_from_the_folder_and_no_other_way(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("hello", encoding="utf-8")

    for name in ("a/../b", str(tmp_path / "b")):
        with pytest.raises(BadInput, match="is not within the seed folder"):
            SeedFolder(tmp_path).read(name)
    assert SeedFolder(tmp_path).read("./b") == "hello"


def test_a_link_that_stays_in_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "text").write_text("hello", encoding="utf-8")
    (tmp_path / "current").symlink_to("real")

    assert SeedFolder(tmp_path).read("current/text") == "hello"
