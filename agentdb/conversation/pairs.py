"""Calls of tools and their results: a page that cuts none of them from the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from agentdb.conversation.models import Message, MessageRole

REACH: Final = 100  # how many messages beyond an edge are looked at
_CALLS: Final = ("tool_use", "tool_call")
_RESULTS: Final = ("tool_result",)


def calls_of(message: Message) -> set[str]:
    """Return the ids of the calls an assistant makes: blocks, or ``tool_calls`` of the metadata in the OpenAI form."""
    if message.role != MessageRole.assistant:
        return set()
    metadata = message.metadata_
    listed = metadata.get("tool_calls") if isinstance(metadata, dict) else None
    calls = [*_blocks(message.content, _CALLS), *(listed if isinstance(listed, list) else ())]
    return _texts(call.get("id") for call in calls if isinstance(call, dict))


def results_of(message: Message) -> set[str]:
    """Return the ids of the calls a message has the results of."""
    results = _blocks(message.content, _RESULTS)
    ids = _texts(block.get("tool_use_id") or block.get("tool_call_id") for block in results)
    return ids if message.tool_call_id is None else {*ids, message.tool_call_id}


def loose_ends(messages: Sequence[Message]) -> tuple[set[str], set[str]]:
    """Return the calls whose results are here without them, and those that are here without results.

    In order: a call's id may be that of an earlier one again.
    """
    made: set[str] = set()
    results: set[str] = set()
    calls: set[str] = set()
    for message in messages:
        for result in results_of(message):
            (calls.discard if result in made else results.add)(result)
        own = calls_of(message)
        made |= own
        calls |= own
    return results, calls


def widened(earlier: Sequence[Message], page: Sequence[Message], later: Sequence[Message]) -> list[Message]:
    """Return a page with as many of its neighbours as it takes for no call to be cut from its results.

    A call or result that is not among the neighbours is left to itself.

    Args:
        earlier: the messages right before the page, in order.
        page: the page, in order.
        later: the messages right behind it, in order.
    """
    span = [*earlier, *page, *later]
    first, last = len(earlier), len(earlier) + len(page)
    while True:
        results, calls = loose_ends(span[first:last])
        start = min((place for id_ in results if (place := _last_call(span, first, id_)) is not None), default=first)
        end = max((place for id_ in calls if (place := _first_result(span, last, id_)) is not None), default=last)
        if (start, end) == (first, last):
            return span[first:last]
        first, last = start, end


def _last_call(span: Sequence[Message], before: int, call: str) -> int | None:
    return next((place for place in reversed(range(before)) if call in calls_of(span[place])), None)


def _first_result(span: Sequence[Message], start: int, call: str) -> int | None:
    return next((place + 1 for place in range(start, len(span)) if call in results_of(span[place])), None)


def _blocks(content: Any, types: Sequence[str]) -> list[dict[str, Any]]:
    blocks = content if isinstance(content, list) else []
    return [block for block in blocks if isinstance(block, dict) and block.get("type") in types]


def _texts(values: Iterable[Any]) -> set[str]:
    return {value for value in values if isinstance(value, str)}
