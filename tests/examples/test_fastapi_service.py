"""The FastAPI service over real HTTP, on both databases."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import cache

import httpx
import pytest
import pytest_asyncio

from agentdb.integrations.fastapi import lifespan
from examples.fastapi_service.app import make_app
from tests.canaries import plant
from tests.examples.platform import START_TO_END, Person, sign_up, told
from tests.examples.serving import Cable, File, program, serving

PROBLEM = "application/problem+json"
USAGE = {"model": "gpt-4o", "cost": "0.000000125", "input_tokens": 12, "output_tokens": 3}


_app = cache(make_app)  # to make it takes longer than most of its answers: only its database is another in each test


@pytest_asyncio.fixture
async def client(store: File | Cable, nothing_left: None) -> AsyncIterator[httpx.AsyncClient]:
    app = _app()
    app.router.lifespan_context = lifespan(store.url, sqlite_busy_timeout_seconds=0.2)
    async with serving(app) as client:
        yield client


async def test_a_conversation_from_beginning_to_bill(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)
    conversation = await alice.post("/conversations", {"title": "a trip"})
    messages = f"/conversations/{conversation['id']}/messages"
    question = await alice.post(messages, {"role": "user", "content": "Which tram?"})
    for _ in range(2):
        reply = [{"type": "text", "text": "28"}]
        await alice.post(messages, {"role": "assistant", "content": reply, "usage": USAGE})

    listed = await alice.get(messages)
    earlier = await alice.get(messages, before=2)
    spend = await alice.get("/spend")
    by_model = await alice.get("/spend/by/model")
    conversations = await alice.get("/conversations")
    assert (await alice.get("/me"))["email"] == "alice@example.org"
    assert question["position"] == 1
    assert [message["position"] for message in listed] == [1, 2, 3]
    assert listed[1]["content"] == [{"type": "text", "text": "28"}]
    assert earlier == listed[:1]
    assert spend == {"calls": 2, "input_tokens": 24, "output_tokens": 6, "cost": "0.000000250"}
    assert by_model == [{**spend, "value": "gpt-4o"}]
    assert (conversations["items"][0]["message_count"], conversations["next"]) == (3, None)


async def test_a_conversation_is_renamed_and_deleted(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)
    path = f"/conversations/{(await alice.post('/conversations', {}))['id']}"
    renamed = told(await alice.send("PATCH", path, json={"title": "trams"}))
    deleted = await alice.send("DELETE", path)

    assert renamed["title"] == "trams"
    assert deleted.status_code == 204
    assert (await alice.get("/conversations"))["items"] == []


async def test_a_field_that_nobody_knows_is_refused(client: httpx.AsyncClient) -> None:
    refused = await client.post("/users", json={"username": "alice", "e-mail": "alice@example.org"})
    alice = await sign_up(client)
    conversation = await alice.post("/conversations", {})
    usage = {"role": "user", "content": "Which tram?", "usage": {**USAGE, "input_token": 12}}
    within = await alice.send("POST", f"/conversations/{conversation['id']}/messages", json=usage)

    assert [refused.status_code, within.status_code] == [422, 422]
    assert refused.json()["errors"] == [{"field": "body.e-mail", "message": "Extra inputs are not permitted"}]
    assert within.json()["errors"][0]["field"] == "body.usage.input_token"
    assert await alice.get(f"/conversations/{conversation['id']}/messages") == []


async def test_a_moment_that_utc_does_not_have_is_refused(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)

    for answer in (
        await alice.send("GET", "/spend", params={"since": "0001-01-01T00:00:00+14:00"}),
        await alice.send("GET", "/spend", params={"until": "9999-12-31T23:59:59-14:00"}),
        await alice.send("POST", "/keys", json={"name": "laptop", "expires_at": "9999-12-31T23:59:59-14:00"}),
    ):
        assert answer.status_code == 422
        assert "a moment between the years 1 and 9999" in answer.json()["errors"][0]["message"]
    issued = await alice.post("/keys", {"name": "laptop", "expires_at": "2999-12-31T23:59:59-14:00"})
    assert issued["key"]["expires_at"] == "3000-01-01T13:59:59Z"


async def test_a_run_spends_up_to_its_limit(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)
    told(await alice.send("PUT", "/limit", json={"amount": "1"}))
    run = await alice.post("/runs", {"model": "gpt-4o"})
    path = f"/runs/{run['id']}"
    lines = [{"role": "llm", "message": "one\ntwo"}, {"role": "platform", "message": "three", "type": "tool"}]
    said = await alice.post(f"{path}/lines", lines)
    first = await alice.post(f"{path}/calls", {"model": "gpt-4o", "cost": "0.75", "request_id": "r-1"})
    again = await alice.post(f"{path}/calls", {"model": "gpt-4o", "cost": "0.75", "request_id": "r-1"})
    beyond = await alice.send("POST", f"{path}/calls", json={"model": "gpt-4o", "cost": "0.5", "request_id": "r-2"})

    shown = await alice.get(f"{path}/lines")
    limits = await alice.get("/limits")
    runs = await alice.get("/runs")
    assert said["total_lines"] == 3
    assert again == first  # told twice, charged once
    assert (beyond.status_code, beyond.json()["code"]) == (402, "budget_exceeded")
    assert [line["message"] for line in shown] == ["one\ntwo", "three"]
    assert await alice.get(f"{path}/lines", after=shown[0]["id"]) == shown[1:]
    assert (limits[0]["spent"], limits[0]["remaining"]) == ("0.750000000", "0.250000000")
    assert runs["items"][0]["total_cost"] == "0.750000000"


async def test_work_is_asked_for_once_and_cancelled(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)
    workflow = await alice.post("/workflows", {"name": "answer", "definition": START_TO_END})
    path = f"/workflows/{workflow['id']}/executions"
    asked = {"input": {"question": "Which tram?"}, "idempotency_key": "once"}
    first, again = await alice.post(path, asked), await alice.post(path, asked)
    cancelled = await alice.post(f"/executions/{first['id']}/cancel", {})

    listed = await alice.get("/executions")
    assert again["id"] == first["id"]
    assert cancelled == {"status": "cancelled"}
    assert [(item["id"], item["status"]) for item in listed["items"]] == [(first["id"], "cancelled")]
    assert (await alice.get(f"/executions/{first['id']}/nodes"))["items"] == []
    assert [item["id"] for item in (await alice.get("/workflows"))["items"]] == [workflow["id"]]


async def test_a_workflow_that_leads_nowhere_is_refused(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)

    refused = await alice.send("POST", "/workflows", json={"name": "lost", "definition": {"nodes": [], "edges": []}})
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_input")


async def test_what_is_known_is_found(client: httpx.AsyncClient) -> None:
    alice, bob = await sign_up(client), await sign_up(client, "bob")
    document = await alice.post(
        "/documents", {"title": "Trams", "content": "Tram 15 goes to Belém.", "tags": ["trams"]}
    )

    found = await alice.get("/search", q="Belém")
    assert [(hit["source"], hit["text"]) for hit in found] == [("document", "Tram 15 goes to Belém.")]
    assert await bob.get("/search", q="Belém") == []
    assert (await alice.send("DELETE", f"/documents/{document['id']}")).status_code == 204
    assert (await alice.get("/documents"))["items"] == []


async def test_an_agent_is_its_makers(client: httpx.AsyncClient) -> None:
    alice, bob = await sign_up(client), await sign_up(client, "bob")
    agent = await alice.post("/agents", {"name": "guide", "system_prompt": "You know trams."})

    assert [item["name"] for item in (await alice.get("/agents"))["items"]] == ["guide"]
    assert (await bob.get("/agents"))["items"] == []
    assert (await bob.send("GET", f"/agents/{agent['id']}")).status_code == 404
    assert (await alice.get("/models"))["items"] == (await alice.get("/tools"))["items"] == []


async def test_a_connection_is_begun_and_removed(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)
    begun = await alice.post("/connections", {"provider": "github", "scopes": ["repo"]})

    listed = (await alice.get("/connections"))["items"]
    assert listed == [begun]
    assert (begun["has_access_token"], "access_token" in begun) == (False, False)
    await alice.get(f"/connections/{begun['id']}/events")
    assert (await alice.send("DELETE", f"/connections/{begun['id']}")).status_code == 204
    assert (await alice.get("/connections"))["items"] == []


async def test_a_key_lets_in_until_it_is_revoked(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)
    issued = await alice.post("/keys", {"name": "laptop"})
    header = {"Authorization": f"Bearer {plant(issued['plaintext'])}"}
    before = await client.get("/me", headers=header)
    listed = (await alice.get("/keys"))["items"]
    revoked = await alice.send("DELETE", f"/keys/{issued['key']['id']}")
    after = await client.get("/me", headers=header)

    assert (before.status_code, revoked.status_code, after.status_code) == (200, 204, 401)
    assert {key["name"] for key in listed} == {"first", "laptop"}
    assert issued["plaintext"] not in json.dumps(listed)


async def test_a_key_is_for_its_scopes_alone(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)
    narrow = await alice.post("/keys", {"name": "ci", "scopes": ["runs", "keys"]})
    robot = Person(client, alice.id, plant(narrow["plaintext"]))

    await robot.post("/runs", {"model": "gpt-4o"})
    await robot.get("/me")
    same = await robot.post("/keys", {"name": "another", "scopes": ["runs"]})
    refused = [
        await robot.send("GET", "/conversations"),
        await robot.send("PUT", "/limit", json={"amount": "1"}),
        await robot.send("POST", "/keys", json={"name": "all"}),
        await robot.send("POST", "/keys", json={"name": "more", "scopes": ["runs", "spending"]}),
    ]
    assert same["key"]["scopes"] == ["runs"]
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(403, "forbidden")] * 4
    assert {key["name"] for key in (await alice.get("/keys"))["items"]} == {"first", "ci", "another"}


HEADERS: list[dict[str, str]] = [{}, {"Authorization": "Bearer adb_nothing"}, {"Authorization": "Basic YTpi"}]


async def test_without_a_key_nothing_is_shown(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for header in HEADERS:
        with subtests.test(header=header):
            answer = await client.get("/conversations", headers=header)

            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.headers["content-type"] == PROBLEM


async def test_what_is_somebody_elses_is_not_there(client: httpx.AsyncClient) -> None:
    alice, bob = await sign_up(client), await sign_up(client, "bob")
    conversation = await alice.post("/conversations", {})
    run = await alice.post("/runs", {"model": "gpt-4o"})
    path = f"/conversations/{conversation['id']}"
    call = {"model": "gpt-4o", "cost": "1", "request_id": "r-1"}

    answers = [
        await bob.send("GET", path),
        await bob.send("GET", f"{path}/messages"),
        await bob.send("POST", f"{path}/messages", json={"role": "user", "content": "hello?"}),
        await bob.send("POST", f"/runs/{run['id']}/calls", json=call),
        await bob.send("GET", "/executions/7"),
    ]
    assert [(answer.status_code, answer.headers["content-type"]) for answer in answers] == [(404, PROBLEM)] * 5
    assert answers[0].json()["code"] == "not_found"


async def test_pages_follow_one_another(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)
    begun = [(await alice.post("/conversations", {"title": f"trip {number}"}))["id"] for number in range(3)]

    first = await alice.get("/conversations", limit=2)
    second = await alice.get(first["next_url"])
    strange = await alice.send("GET", "/conversations", params={"after": "nonsense"})
    assert [item["id"] for item in first["items"] + second["items"]] == begun[::-1]
    assert first["next_url"] == f"/conversations?limit=2&after={first['next']}"
    assert (second["next"], second["next_url"]) == (None, None)
    assert (strange.status_code, strange.json()["code"]) == (422, "bad_input")


async def test_spending_is_asked_for_by_window(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)
    conversation = await alice.post("/conversations", {})
    usage = {"model": "gpt-4o", "cost": "1.5"}
    message = {"role": "assistant", "content": "hi", "usage": usage}
    await alice.post(f"/conversations/{conversation['id']}/messages", message)

    past = await alice.get("/spend", until="2001-01-01T00:00:00+01:00")
    present = await alice.get("/spend", since="2001-01-01T00:00:00+01:00")
    naive = await alice.send("GET", "/spend", params={"since": "2001-01-01T00:00:00"})
    assert (past["calls"], past["cost"]) == (0, "0.000000000")
    assert present["cost"] == "1.500000000"
    assert naive.status_code == 422


async def test_what_is_taken_is_409(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)
    await alice.post("/conversations", {"key": "trip"})

    again = await client.post("/users", json={"username": "alice"})
    key = await alice.send("POST", "/conversations", json={"key": "trip"})
    assert (again.status_code, again.json()["constraint"]) == (409, "uq_users__username")
    assert (key.status_code, key.json()["constraint"]) == (409, "uq_conversations__key")


async def test_what_cannot_be_kept_is_422_and_leaves_nothing(client: httpx.AsyncClient) -> None:
    alice = await sign_up(client)
    messages = f"/conversations/{(await alice.post('/conversations', {}))['id']}/messages"
    unknown = {**USAGE, "agent_id": 7}

    refused = await alice.send("POST", messages, json={"role": "assistant", "content": "28", "usage": unknown})
    nul = await alice.send("POST", messages, json={"role": "user", "content": "a\0b"})
    name = await client.post("/users", json={"username": "two words"})
    assert (refused.status_code, refused.json()["code"]) == (422, "missing_reference"), refused.text
    assert (nul.status_code, nul.json()["code"]) == (422, "bad_input")
    assert (name.status_code, name.json()["errors"][0]["field"]) == (422, "body.username")
    assert "two words" not in name.text  # what was sent is not repeated: it may be a password
    assert await alice.get(messages) == []
    assert (await alice.get("/spend"))["calls"] == 0


@pytest.mark.long
async def test_a_database_that_is_gone_is_503_until_it_is_back(
    client: httpx.AsyncClient, store: File | Cable, caplog: pytest.LogCaptureFixture
) -> None:
    alice = await sign_up(client)
    async with store.gone():
        gone = await alice.send("POST", "/runs", json={"model": "gpt-4o"})
        ready = await client.get("/readyz")
        alive = await client.get("/healthz")

    assert (gone.status_code, gone.headers["content-type"]) == (503, PROBLEM)
    assert int(gone.headers["retry-after"]) >= 1
    assert "127.0.0.1" not in gone.text + ready.text
    assert "agentdb" in caplog.text
    assert ready.status_code == (503 if isinstance(store, Cable) else 200)  # a locked file can still be read
    assert alive.status_code == 200
    assert (await alice.post("/runs", {"model": "gpt-4o"}))["model_name"] == "gpt-4o"
    assert (await client.get("/readyz")).json()["status"] == "ok"


@pytest.mark.long
async def test_a_program_that_is_told_to_end_closes_its_database(file: File) -> None:
    async with program("examples.fastapi_service", file.url) as (client, ran):
        await sign_up(client)

    told = (await ran.stderr.read()).decode() if ran.stderr else ""
    assert "Traceback" not in told, told
    assert [path.name for path in file.path.parent.iterdir()] == ["agentdb.db"]  # no write-ahead log is left
