"""What `agentdb embed` is given in the tests: an embedding of a text's own letters, and ways to go wrong."""

from __future__ import annotations

import os
import time
from pathlib import Path


async def letters(texts: list[str]) -> list[list[float]]:
    """Embed by how often each character of the first 1536 occurs."""
    return [[float(text.count(chr(code))) for code in range(1536)] for text in texts]


async def refusing(texts: list[str]) -> list[list[float]]:
    """Refuse texts that say so."""
    if any("refuse" in text for text in texts):
        raise RuntimeError("the model said no")
    return await letters(texts)


async def short(texts: list[str]) -> list[list[float]]:
    """Give a vector too few."""
    return (await letters(texts))[1:]


async def stuck(texts: list[str]) -> list[list[float]]:
    """Say that it has begun, and stay silent until the process is killed."""
    Path(os.environ["STUCK"]).write_text(texts[0], encoding="utf-8")  # noqa: ASYNC240 (it blocks on purpose)
    while True:
        time.sleep(1)  # noqa: ASYNC251


def by_lines(text: str) -> list[str]:
    """Cut at line ends."""
    return text.splitlines()
