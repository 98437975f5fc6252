"""Redaction: no secret is left in a text, whatever the text and whatever the secrets."""

from __future__ import annotations

import base64
import itertools
import json
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentdb.hub.matching import Words
from agentdb.hub.redaction import Redactor

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w"
AWS = "AKIAIOSFODNN7EXAMPLE"


def test_the_longest_of_several_secrets_that_begin_alike_is_named() -> None:
    redactor = Redactor({"SHORT": "abc123", "LONG": "abc1234567"})

    assert redactor.redact("a abc1234567 b abc123 c") == "a [REDACTED:LONG] b [REDACTED:SHORT] c"
    assert redactor.redact("abc123abc123") == "[REDACTED:SHORT][REDACTED:SHORT]"


def test_secrets_that_overlap_leave_no_part_of_either() -> None:
    redactor = Redactor({"ONE": "xabcdef", "TWO": "bcdefghij", "THREE": "ijklmn"})

    assert redactor.redact("<xabcdefghijklmn>") == "<[REDACTED:TWO]>"


def test_a_secret_in_what_another_begins_with_is_found_where_the_other_is_not() -> None:
    redactor = Redactor({"LONG": "xxabcdefyyy", "SHORT": "abcdef"})

    assert redactor.redact("xxabcdefyyz xxabcdefyyy") == "xx[REDACTED:SHORT]yyz [REDACTED:LONG]"


def test_short_secrets_stay() -> None:
    assert Redactor({"FIVE": "abcde", "SIX": "abcdef", "NONE": ""}).redact("abcde abcdef") == "abcde [REDACTED:SIX]"


@pytest.mark.parametrize("nothing", [None, ""])
def test_nothing_is_an_empty_text(nothing: str | None) -> None:
    assert Redactor({"A": "secret"}).redact(nothing) == ""


def test_a_name_with_an_expression_in_it_is_only_a_name() -> None:
    assert Redactor({r"A\1\g<0>": "a.c+(e"}).redact("a.c+(e abcccc") == r"[REDACTED:A\1\g<0>] abcccc"


def test_of_two_names_for_one_value_the_first_is_told() -> None:
    assert Redactor({"B": "secret", "A": "secret"}).redact("secret") == "[REDACTED:A]"


def test_runtime_keys_are_masked_while_they_are_rotated_and_until_they_are_revoked() -> None:
    redactor = Redactor({"TOKEN": "secret"})
    redactor.register(7, "first-key")
    assert redactor.redact("first-key") == "[REDACTED:NAISYS_API_KEY:7]"
    redactor.register(7, "second-key")
    redactor.register(8, "third-key")
    redactor.register(8, "five!")

    masked = (
        "[REDACTED:NAISYS_API_KEY:7] [REDACTED:NAISYS_API_KEY:7] [REDACTED:NAISYS_API_KEY:8] five! [REDACTED:TOKEN]"
    )
    assert redactor.redact("first-key second-key third-key five! secret") == masked
    redactor.forget(7)
    redactor.forget(9)
    assert redactor.redact("first-key second-key third-key") == "first-key second-key [REDACTED:NAISYS_API_KEY:8]"


def test_a_runtime_key_that_contains_a_variable_is_masked_whole() -> None:
    redactor = Redactor({"TOKEN": "abcdef"})
    redactor.register(7, "0123abcdef4567")

    assert redactor.redact("key 0123abcdef4567") == "key [REDACTED:NAISYS_API_KEY:7]"


