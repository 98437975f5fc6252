"""Who comes in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio
from starlette.responses import PlainTextResponse

from agentdb.studio.door import Door
from agentdb.studio.serving import is_loopback, names_of

TOKEN = "the-token-of-the-door"


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    door = Door(PlainTextResponse("inside"), token=TOKEN, port=8000)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://localhost:8000") as client:
        yield client


async def test_who_has_no_token_stays_outside(client: httpx.AsyncClient) -> None:
    for path in ("/", "/users/list", "/static/js/list.js", "/?token=", f"/?token={TOKEN[:-1]}", "/?token=ä"):
        refused = await client.get(path)

        assert refused.status_code == 403
        assert "inside" not in refused.text


async def test_a_token_opens_once_and_leaves_the_address(client: httpx.AsyncClient) -> None:
    entered = await client.get(f"/users/list?q=ada&token={TOKEN}")

    assert (entered.status_code, entered.headers["location"]) == (303, "/users/list?q=ada")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in entered.headers["set-cookie"]
    assert (await client.get("/users/list")).text == "inside"


async def test_a_cookie_that_was_guessed_does_not_open(client: httpx.AsyncClient) -> None:
    for guess in (TOKEN, "", "ä", "x" * 43):
        refused = await client.get("/", headers=[(b"cookie", f"agentdb_studio_8000={guess}".encode())])

        assert refused.status_code == 403


async def test_a_page_whose_name_leads_here_is_refused(client: httpx.AsyncClient) -> None:
    await client.get(f"/?token={TOKEN}")

    for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", ""):
        assert (await client.get("/", headers={"host": host})).status_code == 421
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"):
        assert (await client.get("/", headers={"host": host})).status_code == 200


async def test_the_way_in_leads_nowhere_else(client: httpx.AsyncClient) -> None:
    for path in ("//evil.example/", "/%5Cevil.example", "///evil.example"):
        entered = await client.get(f"http://localhost:8000{path}?token={TOKEN}")

        assert entered.headers["location"].startswith("/")
        assert not entered.headers["location"].startswith(("//", "/\\"))


async def test_every_answer_forbids_what_comes_from_elsewhere(client: httpx.AsyncClient) -> None:
    refused = await client.get("/")
    await client.get(f"/?token={TOKEN}")

    for answer in (refused, await client.get("/")):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_loopback_is_told_from_the_rest() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("192.168.1.7", "::", "example.org")] == [False] * 3


async def test_a_server_is_called_by_the_address_it_listens_on() -> None:
    for host, spelled in (("127.0.0.1", "127.0.0.1"), ("127.9.9.9", "127.9.9.9"), ("::1", "[::1]")):
        door = Door(PlainTextResponse("inside"), token=TOKEN, port=8000, hosts=names_of(host))
        transport = httpx.ASGITransport(door)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{spelled}:8000") as client:
            assert (await client.get("/", params={"token": TOKEN})).status_code == 303
            assert (await client.get("/", headers={"host": "evil.example"})).status_code == 421
    assert names_of("192.168.1.7") is None
