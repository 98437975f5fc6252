"""Lines: one at a time, however long the file, and whatever is wrong with it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from agentdb.errors import BadInput
from agentdb.importing.lines import lines_of


def test_lines_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"\xef\xbb\xbfone\r\n\n  \nfour\nfive")

    lines = list(lines_of(file))

    assert [(line.number, line.content) for line in lines] == [(1, b"one"), (4, b"four"), (5, b"five")]
    assert lines[-1].position == file.stat().st_size


def test_a_compressed_file_is_known_by_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_bytes(gzip.compress(b"one\ntwo\n"))

    lines = list(lines_of(file))

    assert [line.content for line in lines] == [b"one", b"two"]
    assert lines[-1].position <= file.stat().st_size


def test_a_line_that_is_too_long_is_named_and_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"a" * 10 + b"\n" + b"b" * 35 + b"\n" + b"c" * 11 + b"\nshort\n" + b"d" * 11)

    lines = list(lines_of(file, longest=10))

    assert [(line.number, line.content) for line in lines] == [
        (1, b"a" * 10),
        (2, None),
        (3, None),
        (4, b"short"),
        (5, None),
    ]


@pytest.mark.parametrize("content", [gzip.compress(b"one\n" * 1000)[:-12], b"\x1f\x8b garbled"], ids=["cut", "garbled"])
def test_a_damaged_file_says_so(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.gz"
    file.write_bytes(content)

    with pytest.raises(BadInput, match=r"damaged\.gz is damaged"):
        list(lines_of(file))


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: no such file"):
        list(lines_of(tmp_path / "absent"))
    with pytest.raises(BadInput, match="cannot be read: is a directory"):
        list(lines_of(tmp_path))
