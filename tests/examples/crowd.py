"""Many clients of the FastAPI service at once, and what they saw."""

from __future__ import annotations

import asyncio
import itertools
import math
import resource
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.examples.platform import START_TO_END, Person, sign_up

MIB = 2**20


@dataclass(slots=True)
class Seen:
    """What clients saw of a service, and what it took of memory meanwhile."""

    statuses: Counter[int] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)  # answers that are neither success nor a clean 503
    seconds: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # bytes of the process, from time to time

    def percentile(self, part: float) -> float:
        """Return what that part of the requests took at most, in milliseconds."""
        return sorted(self.seconds)[math.ceil(part * len(self.seconds)) - 1] * 1000

    @property
    def growth(self) -> float:
        """How many MiB the process grew by, from after the first third until the end: caches are full by then."""
        third = len(self.sizes) // 3
        return (max(self.sizes[-third:]) - max(self.sizes[: 2 * third])) / MIB

    def __str__(self) -> str:
        half, most = self.percentile(0.5), self.percentile(0.99)
        sizes = f"{self.sizes[0] / MIB:.0f} to {self.sizes[-1] / MIB:.0f} MiB"
        return f"{len(self.seconds)} requests, p50 {half:.1f} ms, p99 {most:.1f} ms, {sizes}, {dict(self.statuses)}"


async def signed_up(client: httpx.AsyncClient, clients: int) -> list[Person]:
    """Return the persons that clients use a service as."""
    return [await sign_up(client, f"person-{number}") for number in range(clients)]


async def crowd(people: Iterable[Person], ran: Process, *, seconds: float) -> Seen:
    """Let clients use a service, each as a person of its own, and return what they saw."""
    seen = Seen()
    end = time.monotonic() + seconds
    watching = asyncio.create_task(_watch(ran, seen))
    await asyncio.gather(*(_use(person, end, seen) for person in people))
    watching.cancel()
    await asyncio.wait([watching])
    return seen


async def _watch(ran: Process, seen: Seen) -> None:
    while True:
        seen.sizes.append(_bytes_of(ran.pid))
        await asyncio.sleep(0.25)


def _bytes_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def _use(person: Person, end: float, seen: Seen) -> None:
    """Go through what a person does, again and again."""
    for turn in itertools.count():
        conversation = run = workflow = None
        for method, path, body in _requests(turn):
            if time.monotonic() > end:
                return
            where = path.format(conversation=conversation, run=run, workflow=workflow)
            told = await _request(person, seen, method, where, body)
            if told is None and "{" not in path and method == "POST":
                break  # what the next ones are about was not made
            if path == "/conversations" and method == "POST":
                conversation = told["id"]
            elif path == "/runs" and method == "POST":
                run = told["id"]
            elif path == "/workflows":
                workflow = told["id"]


def _requests(turn: int) -> list[tuple[str, str, Any]]:
    usage = {"model": "gpt-4o", "cost": "0.000125", "input_tokens": 10, "output_tokens": 20}
    call = {"model": "gpt-4o", "cost": "0.01", "request_id": f"call-{turn}"}
    return [
        ("POST", "/conversations", {"title": "trams"}),
        ("POST", "/conversations/{conversation}/messages", {"role": "user", "content": "Which tram to Belém?"}),
        ("POST", "/conversations/{conversation}/messages", {"role": "assistant", "content": "15", "usage": usage}),
        ("GET", "/conversations/{conversation}/messages", None),
        ("GET", "/conversations?limit=5", None),
        ("POST", "/runs", {"model": "gpt-4o"}),
        ("POST", "/runs/{run}/lines", [{"role": "llm", "message": "one\ntwo"}]),
        ("POST", "/runs/{run}/calls", call),
        ("GET", "/spend", None),
        ("GET", "/me", None),
        ("POST", "/workflows", {"name": f"answer {turn}", "definition": START_TO_END}),
        ("POST", "/workflows/{workflow}/executions", {"input": {"question": "which?"}}),
        ("GET", "/executions?limit=5", None),
        ("GET", "/search?q=tram&limit=3", None),
        ("GET", "/agents", None),
        ("GET", "/connections", None),
    ]


async def _request(person: Person, seen: Seen, method: str, path: str, body: Any) -> Any:
    begun = time.monotonic()
    try:
        answer = await person.send(method, path, **({} if body is None else {"json": body}))
    except httpx.HTTPError as error:  # the service itself is never away
        seen.strange.append(f"{method} {path}: {error!r}")
        return None
    seen.seconds.append(time.monotonic() - begun)
    seen.statuses[answer.status_code] += 1
    if answer.is_success:
        return answer.json()
    if not _is_clean(answer):
        seen.strange.append(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
    await asyncio.sleep(0.05)  # what a client does that is told to try again later, only sooner
    return None


def _is_clean(answer: httpx.Response) -> bool:
    return (
        answer.status_code == 503
        and answer.headers["content-type"] == "application/problem+json"
        and int(answer.headers["retry-after"]) >= 1
    )
