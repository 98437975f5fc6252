"""The grammar of seed files: rows, fields, quotes, and where each field begins."""

from __future__ import annotations

import pytest

from agentdb.seeding.grammar import Place, parse


def rows(text: str) -> list[list[str]]:
    return [[field.text for field in row] for row in parse(text).rows]


GRAMMAR: list[tuple[str, list[list[str]]]] = [
    ("a,b\n1,2\n", [["a", "b"], ["1", "2"]]),
    ("a,b\r\n1,2\r\n", [["a", "b"], ["1", "2"]]),
    ("a,b\n1,2", [["a", "b"], ["1", "2"]]),
    ('"a,b",c', [["a,b", "c"]]),
    ('"a""b"', [['a"b']]),
    ('""""', [['"']]),
    ('""', []),
    ('x"y,z"w,v', [["xy,zw", "v"]]),
    ('"a" tail,b', [["a tail", "b"]]),
    ('"two\nlines","two\r\nlines"', [["two\nlines", "two\r\nlines"]]),
    ('"a\r"\nb', [["a\r"], ["b"]]),
    ("a\rb\rc", [["a\rb\rc"]]),
    ("a\r", [["a\r"]]),
    ('\n\na\n,\n"",""\n \n', [["a"], [" "]]),
    ("a,\n,b", [["a", ""], ["", "b"]]),
    ("a,b,\n", [["a", "b", ""]]),
    ("", []),
    ('a\n"open,\nnever closed', [["a"], ["open,\nnever closed"]]),
    ('[1,2],"[1,2]"', [["[1", "2]", "[1,2]"]]),
    ("\ufeffa", [["\ufeffa"]]),
]


def test_a_text_is_rows_of_fields(subtests: pytest.Subtests) -> None:
    for text, expected in GRAMMAR:
        with subtests.test(text=text):
            assert rows(text) == expected


def test_every_field_knows_where_it_begins() -> None:
    parsed = parse('name,"text"\n"a\nb",c\n\n  d,"e ""f""\r\n\r\n",g\nh')

    assert [(field.text, *field.place) for row in parsed.rows for field in row] == [
        ("name", 1, 1),
        ("text", 1, 6),
        ("a\nb", 2, 1),
        ("c", 3, 4),
        ("  d", 5, 1),
        ('e "f"\r\n\r\n', 5, 5),
        ("g", 7, 3),
        ("h", 8, 1),
    ]
    assert parsed.unended is None


def test_a_quote_without_an_end_is_told_where_it_begins() -> None:
    assert parse('a,b\nc,d"e\nf').unended == Place(2, 4)
    assert parse('a,"b"').unended is None
    assert parse('a,"b""').unended == Place(1, 3)
