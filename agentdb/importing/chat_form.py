"""The OpenAI chat form: a line of text as an agent's run, or the reason why it is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec

from agentdb.errors import BadInput

Role = Literal["system", "developer", "user", "assistant", "tool"]
Count = Annotated[int, msgspec.Meta(ge=0)]

CHARACTERS_PER_TOKEN: Final = 4  # of English prose, roughly; an estimate has to be steady more than right


class Function(msgspec.Struct, frozen=True):
    """What a tool call names, and what it passes."""

    name: str
    arguments: str | dict[str, Any] = ""


class ToolCall(msgspec.Struct, frozen=True):
    """An assistant's wish to have a tool called."""

    function: Function
    id: str | None = None
    type: str = "function"


class CachedTokens(msgspec.Struct, frozen=True):
    """What of a prompt came from the provider's cache."""

    cached_tokens: Count | None = None


class Usage(msgspec.Struct, frozen=True):
    """What the provider counted for one answer; ``prompt_tokens`` include the cached ones."""

    prompt_tokens: Count
    completion_tokens: Count
    prompt_tokens_details: CachedTokens | None = None


class ChatMessage(msgspec.Struct, frozen=True):
    """A message of a run."""

    role: Role
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """What a reader of the message sees, without its tool calls."""
        if isinstance(self.content, list):
            parts = (part.get("text") for part in self.content)
            return "\n".join(part for part in parts if isinstance(part, str))
        return self.content or ""

    @property
    def transcript(self) -> str:
        """The message as a line of a log: its text, and its tool calls as they would be written."""
        calls = [f"{call.function.name}({_written(call.function.arguments)})" for call in self.tool_calls or ()]
        return "\n".join([self.text, *calls] if self.text else calls)

    @property
    def tokens(self) -> int:
        """How many tokens the message has: counted, or else estimated."""
        if self.usage is not None:
            return self.usage.completion_tokens
        return -(-len(self.transcript) // CHARACTERS_PER_TOKEN)


class ChatRun(msgspec.Struct, frozen=True):
    """What an agent and a user said to each other, from beginning to end."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    user: Annotated[str, msgspec.Meta(min_length=1)]
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)]
    reward: float | None = None


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of the model: what it was given and what it answered, in tokens."""

    place: int  # of the answer among the messages, from 0
    input_tokens: int  # but for those read from a cache
    output_tokens: int
    cache_read_tokens: int


_decode: Final = msgspec.json.Decoder(ChatRun).decode


def parse(line: bytes) -> ChatRun:
    """Return the run that a line describes.

    Raises: BadInput with what is wrong, and where.
    """
    try:
        run = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"not a run: {_plainly(error)}") from None
    for place, message in enumerate(run.messages):
        if message.role != "assistant" and message.content is None:
            raise BadInput(f"not a run: a {message.role} message needs content - at `$.messages[{place}]`")
        if message.role != "assistant" and message.tool_calls:
            raise BadInput(f"not a run: a {message.role} message calls no tools - at `$.messages[{place}]`")
        if message.role == "tool" and message.tool_call_id is None:
            raise BadInput(f"not a run: a tool message needs the tool_call_id it answers - at `$.messages[{place}]`")
    return run


def model_calls(run: ChatRun) -> Iterator[ModelCall]:
    """Yield the calls of the model: one for each assistant message, given everything before it.

    What the provider did not count is estimated, always alike.
    """
    before = 0
    for place, message in enumerate(run.messages):
        if message.role == "assistant" and message.usage is not None:
            details = message.usage.prompt_tokens_details
            cached = min((details and details.cached_tokens) or 0, message.usage.prompt_tokens)
            yield ModelCall(place, message.usage.prompt_tokens - cached, message.tokens, cached)
        elif message.role == "assistant":
            yield ModelCall(place, before, message.tokens, 0)
        before += message.tokens


def names_of_answers(run: ChatRun) -> dict[str, str]:
    """Return the tool that each tool call's id named: the answers need not repeat it."""
    return {
        call.id: call.function.name
        for message in run.messages
        for call in message.tool_calls or ()
        if call.id is not None
    }


def _written(arguments: str | dict[str, Any]) -> str:
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def _plainly(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "the text is not UTF-8"
    text = str(error)
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]  # "JSON is malformed" keeps its letters
