"""A text is cut into chunks that fit, overlap, and together are the text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdb.errors import BadInput
from agentdb.knowledge.splitting import estimate_tokens, split

PIECE_TOKENS = 36  # sixteen characters of four bytes, and the spaces behind them


def places(text: str, chunks: list[str]) -> list[tuple[int, int]]:
    """Return where each chunk stands: as early as it can behind the beginning of the one before."""
    found, begin = [], -1
    for chunk in chunks:
        begin = text.index(chunk, begin + 1)
        found.append((begin, begin + len(chunk)))
    return found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.text(st.sampled_from("ab é.!?\n\t世界🙂") | st.characters(codec="utf-8"), max_size=600),
    st.integers(PIECE_TOKENS, 90),
    st.integers(0, 20),
)
def test_chunks_fit_and_are_all_of_the_text(text: str, tokens: int, overlap: int) -> None:
    chunks = split(text, tokens=tokens, overlap=overlap)

    assert all(estimate_tokens(chunk) <= tokens for chunk in chunks)
    if not text.strip():
        assert chunks == []
        return
    rest = text
    assert text.startswith(chunks[0])
    assert text.endswith(chunks[-1])
    for before, chunk in pairwise(chunks):
        # What they share is at most the overlap, and without it the text goes on where the one before ended.
        rest = rest[rest.index(before) :]
        shared = next(
            many
            for many in range(min(len(before), len(chunk)), -1, -1)
            if before.endswith(chunk[:many]) and rest[len(before) - many :].startswith(chunk)
        )
        assert rest[len(before) - shared :].startswith(chunk)
        rest = rest[len(before) - shared :]
    assert rest.endswith(chunks[-1])


def test_every_word_is_in_a_chunk_and_neighbours_share_the_overlap() -> None:
    words = [f"word{number}" for number in range(2_000)]

    chunks = split(" ".join(words), tokens=100, overlap=10)

    assert " ".join(dict.fromkeys(" ".join(chunks).split())) == " ".join(words)
    shared = [set(before.split()) & set(chunk.split()) for before, chunk in pairwise(chunks)]
    assert all(3 <= len(words) <= 5 for words in shared)
    assert all(not chunk[0].isspace() for chunk in chunks)


def test_a_chunk_rather_ends_with_a_paragraph_a_sentence_or_a_word() -> None:
    first, second = "One thing. " * 12, "Another thing! " * 12

    chunks = split(f"{first}\n\n{second}", tokens=50, overlap=0)
    sentences = split(first, tokens=20, overlap=0)

    assert chunks[0] == f"{first}\n\n"
    assert all(sentence.rstrip().endswith(".") for sentence in sentences)


def test_a_text_that_fits_is_its_own_only_chunk() -> None:
    assert split("Hello, world.") == ["Hello, world."]
    assert split(" \n ") == []


def test_any_tokenizer_may_count() -> None:
    chunks = split("a b c d e f g", tokens=3, overlap=1, count=lambda text: len(text.split()))

    assert [chunk.split() for chunk in chunks] == [["a", "b", "c"], ["c", "d", "e"], ["e", "f", "g"]]


def test_a_long_text_is_cut_up_in_a_number_of_counts_that_grows_with_its_chunks_alone() -> None:
    counted: list[int] = []

    def count(text: str) -> int:
        counted.append(len(text))
        return estimate_tokens(text)

    chunks = split("word " * 40_000, count=count)

    assert len(counted) < 40 * len(chunks)
    assert sum(counted) < 60 * 200_000


@pytest.mark.parametrize(("tokens", "overlap"), [(10, 10), (10, 11), (10, -1), (0, 0)])
def test_chunks_that_would_never_end_are_refused(tokens: int, overlap: int) -> None:
    with pytest.raises(BadInput, match="overlap"):
        split("text", tokens=tokens, overlap=overlap)
