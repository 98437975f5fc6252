"""JSON in and out: fast where it is clean, and a clear refusal where a database would lose or refuse something."""

from __future__ import annotations

import math
import re
from typing import Any, Final, TypeAlias

import msgspec

from agentdb.errors import BadInput

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

_encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode

# Only texts that match can hide a NaN (encoded as null), a NUL, an integer beyond 64 bits, or a float with an
# exponent: those are walked.
_suspect: Final = re.compile(rb"null|\\u0000|\d{19}|\de\+?\d").search
_INTEGRAL: Final = 1e15  # from about here on, a float's text has an exponent and no fraction


def encode(value: Any) -> str:
    """Return a value as JSON text that both databases store and give back equal.

    Raises: BadInput for NaN, infinities, NUL, lone surrogates, integers beyond 64 bits and values JSON cannot hold.
    """
    try:
        encoded = _encode(value)
        if _suspect(encoded):
            _refuse_what_changes(value)
            encoded = _encode(_spelled_out(value))
    except RecursionError:
        raise BadInput("JSON is nested too deeply; store it as text") from None
    except UnicodeEncodeError:
        raise BadInput("JSON holds a lone surrogate, which is not text; decode the source as UTF-8") from None
    except TypeError as error:
        raise BadInput(f"not a JSON value: {error}") from None
    except ValueError:  # one of more digits than Python spells
        raise BadInput("JSON holds an integer beyond 64 bits; store it as text") from None
    return encoded.decode()


def _refuse_what_changes(value: Any) -> None:  # noqa: C901 (one branch for each kind of JSON value)
    if isinstance(value, str):
        if "\0" in value:
            raise BadInput("JSON holds a NUL character, which PostgreSQL cannot store; remove it")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise BadInput(f"JSON cannot hold {value}; store null or a text")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise BadInput("JSON holds an integer beyond 64 bits; store it as text")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_what_changes(key)
            _refuse_what_changes(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            _refuse_what_changes(item)


def _spelled_out(value: Any) -> Any:
    """Return a value whose large floats keep their digits and their point: jsonb makes an integer of ``1e16``."""
    if isinstance(value, float) and abs(value) >= _INTEGRAL:
        return msgspec.Raw(f"{value:.1f}".encode())
    if isinstance(value, dict):
        return {key: _spelled_out(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_spelled_out(item) for item in value]
    return value
