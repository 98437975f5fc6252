"""The FastAPI service over real HTTP, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from examples.fastapi_service.app import make_app
from tests.examples.serving import Cable, File, program, serving

PROBLEM = "application/problem+json"


@pytest_asyncio.fixture
async def client(store: File | Cable, nothing_left: None) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(make_app(store.url, sqlite_busy_timeout_seconds=0.2)) as client:
        yield client


async def sign_up(client: httpx.AsyncClient, username: str = "alice") -> dict[str, Any]:
    answer = await client.post("/users", json={"username": username, "email": f"{username}@Example.org"})
    assert answer.status_code == 201, answer.text
    user: dict[str, Any] = answer.json()
    return user


async def begin(client: httpx.AsyncClient, user: dict[str, Any], **conversation: Any) -> str:
    answer = await client.post(f"/users/{user['id']}/conversations", json=conversation)
    assert answer.status_code == 201, answer.text
    return f"/conversations/{answer.json()['id']}"


async def test_a_conversation_from_beginning_to_bill(client: httpx.AsyncClient) -> None:
    user = await sign_up(client)
    conversation = await begin(client, user, title="a trip")
    question = await client.post(f"{conversation}/messages", json={"role": "user", "content": "Which tram?"})
    usage = {"model": "gpt-4o", "cost": "0.000000125", "input_tokens": 12, "output_tokens": 3}
    reply = {"role": "assistant", "content": [{"type": "text", "text": "28"}], "usage": usage}
    for _ in range(2):
        answer = await client.post(f"{conversation}/messages", json=reply)
        assert answer.status_code == 201, answer.text

    messages = (await client.get(f"{conversation}/messages")).json()
    spend = (await client.get(f"/users/{user['id']}/spend")).json()
    listed = (await client.get(f"/users/{user['id']}/conversations")).json()
    assert user["email"] == "alice@example.org"
    assert question.json()["position"] == 1
    assert [message["position"] for message in messages] == [1, 2, 3]
    assert messages[1]["content"] == [{"type": "text", "text": "28"}]
    assert spend == {"calls": 2, "input_tokens": 24, "output_tokens": 6, "cost": "0.000000250"}
    assert (listed["items"][0]["message_count"], listed["next"]) == (3, None)


async def test_pages_follow_one_another(client: httpx.AsyncClient) -> None:
    user = await sign_up(client)
    begun = [await begin(client, user, title=f"trip {number}") for number in range(3)]
    path = f"/users/{user['id']}/conversations"

    first = (await client.get(path, params={"limit": 2})).json()
    second = (await client.get(path, params={"limit": 2, "after": first["next"]})).json()
    strange = await client.get(path, params={"after": "nonsense"})
    assert [f"/conversations/{item['id']}" for item in first["items"] + second["items"]] == begun[::-1]
    assert second["next"] is None
    assert (strange.status_code, strange.json()["code"]) == (422, "bad_input")


async def test_spending_is_asked_for_by_window(client: httpx.AsyncClient) -> None:
    user = await sign_up(client)
    conversation = await begin(client, user)
    usage = {"model": "gpt-4o", "cost": "1.5"}
    await client.post(f"{conversation}/messages", json={"role": "assistant", "content": "hi", "usage": usage})

    past = await client.get(f"/users/{user['id']}/spend", params={"until": "2001-01-01T00:00:00+01:00"})
    present = await client.get(f"/users/{user['id']}/spend", params={"since": "2001-01-01T00:00:00+01:00"})
    naive = await client.get(f"/users/{user['id']}/spend", params={"since": "2001-01-01T00:00:00"})
    assert (past.json()["calls"], past.json()["cost"]) == (0, "0.000000000")
    assert present.json()["cost"] == "1.500000000"
    assert naive.status_code == 422


async def test_what_is_not_there_is_404(client: httpx.AsyncClient) -> None:
    message = {"role": "user", "content": "hello?"}
    answers = [
        await client.get("/users/7"),
        await client.get("/users/7/spend"),
        await client.post("/users/7/conversations", json={}),
        await client.get("/conversations/7/messages"),
        await client.post("/conversations/7/messages", json=message),
    ]

    assert [(answer.status_code, answer.headers["content-type"]) for answer in answers] == [(404, PROBLEM)] * 5
    assert answers[0].json()["code"] == "not_found"


async def test_what_is_taken_is_409(client: httpx.AsyncClient) -> None:
    user = await sign_up(client)
    await begin(client, user, key="trip")

    again = await client.post("/users", json={"username": "alice"})
    key = await client.post(f"/users/{user['id']}/conversations", json={"key": "trip"})
    assert (again.status_code, again.json()["constraint"]) == (409, "uq_users__username")
    assert (key.status_code, key.json()["constraint"]) == (409, "uq_conversations__key")


async def test_what_cannot_be_kept_is_422_and_leaves_nothing(client: httpx.AsyncClient) -> None:
    user = await sign_up(client)
    conversation = await begin(client, user)
    unknown = {"model": "gpt-4o", "cost": "1", "agent_id": 7}

    refused = await client.post(
        f"{conversation}/messages", json={"role": "assistant", "content": "28", "usage": unknown}
    )
    nul = await client.post(f"{conversation}/messages", json={"role": "user", "content": "a\0b"})
    name = await client.post("/users", json={"username": "two words"})
    messages = await client.get(f"{conversation}/messages")
    spend = await client.get(f"/users/{user['id']}/spend")
    assert (refused.status_code, refused.json()["code"]) == (422, "missing_reference"), refused.text
    assert (nul.status_code, nul.json()["code"]) == (422, "bad_input")
    assert name.status_code == 422
    assert messages.json() == []
    assert spend.json()["calls"] == 0


async def test_a_database_that_is_gone_is_503_until_it_is_back(
    client: httpx.AsyncClient, store: File | Cable, caplog: pytest.LogCaptureFixture
) -> None:
    await sign_up(client)
    async with store.gone():
        gone = await client.post("/users", json={"username": "bob"})
        ready = await client.get("/readyz")
        alive = await client.get("/healthz")

    assert (gone.status_code, gone.headers["content-type"]) == (503, PROBLEM)
    assert int(gone.headers["retry-after"]) >= 1
    assert "127.0.0.1" not in gone.text + ready.text
    assert "agentdb" in caplog.text
    assert ready.status_code == (503 if isinstance(store, Cable) else 200)  # a locked file can still be read
    assert alive.status_code == 200
    assert (await sign_up(client, "bob"))["username"] == "bob"
    assert (await client.get("/readyz")).json()["status"] == "ok"


async def test_openapi_tells_answers_and_problems(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    operation = document["paths"]["/users"]["post"]
    problem = operation["responses"]["409"]["content"]
    assert operation["responses"]["201"]["content"]["application/json"]["schema"]["$ref"].endswith("/UserShown")
    assert problem.keys() == {PROBLEM}
    assert "constraint" in problem[PROBLEM]["schema"]["properties"]
    assert {"409", "422", "503"} <= operation["responses"].keys()


async def test_a_program_that_is_told_to_end_closes_its_database(file: File) -> None:
    async with program("examples.fastapi_service", file.url) as (client, ran):
        await sign_up(client)

    told = (await ran.stderr.read()).decode() if ran.stderr else ""
    assert "Traceback" not in told, told
    assert [path.name for path in file.path.parent.iterdir()] == ["agentdb.db"]  # no write-ahead log is left
