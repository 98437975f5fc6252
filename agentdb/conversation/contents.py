"""What a message may say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agentdb.engine.asked import members, whole_number
from agentdb.errors import BadInput

MOST_TOKENS: Final = 2**31 - 1  # of one message


def checked(content: Any) -> Any:
    """Return a message's content as it was given: a text, or a list of blocks, each an object with a ``type``.

    Raises: BadInput for anything else.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadInput(f"messages.content is a text or a list of blocks, not {type(content).__name__}")
    for place, block in enumerate(content):
        if not isinstance(block, Mapping):
            raise BadInput(f"messages.content: block {place} is an object with a type, not {type(block).__name__}")
        if not isinstance(block.get("type"), str) or not block["type"]:
            raise BadInput(f"messages.content: block {place} has no type; give one, such as 'text'")
    return content


def described(metadata: Any) -> dict[str, Any]:
    """Return a message's metadata; None: an empty object.

    Raises: BadInput for what is no object.
    """
    return members(metadata, "messages.metadata")


def counted(tokens: Any) -> int | None:
    """Return how many tokens a message has; None: nobody counted.

    Raises: BadInput for what is no number of tokens: sums of those would fail, or lie.
    """
    if tokens is not None and not 0 <= whole_number(tokens, "messages.tokens") <= MOST_TOKENS:
        raise BadInput(f"messages.tokens is a whole number from 0 to {MOST_TOKENS:,}, not {tokens}")
    return tokens  # type: ignore[no-any-return]