MASKED: list[tuple[str, str]] = [
    ("Authorization: Bearer abc.def-1", "Authorization: Bearer [REDACTED]"),
    ("authorization:basic  Zm9v\nnext", "authorization:basic  [REDACTED]\nnext"),
    ("curl -H 'AUTHORIZATION: BEARER x' url", "curl -H 'AUTHORIZATION: BEARER [REDACTED]' url"),
    ('{"Authorization": "Bearer x", "a": 1}', '{"Authorization": "Bearer [REDACTED]", "a": 1}'),
    (json.dumps('{"Authorization": "Basic x"}'), json.dumps('{"Authorization": "Basic [REDACTED]"}')),
    ("Proxy-Authorization: Basic x", "Proxy-Authorization: Basic [REDACTED]"),
    ("Authorization: Bearer [REDACTED]x y", "Authorization: Bearer [REDACTED] y"),
    ("Authorization: Digest x", "Authorization: Digest x"),
    ("Authorization: Bearer ", "Authorization: Bearer "),
    (f"got {JWT}.", "got [REDACTED:JWT]."),
    (f"x{JWT}/y {JWT}", "x[REDACTED:JWT]/y [REDACTED:JWT]"),
    (f"a.b.{JWT}.more", "a.b.[REDACTED:JWT].more"),
    ("eyJhbGci.short.abcdefghij", "eyJhbGci.short.abcdefghij"),
    ("eyJhbGci.eyJzdWIi.abcdefgh", "[REDACTED:JWT]"),
    ("eyJhbGc.eyJzdWIi.abcdefgh", "eyJhbGc.eyJzdWIi.abcdefgh"),
    ("eyJ.eyJhbGci.eyJzdWIi.abcdefgh", "eyJ.[REDACTED:JWT]"),
    (f"id={AWS} {AWS[:-1]}", f"id=[REDACTED:AWS_KEY] {AWS[:-1]}"),
    ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nok", "[REDACTED:PRIVATE_KEY]\nok"),
    (
        "-----BEGIN EC PRIVATE KEY-----x-----END EC PRIVATE KEY----- " * 2,
        "[REDACTED:PRIVATE_KEY] [REDACTED:PRIVATE_KEY] ",
    ),
    ("-----BEGIN PUBLIC KEY-----x-----END PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----x-----END PUBLIC KEY-----"),
    (
        "-----END PRIVATE KEY----- -----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY----- -----BEGIN PRIVATE KEY-----",
    ),
]


def test_what_looks_like_a_secret_is_masked(subtests: pytest.Subtests) -> None:
    redactor = Redactor({})

    for text, masked in MASKED:
        with subtests.test(text=text):
            assert redactor.redact(text) == masked
            assert redactor.redact(masked) == masked


def test_credentials_that_are_a_secret_of_ours_are_masked_once() -> None:
    assert Redactor({"T": "abcdef"}).redact("Authorization: Bearer abcdef") == "Authorization: Bearer [REDACTED]"


def test_a_secret_that_what_stands_for_secrets_would_contain_is_not_in_the_text(subtests: pytest.Subtests) -> None:
    for value in ("REDACTED", "[REDACTED]", "[REDACTED:", "EDACTED:A]", "ACTED:A] ", "Bearer [REDACTED"):
        with subtests.test(value=value):
            redactor = Redactor({"A": value, "B": "secret", "T": "█████████"})

            masked = redactor.redact(f"{value} secret Authorization: Bearer secret2 {AWS} {value}")

            assert value not in masked
            assert "secret" not in masked
            assert redactor.redact(masked) == masked


# Few characters, so that secrets are found, overlap, and stand in what masks them.
_pieces = st.sampled_from(
    [
        *("a", "b", "ab", "aaaaaaaa", "A", "RED", "ACTED", "[REDACTED", ":", "]", "█", "▉", "\ud800"),
        *("Authorization", ": ", "Bearer ", '"', "\\", " ", "\n", "eyJ", ".", JWT, AWS),
        *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"),
    ]
)
_texts = st.lists(_pieces, max_size=30).map("".join)
_secrets = st.dictionaries(_texts, _texts, max_size=8)


