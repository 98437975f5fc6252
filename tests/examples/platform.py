"""The FastAPI service as somebody who uses it: a person with a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

START_TO_END = {
    "nodes": [{"id": "start", "type": "START"}, {"id": "ask", "type": "AGENT"}, {"id": "end", "type": "END"}],
    "edges": [{"source": "start", "target": "ask"}, {"source": "ask", "target": "end"}],
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has signed up."""

    client: httpx.AsyncClient
    id: int
    key: str

    async def send(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Send a request with the person's key."""
        return await self.client.request(method, path, headers={"Authorization": f"Bearer {self.key}"}, **how)

    async def get(self, path: str, **query: Any) -> Any:
        """Return what is there."""
        return told(await self.send("GET", path, params=query or None))  # an empty query would replace the path's

    async def post(self, path: str, body: Any) -> Any:
        """Return what was made."""
        return told(await self.send("POST", path, json=body))


def told(answer: httpx.Response) -> Any:
    """Return what an answer tells, if it is one."""
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


async def sign_up(client: httpx.AsyncClient, username: str = "alice") -> Person:
    """Return a person who has signed up."""
    signed = told(await client.post("/users", json={"username": username, "email": f"{username}@Example.org"}))
    return Person(client, signed["user"]["id"], signed["key"])
