"""The chat form: a line of text as a run, or the reason why it is none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agentdb.errors import BadInput
from agentdb.importing.chat_form import ModelCall, model_calls, parse

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def line(*messages: dict[str, Any], **values: Any) -> bytes:
    return msgspec.json.encode({"id": "r1", "user": "ada", "model": "m", "messages": messages, **values})


def test_a_line_is_a_run() -> None:
    run = parse(line({"role": "user", "content": "hello"}, reward=1, trial=3))

    assert (run.id, run.user, run.model, run.reward) == ("r1", "ada", "m", 1.0)
    assert [(message.role, message.text) for message in run.messages] == [("user", "hello")]


REFUSED: list[tuple[bytes, str]] = [
    (b"hello", "malformed"),
    (b'{"id": "r1"', "truncated"),
    (b"\xff\xfe", "not a run: JSON is malformed"),
    (b'{"messages": [{"content": [{"deep": ' + b"[" * 100_000, "nested too deeply"),
    (b"[]", "expected `object`, got `array`"),
    (b"{}", "missing required field `id`"),
    (line(), r"length >= 1 - at `\$.messages`"),
    (line({"role": "user", "content": "x"}, id=""), r"length >= 1 - at `\$.id`"),
    (line({"role": "user", "content": "x"}, id="r" * 201), r"length <= 200 - at `\$.id`"),
    (line({"role": "user", "content": "x"}, model=None), r"expected `str`, got `null` - at `\$.model`"),
    (line({"role": "pilot", "content": "x"}), r"invalid enum value 'pilot' - at `\$.messages\[0\].role`"),
    (line({"role": "user", "content": 7}), r"at `\$.messages\[0\].content`"),
    (line({"role": "user"}), r"a user message needs content - at `\$.messages\[0\]`"),
    (line({"role": "user", "content": "x", "tool_calls": [CALL]}), "a user message calls no tools"),
    (line({"role": "tool", "content": "x"}), "needs the tool_call_id"),
    (line({"role": "assistant", "tool_calls": [{"function": {}}]}), "missing required field `name`"),
    (
        line({"role": "assistant", "usage": {"prompt_tokens": -1, "completion_tokens": 0}}),
        r">= 0 - at `\$.messages\[0\].usage.prompt_tokens`",
    ),
]


def test_a_line_that_is_no_run_says_why_and_where(subtests: pytest.Subtests) -> None:
    for text, reason in REFUSED:
        with subtests.test(reason=reason):
            with pytest.raises(BadInput, match=reason) as refused:
                parse(text)

            assert str(refused.value).startswith("not a run: ")


def test_a_transcript_shows_text_and_calls() -> None:
    pictured = [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "?"}]
    run = parse(
        line(
            {"role": "user", "content": pictured},
            {"role": "assistant", "content": "I add.", "tool_calls": [CALL, {"function": {"name": "now"}}]},
            {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
            {"role": "assistant"},
        )
    )

    assert [message.transcript for message in run.messages] == [
        "what\n?",
        'I add.\nadd({"a": 1})\nnow()',
        'add({"a":1})',
        "",
    ]


def test_tokens_that_nobody_counted_are_estimated_from_what_was_said_before() -> None:
    run = parse(
        line(
            {"role": "system", "content": "x" * 40},
            {"role": "user", "content": "x" * 5},
            {"role": "assistant", "content": "x" * 8},
            {"role": "user", "content": ""},
            {"role": "assistant", "content": "x"},
        )
    )

    assert list(model_calls(run)) == [ModelCall(2, 12, 2, 0), ModelCall(4, 14, 1, 0)]


def test_tokens_that_somebody_counted_are_taken() -> None:
    counted = {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 64}}
    run = parse(line({"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "usage": counted}))

    assert list(model_calls(run)) == [ModelCall(1, 36, 20, 64)]
