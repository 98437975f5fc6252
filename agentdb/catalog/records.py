"""What the catalog's imports return."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PriceReport:
    """What an import of prices did: how many models of each kind, and how many prices were rounded to nine places."""

    added: int
    changed: int
    unchanged: int
    kept: int  # custom models, which no import overwrites
    providers_added: int
    rounded: int
