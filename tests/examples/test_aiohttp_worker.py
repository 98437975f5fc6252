"""The aiohttp worker over real HTTP, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from examples.aiohttp_worker.app import make_app
from tests.examples.serving import Cable, File, program, serving

PROBLEM = "application/problem+json"


@pytest_asyncio.fixture
async def client(store: File | Cable, nothing_left: None) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(make_app(store.url, sqlite_busy_timeout_seconds=0.2)) as client:
        yield client


async def register(client: httpx.AsyncClient, name: str = "box", **machine: Any) -> dict[str, Any]:
    answer = await client.post("/hosts", json={"name": name, **machine})
    assert answer.status_code == 201, answer.text
    host: dict[str, Any] = answer.json()
    return host


async def start(client: httpx.AsyncClient, username: str = "alice") -> dict[str, Any]:
    host = await register(client, machine_id="m-1")
    answer = await client.post("/runs", json={"username": username, "model": "gpt-4o", "host_id": host["id"]})
    assert answer.status_code == 201, answer.text
    session: dict[str, Any] = answer.json()
    return session


def charge(**details: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "cost": "0.000000125", "input_tokens": 10, **details}


async def test_a_run_from_start_to_report(client: httpx.AsyncClient) -> None:
    session = await start(client)
    lines = [{"role": "llm", "message": "one\ntwo"}, {"role": "platform", "message": "three", "type": "tool"}]
    told = {"lines": lines, "charges": [charge(request_id="r-1"), charge(request_id="r-2")]}
    first = await client.post(f"/sessions/{session['id']}/progress", json=told)
    again = await client.post(f"/sessions/{session['id']}/progress", json={"charges": [charge(request_id="r-2")]})

    shown = (await client.get(f"/sessions/{session['id']}/lines")).json()["lines"]
    report = (await client.get("/users/alice/report")).json()
    assert (first.json()["lines"], first.json()["cost"]) == (3, "0.000000250")
    assert again.json()["cost"] == "0.000000250"  # told twice, charged once
    assert [line["message"] for line in shown] == ["three", "one\ntwo"]
    assert (report["spent"]["calls"], report["spent"]["input_tokens"]) == (2, 20)
    assert report["spent"]["cost"] == "0.000000250"
    assert report["sessions"][0]["run"] == session["run"]
    assert report["next"] is None


async def test_a_machine_keeps_its_host_and_another_gets_a_name_of_its_own(client: httpx.AsyncClient) -> None:
    first = await register(client, machine_id="m-1")
    renamed = await register(client, name="new-name", machine_id="m-1")
    second = await register(client, machine_id="m-2")

    assert renamed["id"] == first["id"]
    assert (second["id"] != first["id"], second["name"]) == (True, "box-2")


async def test_what_is_not_there_is_404(client: httpx.AsyncClient) -> None:
    answers = [
        await client.get("/users/nobody/report"),
        await client.get("/sessions/7/lines"),
        await client.post("/sessions/7/progress", json={}),
    ]

    assert [(answer.status_code, answer.headers["content-type"].split(";")[0]) for answer in answers] == [
        (404, PROBLEM)
    ] * 3
    assert (await client.get("/sessions/seven/lines")).status_code == 404


async def test_what_cannot_be_kept_is_422_and_leaves_nothing(client: httpx.AsyncClient) -> None:
    session = await start(client)
    path = f"/sessions/{session['id']}/progress"
    lines = [{"role": "llm", "message": "hello"}]
    unknown_host = {"username": "bob", "model": "gpt-4o", "host_id": 10**9}

    refused = [
        await client.post(path, json={"lines": lines, "charges": [charge(), charge(agent_id=7)]}),
        await client.post(path, json={"lines": lines, "charges": [charge(cost="-1")]}),
        await client.post(path, json={"lines": [{"role": "nobody", "message": "hello"}]}),
        await client.post(path, content=b"{"),
        await client.post("/runs", json=unknown_host),
        await client.post("/hosts", json={"name": "two words"}),
    ]
    report = (await client.get("/users/alice/report")).json()
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [
        (422, "missing_reference"),
        (422, "bad_input"),
        (422, "bad_input"),
        (422, "bad_input"),
        (422, "missing_reference"),
        (422, "bad_input"),
    ]
    assert "role" in refused[2].json()["detail"]
    assert (report["spent"]["calls"], report["sessions"][0]["lines"]) == (0, 0)
    assert (await client.get("/users/bob/report")).status_code == 404  # made with the run, and gone with it


async def test_what_is_no_json_is_422(client: httpx.AsyncClient) -> None:
    session = await start(client)

    for body in (b"", b"{", b'{"lines": [{"role": "llm", "message": "\xff"}]}', b"[" * 100_000):
        refused = await client.post(f"/sessions/{session['id']}/progress", content=body)
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_input")
        assert "the request is not a Progress" in refused.json()["detail"]


async def test_what_is_taken_is_409(client: httpx.AsyncClient) -> None:
    first = await client.put("/users/alice/email", json={"email": "alice@example.org"})
    other = await client.put("/users/bob/email", json={"email": "Alice@example.org"})

    assert first.status_code == 200
    assert (other.status_code, other.json()["constraint"]) == (409, "uq_users__email")
    assert (await client.get("/users/bob/report")).status_code == 404


async def test_a_database_that_is_gone_is_503_until_it_is_back(client: httpx.AsyncClient, store: File | Cable) -> None:
    session = await start(client)
    path = f"/sessions/{session['id']}/progress"
    told = {"lines": [{"role": "llm", "message": "hello"}]}
    async with store.gone():
        gone = await client.post(path, json=told)
        ready = await client.get("/readyz")
        alive = await client.get("/healthz")

    assert (gone.status_code, gone.json()["title"]) == (503, "Service Unavailable")
    assert int(gone.headers["retry-after"]) >= 1
    assert "127.0.0.1" not in gone.text + ready.text
    assert ready.status_code == (503 if isinstance(store, Cable) else 200)  # a locked file can still be read
    assert alive.status_code == 200
    assert (await client.post(path, json=told)).json()["lines"] == 1
    assert (await client.get("/readyz")).json()["status"] == "ok"


@pytest.mark.long
async def test_a_program_that_is_told_to_end_closes_its_database(file: File) -> None:
    async with program("examples.aiohttp_worker", file.url) as (client, ran):
        await start(client)

    told = (await ran.stderr.read()).decode() if ran.stderr else ""
    assert "Traceback" not in told, told
    assert [path.name for path in file.path.parent.iterdir()] == ["agentdb.db"]  # no write-ahead log is left
