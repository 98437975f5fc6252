"""The service and its worker over one database: what one is asked for the other does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.aiohttp_worker.app import make_app as make_worker
from examples.fastapi_service.app import make_app as make_service
from tests.examples.platform import START_TO_END, Person, sign_up
from tests.examples.serving import ROOT, Cable, File, serving

PATIENCE_SECONDS = 60  # a machine with other things to do
WAITING = {
    "nodes": [
        {"id": "start", "type": "START"},
        {"id": "wait", "type": "WAIT", "config": {"seconds": 60}},
        {"id": "end", "type": "END"},
    ],
    "edges": [{"source": "start", "target": "wait"}, {"source": "wait", "target": "end"}],
}


async def _until(person: Person, execution: dict[str, Any], *statuses: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            now: dict[str, Any] = await person.get(f"/executions/{execution['id']}")
            if now["status"] in statuses:
                return now
            await asyncio.sleep(0.05)


@pytest.mark.long
async def test_what_is_asked_for_is_answered_charged_and_remembered(store: File | Cable, nothing_left: None) -> None:
    async with serving(make_service(store.url)) as client, serving(make_worker(store.url)) as worker:
        alice = await sign_up(client)
        await alice.post("/documents", {"title": "Trams", "content": "Tram 15 goes to Belém."})
        agent = await alice.post("/agents", {"name": "guide"})
        workflow = await alice.post("/workflows", {"name": "answer", "definition": START_TO_END})
        asked = {"input": {"question": "Which tram goes to Belém?"}, "agent_id": agent["id"]}
        execution = await alice.post(f"/workflows/{workflow['id']}/executions", asked)
        done = await _until(alice, execution, "completed", "failed")
        assert done["status"] == "completed", done["error"]

        nodes = await alice.get(f"/executions/{execution['id']}/nodes")
        messages = await alice.get(f"/conversations/{done['output']['conversation']}/messages")
        spend = await alice.get("/spend")
        found = await alice.get("/search", q="asked", agent_id=agent["id"])
        alive = await worker.get("/healthz")
    assert done["output"]["answer"] == "Tram 15 goes to Belém."
    assert [(node["node_id"], node["status"]) for node in nodes["items"]] == [
        ("start", "completed"),
        ("ask", "completed"),
        ("end", "completed"),
    ]
    assert [message["content"] for message in messages] == ["Which tram goes to Belém?", "Tram 15 goes to Belém."]
    assert (spend["calls"], spend["cost"]) == (1, "0.000010000")
    assert [hit["text"] for hit in found if hit["source"] == "memory"] == ["was asked: Which tram goes to Belém?"]
    assert alive.status_code == 200


@pytest.mark.long
async def test_what_a_worker_is_at_is_cancelled_through_the_service(store: File | Cable, nothing_left: None) -> None:
    async with serving(make_service(store.url)) as client:
        alice = await sign_up(client)
        workflow = await alice.post("/workflows", {"name": "wait", "definition": WAITING})
        execution = await alice.post(f"/workflows/{workflow['id']}/executions", {})
        async with serving(make_worker(store.url)):
            await _until(alice, execution, "running")
            told = await alice.post(f"/executions/{execution['id']}/cancel", {})
            done = await _until(alice, execution, "cancelled", "completed", "failed")

    assert told == {"status": "running"}
    assert done["status"] == "cancelled"


@pytest.mark.long
async def test_both_are_served_and_ended_by_one_program(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "AGENTDB_FOLDER": str(tmp_path), "PORT": str(port)}
    for name in ("AGENTDB_URL", "DATABASE_URL", "PGHOST"):
        environment.pop(name, None)
    ran = await asyncio.create_subprocess_exec(
        sys.executable, "examples/serve.py", cwd=ROOT, env=environment, stdout=DEVNULL, stderr=PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), httpx.AsyncClient(trust_env=False) as client:
            ready = [await _ready(client, f"http://127.0.0.1:{at}/readyz") for at in (port, port + 1)]
            ran.send_signal(signal.SIGINT)
            code = await ran.wait()
    finally:
        if ran.returncode is None:
            ran.terminate()
            await ran.wait()

    left = [path.name for path in _inside(tmp_path) if path.name.startswith("agentdb.db")]
    said = (await ran.stderr.read()).decode() if ran.stderr else ""
    assert [answer.json()["status"] for answer in ready] == ["ok", "ok"]
    assert (code, "Traceback" in said) == (0, False), said
    assert left == ["agentdb.db"]  # and no write-ahead log


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def _ready(client: httpx.AsyncClient, url: str) -> httpx.Response:
    while True:
        try:
            answer = await client.get(url)
        except httpx.TransportError:
            await asyncio.sleep(0.1)
        else:
            if answer.is_success:
                return answer
