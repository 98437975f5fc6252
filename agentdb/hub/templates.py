"""Templates: what a configuration leaves to variables, as ``${env.NAME}``."""

from __future__ import annotations

import re
from typing import Final

from agentdb.engine import asked

BULLETS: Final = "\u2022" * 6  # what is shown of a sensitive value
_REFERENCE: Final = re.compile(r"\$\{env\.([^{}\s]+)\}")


def references(*texts: str) -> list[str]:
    """Return the names in ``${env.NAME}`` of some texts, each once, in their order.

    Raises: BadInput for what is not text.
    """
    return list(dict.fromkeys(name for text in asked.texts(texts, "texts") for name in _REFERENCE.findall(text)))
