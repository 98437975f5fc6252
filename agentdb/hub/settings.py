"""What the lists of configurations and variables return."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Revision:
    """What a user's configuration was until somebody changed it."""

    id: int
    user_id: int
    config: Any  # an object, unless somebody else than the library wrote it
    changed_by_id: int | None
    changed_by: str | None  # the username; None when the user is gone
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NamedValue:
    """A variable as a caller may see it: ``value`` is None where it is sensitive and was not asked to be revealed."""

    key: str
    value: str | None = field(repr=False)
    export_to_shell: bool
    sensitive: bool
    created_by: int | None
    updated_by: int | None
    created_at: datetime
    updated_at: datetime