@given(_secrets, st.lists(_texts, max_size=2), st.lists(_texts, max_size=4), _texts)
@example({"A": "a" * 6, "B": "a" * 7}, [], [], "a" * 20)
def test_no_secret_is_left_and_redacting_again_changes_nothing(
    secrets: dict[str, str], keys: list[str], around: list[str], text: str
) -> None:
    redactor = Redactor(secrets)
    for number, key in enumerate(keys):
        redactor.register(number, key)
    values = [value for value in (*secrets.values(), *keys) if len(value) >= 6]

    masked = redactor.redact(text.join([*around, *values]))

    assert all(value not in masked for value in values)
    assert AWS not in masked
    assert redactor.redact(masked) == masked


@given(st.dictionaries(st.text(), st.text(min_size=6), max_size=5), st.text())
def test_any_text_can_be_redacted(secrets: dict[str, str], text: str) -> None:
    masked = Redactor(secrets).redact("".join((*secrets.values(), text)))

    assert all(value not in masked for value in secrets.values())


_WORDS = st.lists(st.text("ab", min_size=6, max_size=9), max_size=6, unique=True)


@given(_WORDS, st.text("ab", max_size=60))
def test_spans_are_those_of_all_words_joined_where_they_overlap(words: list[str], text: str) -> None:
    places = [(at, at + len(word)) for word in words for at in range(len(text)) if text.startswith(word, at)]
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(places):
        if joined and begin < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))

    spans = Words(words).spans(text)

    assert [(begin, end) for begin, end, _ in spans] == joined
    for begin, end, word in spans:
        inside = [last - first for first, last in places if begin <= first and last <= end]
        assert len(words[word]) == max(inside)


class _Counted(str):
    """A text that counts how often one of its characters is read by itself."""

    reads = 0
    __slots__ = ()

    def __getitem__(self, place: object) -> str:
        type(self).reads += 1
        return str.__getitem__(self, place)  # type: ignore[index]


@pytest.mark.parametrize("unit", ["a", "a" * 40 + "c", "ab", "a" * 999 + "b"])
def test_each_character_is_read_once_whatever_the_words(unit: str) -> None:
    words = Words(["a" * length for length in range(6, 300)] + ["a" * 2000 + "b", "ab" * 1000, "abababa"])
    text = _Counted(unit * (20_000 // len(unit)))
    _Counted.reads = 0

    words.spans(text)

    assert 0 < _Counted.reads <= len(text)


FLOODS = (
    "-----BEGIN PRIVATE KEY-----\n",
    "-----BEGIN A A A A A A A A A A A A A A A A A A A A ",
    "-----BEGIN",
    "-",
    "eyJ",
    "eyJ.",
    "eyJaaaaaaa.",
    "Authorization:",
    "Authorization: Bearer ",
    "Authorization: Bearer \\",
    "A",
    "AKIA",
    " ",
    "\\",
)
BEGINNINGS = ("", "Authorization", "Authorization:", "Authorization: Basic", "eyJ", "-----BEGIN ")


def test_a_flood_of_beginnings_ends(subtests: pytest.Subtests) -> None:
    redactor = Redactor({"A": "a" * 100, "E": "eyJeyJx", "D": "------x"})

    for begin, flood in itertools.product(BEGINNINGS, FLOODS):
        with subtests.test(begin=begin, flood=flood):
            # So many characters take a blink; if each beginning were searched to the end, they would take minutes.
            masked = redactor.redact(begin + flood * (200_000 // len(flood)))

            assert redactor.redact(masked) == masked


def test_thousands_of_secrets_are_all_found() -> None:
    chance = random.Random(46)  # noqa: S311 (repeatable)
    secrets = {f"K{n}": base64.b64encode(chance.randbytes(chance.randint(6, 40))).decode() for n in range(3000)}
    redactor = Redactor(secrets)

    masked = redactor.redact(" ".join(secrets.values()))

    assert masked == " ".join(f"[REDACTED:{name}]" for name in secrets)


def test_a_redactor_shows_no_secret() -> None:
    assert "hunter" not in repr(Redactor({"A": "hunter2-hunter2"}))
