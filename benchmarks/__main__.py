"""Runs the benchmarks: ``python -m benchmarks``; see README.md for how to read what it prints."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks import (
    advanced_alchemy_peer,
    bare_postgresql,
    bare_sqlite,
    ours,
    promises,
    sqlalchemy_orm,
    tortoise_peer,
)
from benchmarks.adapter import Adapter, Kind, Place
from benchmarks.places import scene
from benchmarks.report import Cell, header, table
from benchmarks.work import ROWS, Row, measure

WARM: Final = 0.25  # of a cell's time
MODULES: Final[dict[Kind, list[Any]]] = {
    "postgresql": [bare_postgresql, ours, sqlalchemy_orm, advanced_alchemy_peer, tortoise_peer],
    "sqlite": [bare_sqlite, ours, sqlalchemy_orm, advanced_alchemy_peer, tortoise_peer],
}


def main() -> None:
    """Run what the command line asks for, and print it."""
    options = _options()
    rows = [row for row in ROWS if not options.only or any(word in row.name for word in options.only)]
    if not rows:
        known = "; ".join(dict.fromkeys(row.name for row in ROWS))
        sys.exit(f"no row is called {' or '.join(options.only)}; there are {known}")
    kinds: list[Kind] = options.database or ["postgresql", "sqlite"]
    asyncio.run(_run(kinds, rows, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often every cell is measured (default: 3)")
    parser.add_argument("--seconds", type=float, default=0.4, help="how long a cell is measured (default: 0.4)")
    parser.add_argument("--only", action="append", default=[], metavar="WORDS", help="only rows whose name has WORDS")
    parser.add_argument(
        "--database", action="append", choices=["postgresql", "sqlite"], help="only this database (default: both)"
    )
    parser.add_argument("--quick", action="store_true", help="one short round: does it run, roughly how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement to FILE too")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 0.15
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds are more than nothing")
    return options


async def _run(kinds: Sequence[Kind], rows: Sequence[Row], options: argparse.Namespace) -> None:
    began = time.perf_counter()
    told = header(options.rounds, options.seconds)
    print("# agentdb beside bare drivers and its peers", "", *told, "", sep="\n", flush=True)
    cells: list[Cell] = []
    for kind in kinds:
        measured, scenery, kept = await _on(kind, rows, options)
        cells += measured
        print(*table(scenery, measured), "", *promises.lines(kept), "", sep="\n", flush=True)
    print(f"{time.perf_counter() - began:.0f} s in all")
    if options.json is not None:
        written = json.dumps({"header": told, "cells": [cell.plain() for cell in cells]}, indent=2)
        await asyncio.to_thread(options.json.write_text, written)


async def _on(
    kind: Kind, rows: Sequence[Row], options: argparse.Namespace
) -> tuple[list[Cell], str, list[promises.Promise]]:
    modules = MODULES[kind]
    cells = [Cell(kind, row) for row in rows]
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(scene(kind, len(modules)))
        adapters: list[tuple[str, Adapter]] = []
        for module, place in zip(modules, made.places, strict=True):
            adapter: Adapter = await module.open_on(place)
            stack.push_async_callback(adapter.close)
            adapters.append((module.NAME, adapter))
            await _check(module.NAME, adapter, rows, place)
        for turn in range(options.rounds):
            _progress(f"{kind}: round {turn + 1} of {options.rounds}")
            for at, cell in enumerate(cells):
                first = (turn + at) % len(adapters)
                for name, adapter in adapters[first:] + adapters[:first]:
                    cell.add(name, await _timed(cell.row, adapter, options.seconds))
        own = next(adapter for _, adapter in adapters if isinstance(adapter, ours.Ours))
        kept = await promises.keep(own.database, own.place, 5 * options.seconds)
    return cells, made.told, kept


async def _timed(row: Row, adapter: Adapter, seconds: float) -> float:
    if not row.once:
        await measure(row, adapter, seconds * WARM)
    return await measure(row, adapter, seconds)


async def _check(name: str, adapter: Adapter, rows: Sequence[Row], place: Place) -> None:
    """See that an adapter does what its figures will claim; this warms it up too."""
    bare = bare_sqlite if place.kind == "sqlite" else bare_postgresql
    witness = await bare.open_on(place)
    try:
        for row in rows:
            try:
                await row.check(adapter, witness)
            except Exception as error:
                error.add_note(f"checking {name} on {place.kind}: {row.name}")
                raise
    finally:
        await witness.close()


def _progress(told: str) -> None:
    if sys.stderr.isatty():
        print(told, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
