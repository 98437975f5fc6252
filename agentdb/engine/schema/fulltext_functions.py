"""The functions that full-text search needs on PostgreSQL: the words of a text, and the text of a message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from agentdb.engine.fulltext_characters import parting, small_letters

COUNTED: Final = 200_000  # of a text, in characters: PostgreSQL's vectors of words end at a megabyte
LONGEST_WORD: Final = 255

# Capitals are looked for and replaced script by script: a text seldom has more than one beside the first.
_SCRIPTS: Final = ((0x80, 0x370), (0x370, 0x400), (0x400, 0x530), (0x530, 0x110000))


def _escaped(codes: Iterable[int]) -> str:
    return "".join(f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}" for code in codes)


def _range(first: int, last: int) -> str:
    return _escaped([first]) if first == last else f"{_escaped([first])}-{_escaped([last])}"


def _runs(codes: Sequence[int]) -> Iterator[tuple[int, int]]:
    first = last = codes[0]
    for code in codes[1:]:
        if code != last + 1:
            yield first, last
            first = code
        last = code
    yield first, last


def _small(script: tuple[int, int]) -> str:
    """Return the statement that puts small letters for a script's capitals, in the words that have any."""
    letters = {capital: small for capital, small in small_letters().items() if script[0] <= capital < script[1]}
    capitals = "".join(_range(*run) for run in _runs(sorted(letters)))
    found, put = f"E'{_escaped(letters)}'", f"E'{_escaped(letters.values())}'"
    return f"""
    IF said COLLATE "C" ~ '[{capitals}]' THEN
        words := ARRAY(
            SELECT CASE WHEN word COLLATE "C" ~ '[{capitals}]' THEN translate(
                word,
                {found},
                {put}
            ) ELSE word END
            FROM unnest(words) AS word
        );
    END IF;"""


_BETWEEN: Final = "".join(_range(*run) for run in parting())

# Names nothing but the server's own functions: an index is restored with an empty search path.
WORDS: Final = f"""
CREATE OR REPLACE FUNCTION agentdb_words(said text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 2000 AS $$
DECLARE
    words text[] := string_to_array(regexp_replace(
        lower(left(said, {COUNTED}) COLLATE "C"),
        '[{_BETWEEN}]+',
        ' ', 'g'
    ), ' ');
BEGIN{"".join(_small(script) for script in _SCRIPTS)}
    RETURN array_to_tsvector(ARRAY(
        SELECT word FROM unnest(words) AS word WHERE length(word) BETWEEN 1 AND {LONGEST_WORD}
    ));
END
$$
""".strip()

# What is said in a message: its content is a text, or a list of blocks, of which those of text count.
SAID: Final = """
CREATE OR REPLACE FUNCTION agentdb_said(content jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 100 AS $$
BEGIN
    IF jsonb_typeof(content) = 'string' THEN
        RETURN content #>> '{}';
    ELSIF jsonb_typeof(content) <> 'array' THEN
        RETURN '';
    END IF;
    RETURN (
        SELECT coalesce(string_agg(block ->> 'text', ' ' ORDER BY place), '')
        FROM jsonb_array_elements(content) WITH ORDINALITY AS t(block, place)
        WHERE block ->> 'type' = 'text' AND jsonb_typeof(block -> 'text') = 'string'
    );
END
$$
""".strip()
