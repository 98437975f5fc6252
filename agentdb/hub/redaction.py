"""Redaction: what is secret is masked before it is stored in a log or a mail.

Masked are the values of sensitive variables, the runtime keys of agents, and what looks like a secret of a common kind.
Whatever the text, the time grows with its length alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from agentdb.engine.asked import is_text, whole_number
from agentdb.errors import BadInput
from agentdb.hub.matching import SHORTEST, Words

MASKED: Final = "[REDACTED]"
_BLOCKS: Final = range(0x2588, 0xD800)  # where a mask is sought that no secret contains

# Possessive: what fails is not tried again in shorter forms.
_AUTHORIZATION: Final = re.compile(
    r"""([Aa](?i:uthorization)(?:\\*+["'])?\s*+:\s*+(?:\\*+["'])?(?i:bearer|basic)\s++)([^\s"'\\]++)"""
)
_BOUNDARY: Final = re.compile(r"-----(BEGIN|END) [A-Z0-9 ]{0,40}?PRIVATE KEY(?: BLOCK)?-----")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_.-]+")
_TOKEN_PART: Final = 8  # characters, at least
_AWS_KEY: Final = re.compile(r"AKIA[0-9A-Z]{16}")


class Registered:
    """The runtime keys of agents as this process knows them: their digests alone are stored."""

    def __init__(self) -> None:
        self._of: dict[int, set[str]] = {}
        self.changes = 0

    def register(self, user_id: int, plaintext: str) -> None:
        """Add a key of a user; keys before it stay.

        Raises: BadInput for what is no id, or not text: nothing could be masked any more.
        """
        if not is_text(plaintext):
            raise BadInput(f"a runtime key is text, not {type(plaintext).__name__}")
        self._of.setdefault(whole_number(user_id, "user_id"), set()).add(plaintext)
        self.changes += 1

    def forget(self, user_id: int) -> None:
        """Drop all keys of a user.

        Raises: BadInput for what is no id.
        """
        if self._of.pop(whole_number(user_id, "user_id"), None) is not None:
            self.changes += 1

    def labels(self) -> Iterator[tuple[str, str]]:
        """Yield each key with what stands in its place."""
        for user_id, plaintexts in sorted(self._of.items()):
            for plaintext in sorted(plaintexts):
                yield plaintext, f"[REDACTED:NAISYS_API_KEY:{user_id}]"


@dataclass(frozen=True, slots=True)
class _Learned:
    """What a redactor looks for."""

    changes: int  # of the runtime keys, when it was learned
    words: Words
    labels: list[str]  # of each word
    block: str  # a character that is in no word


class Redactor:
    """Masks secrets in texts, and tells none of them. Any thread may use it.

    Args:
        secrets: the value of each, by the name that stands in its place; one of less than six characters stays.
        registered: the runtime keys, when several redactors share them.
    """

    def __init__(self, secrets: Mapping[str, str], registered: Registered | None = None) -> None:
        self._secrets = dict(secrets)
        self._registered = Registered() if registered is None else registered
        self._learned: _Learned | None = None

    def __repr__(self) -> str:
        """Return how many secrets there are: never one of them."""
        return f"Redactor({len(self._secrets)} secrets)"

    def knows(self, secrets: Mapping[str, str]) -> bool:
        """Tell whether these are the secrets, under these names."""
        return self._secrets == secrets

    def register(self, user_id: int, plaintext: str) -> None:
        """Mask a runtime key of a user from now on; keys before it stay masked."""
        self._registered.register(user_id, plaintext)

    def forget(self, user_id: int) -> None:
        """Mask the runtime keys of a user no more."""
        self._registered.forget(user_id)

    def redact(self, text: str | None) -> str:
        """Return a text without secrets: no secret is in it, and redacting it again changes nothing.

        Secrets that overlap are masked together, under the name of the longest. Where what stands in a secret's place
        makes another secret, a single character that is in none takes its place.

        Raises: BadInput for what is not text.
        Cost: 10 to 30 milliseconds for a million characters, ten times that where it is full of secrets' beginnings.
        """
        if text is not None and not is_text(text):
            raise BadInput(f"text is a str, not {type(text).__name__}")
        if not text:
            return ""
        learned = self._learn()
        before, masked = text, _masked(text, learned, named=True)
        while masked != before:
            before, masked = masked, _masked(masked, learned, named=False)
        return masked

    def _learn(self) -> _Learned:
        learned, changes = self._learned, self._registered.changes
        if learned is not None and learned.changes == changes:
            return learned
        labels: dict[str, str] = {}
        for name, value in sorted(self._secrets.items()):
            labels.setdefault(value, f"[REDACTED:{name}]")
        for value, label in self._registered.labels():
            labels.setdefault(value, label)
        labels = {value: label for value, label in labels.items() if len(value) >= SHORTEST}
        used = frozenset().union(*labels)
        block = next(block for block in map(chr, _BLOCKS) if block not in used and not block.isspace())
        self._learned = learned = _Learned(changes, Words(labels), list(labels.values()), block)
        return learned


def _masked(text: str, learned: _Learned, *, named: bool) -> str:
    """Return a text once masked: with names, or else with the character that makes no other secret."""
    block = learned.block

    def label(kind: str) -> str:
        return f"[REDACTED:{kind}]" if named else block

    secrets = learned.words.spans(text)
    text = _replaced(text, [(begin, end, learned.labels[word] if named else block) for begin, end, word in secrets])
    text = _replaced(text, [(begin, end, label("PRIVATE_KEY")) for begin, end in _private_keys(text)])
    text = _AUTHORIZATION.sub(lambda found: _without_credentials(found, MASKED if named else block, block), text)
    text = _replaced(text, [(begin, end, label("JWT")) for begin, end in _tokens(text)])
    return _AWS_KEY.sub(lambda _: label("AWS_KEY"), text)


def _replaced(text: str, spans: list[tuple[int, int, str]]) -> str:
    if not spans:
        return text
    parts: list[str] = []
    at = 0
    for begin, end, label in spans:
        parts += (text[at:begin], label)
        at = end
    return "".join((*parts, text[at:]))


def _without_credentials(found: re.Match[str], mask: str, block: str) -> str:
    scheme, credentials = found.groups()
    return found[0] if credentials in {MASKED, block} else scheme + mask


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    """Yield where private keys stand, from the first BEGIN to the next END: one without END costs no search for it."""
    begin = None
    for boundary in _BOUNDARY.finditer(text):
        if boundary[1] == "BEGIN":
            begin = boundary.start() if begin is None else begin
        elif begin is not None:
            yield begin, boundary.end()
            begin = None


def _tokens(text: str) -> Iterator[tuple[int, int]]:
    """Yield where JSON web tokens stand: three parts divided by points, the first of which begins with ``eyJ``."""
    at = text.find("eyJ")
    while at >= 0:
        run = _TOKEN.match(text, at)
        end = run.end() if run else len(text)
        yield from _tokens_of(text[at:end], at)
        at = text.find("eyJ", end)


def _tokens_of(run: str, at: int) -> Iterator[tuple[int, int]]:
    """Yield the tokens of a stretch of their characters, which begins at a place of the text."""
    parts = run.split(".")
    place = 0
    while place + 2 < len(parts):
        one, two, three = parts[place : place + 3]
        begin = one.find("eyJ")
        if begin >= 0 and min(len(one) - begin, len(two), len(three)) >= _TOKEN_PART:
            end = at + len(one) + len(two) + len(three) + 2
            yield at + begin, end
            at, place = end + 1, place + 3
        else:
            at, place = at + len(one) + 1, place + 1
