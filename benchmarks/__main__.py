"""Runs the benchmarks: ``python -m benchmarks``; see README.md for how to read what it prints."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import agentdb
from benchmarks import (
    advanced_alchemy_peer,
    bare_postgresql,
    bare_sqlite,
    ours,
    promises,
    sqlalchemy_orm,
    tortoise_peer,
)
from benchmarks.adapter import POOL, Adapter, Kind, Place
from benchmarks.places import Scene, scene
from benchmarks.promises.measuring import Stage
from benchmarks.report import Cell, header, table
from benchmarks.work import ROWS, Row, measure

OURS: Final = 1  # the place of ours among the modules
ROWS_AREA: Final = "rows"
JOBS: Final = 2_000
GROWN: Final = 1_000_000
SHORT_JOBS: Final = 400
SHORT_GROWN: Final = 50_000
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
        "--area",
        action="append",
        choices=[ROWS_AREA, *promises.AREAS],
        help="only the rows that all layers share, or what is promised of an aggregate (default: all)",
    )
    parser.add_argument(
        "--database", action="append", choices=["postgresql", "sqlite"], help="only this database (default: both)"
    )
    parser.add_argument("--quick", action="store_true", help="one short round: does it run, roughly how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement to FILE too")
    options = parser.parse_args()
    options.area = options.area or ([ROWS_AREA] if options.only else [ROWS_AREA, *promises.AREAS])
    options.jobs, options.grown = JOBS, GROWN
    if options.quick:
        options.rounds, options.seconds, options.jobs, options.grown = 1, 0.15, SHORT_JOBS, SHORT_GROWN
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds are more than nothing")
    return options


async def _run(kinds: Sequence[Kind], rows: Sequence[Row], options: argparse.Namespace) -> None:
    began = time.perf_counter()
    told = header(options.rounds, options.seconds)
    print("# agentdb beside bare drivers and its peers", "", *told, "", sep="\n", flush=True)
    cells: list[Cell] = []
    kept: list[promises.Kept] = []
    for kind in kinds:
        async with scene(kind, len(MODULES[kind])) as made:
            if ROWS_AREA in options.area:
                measured = await _shared(made, kind, rows, options)
                cells += measured
                print(*table(made.told, measured), "", sep="\n", flush=True)
            kept.append(await _promised(made, options))
        for name, contested in kept[-1].tables.items():
            cells += contested
            print(*table(f"{made.told}: {name}", contested), "", sep="\n", flush=True)
        print(*kept[-1].lines(), "", sep="\n", flush=True)
    print(f"{time.perf_counter() - began:.0f} s in all")
    if options.json is not None:
        told_of = [asdict(promise) for one in kept for promise in one.promises]
        plain = {"header": told, "cells": [cell.plain() for cell in cells], "promises": told_of}
        written = json.dumps(plain, indent=2)
        await asyncio.to_thread(options.json.write_text, written)


async def _shared(made: Scene, kind: Kind, rows: Sequence[Row], options: argparse.Namespace) -> list[Cell]:
    """Measure the rows that all layers share."""
    cells = [Cell(kind, row) for row in rows]
    async with AsyncExitStack() as stack:
        adapters: list[tuple[str, Adapter]] = []
        for module, place in zip(MODULES[kind], made.places, strict=True):
            adapter: Adapter = await module.open_on(place)
            stack.push_async_callback(adapter.close)
            adapters.append((module.NAME, adapter))
            await _check(module.NAME, adapter, rows, place)
        for turn in range(options.rounds):
            _progress(f"{kind}: round {turn + 1} of {options.rounds}")
            for at, (cell, row) in enumerate(zip(cells, rows, strict=True)):
                first = (turn + at) % len(adapters)
                for name, adapter in adapters[first:] + adapters[:first]:
                    cell.add(name, await _timed(row, adapter, options.seconds))
    return cells


async def _promised(made: Scene, options: argparse.Namespace) -> promises.Kept:
    """Measure what is promised of the aggregates, in the place of ours."""
    place = made.places[OURS]
    async with agentdb.connect(place.url, pool_size=POOL) as database:
        stage = Stage(
            database, place, made.another, options.rounds, options.seconds, jobs=options.jobs, grown=options.grown
        )
        _progress(f"{place.kind}: {', '.join(area for area in options.area if area != ROWS_AREA)}")
        return await promises.keep(stage, options.area)


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
