"""Folders for what is not finished, which many make, finish and clear away at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agentdb.operating.workplaces import UNFINISHED, sweep, workplace


def test_whoever_clears_away_what_is_left_takes_nothing_from_those_who_work(tmp_path: Path) -> None:
    def work(number: int) -> None:
        for time in range(60):
            sweep(tmp_path)
            name = f"{number}-{time}"
            with workplace(tmp_path / f"{UNFINISHED}{name}", setting="the folder") as place:
                (place / "made").touch()
                place.rename(tmp_path / name)

    with ThreadPoolExecutor(4) as workers:
        assert list(workers.map(work, range(4))) == [None] * 4

    assert len(list(tmp_path.glob("*-*/made"))) == 4 * 60
    assert len(list(tmp_path.iterdir())) == 4 * 60
