"""The studio as a browser meets it: cookies, forms and pages, in this process."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket

from agentdb.database import Database
from agentdb.studio.application import application
from agentdb.studio.door import Door

TOKEN = "the-token-of-the-tests-of-the-studio"
KEYS = {"encryption_keys": "8f2d61b0c49e7a35d1906b7c3ef85a24697fe0d2b8431c5ae5a1372f4cd80b96"}


class Browser:
    """Opens pages, and submits their forms as they are, with what is typed into them."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def open(self, path: str, **query: Any) -> httpx.Response:
        return await self.client.get(path, params=query or None)

    async def text(self, path: str, **query: Any) -> str:
        page = await self.open(path, **query)
        if page.status_code != 200:
            raise AssertionError(f"{path} {query}: {page.status_code} {alert(page) or heading(page)}")
        return page.text

    async def submit(self, page: str, path: str, **typed: Any) -> httpx.Response:
        return await self.client.post(
            path, files={name: (None, str(value)) for name, value in {**form(page), **typed}.items()}
        )

    async def edit(self, table: str, key: Any, **typed: Any) -> httpx.Response:
        path = f"/{table}/edit?pk={key}"
        return await self.submit(await self.text(path), path, **typed)


def form(page: str) -> dict[str, str]:
    """Return what a browser would send of a page's form if nobody touched it."""
    inside = page[page.index('enctype="multipart/form-data"') :]
    values: dict[str, str] = {}
    for tag in re.findall(r"<input\b[^>]*>", inside):
        given = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if "name" not in given or (given.get("type") == "checkbox" and not re.search(r"\bchecked\b", tag)):
            continue
        values[given["name"]] = "on" if given.get("type") == "checkbox" else html.unescape(given.get("value", ""))
    for name, value in re.findall(r'<textarea id="[^"]*" name="([^"]+)"[^>]*>\n?(.*?)</textarea>', inside, re.DOTALL):
        values[name] = html.unescape(value).replace("\n", "\r\n")
    for name, options in re.findall(r'<select id="[^"]*"\s+name="([^"]+)"(.*?)</select>', inside, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)"\s+selected', options)
        values[name] = html.unescape(chosen[1]) if chosen else ""
    return values


def heading(page: httpx.Response) -> str:
    """Return the words of a page, without its markup."""
    body = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", page.text, flags=re.DOTALL)
    return " ".join(html.unescape(body).split())[-300:]


def alert(page: httpx.Response) -> str:
    """Return what a refused form says above itself."""
    found = re.search(r'<div class="alert alert-danger" role="alert">(.*?)</div>', page.text, re.DOTALL)
    return html.unescape(found[1]) if found else ""


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return KEYS


class _Compiled(BytecodeCache):
    """Keeps compiled templates: to compile them anew for every test would take most of its time."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.kept:
            bucket.bytecode_from_string(self.kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.kept[bucket.key] = bucket.bytecode_to_string()


_METHODS: dict[Any, list[str]] = {}


def _members(view: Any, predicate: Callable[[Any], bool]) -> list[tuple[str, Any]]:
    """Return what ``inspect.getmembers`` does of a view: the methods of its class, looked for once."""
    kind = type(view)
    if kind not in _METHODS:
        _METHODS[kind] = [name for name, _ in inspect.getmembers(kind, inspect.isroutine)]
    found = ((name, getattr(view, name)) for name in _METHODS[kind])
    return [(name, member) for name, member in found if predicate(member)]


@pytest.fixture(autouse=True, scope="session")
def _compiled_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("starlette_admin.base.Environment", partial(Environment, bytecode_cache=_Compiled()))
        # A studio has fifty views, and each goes twice through all it has for what is an action: most of its making.
        patch.setattr("starlette_admin.views.inspect", SimpleNamespace(**{**vars(inspect), "getmembers": _members}))
        yield


@asynccontextmanager
async def browsing(db: Database, *, writes: bool) -> AsyncIterator[Browser]:
    """Yield a browser before a studio."""
    transport = httpx.ASGITransport(Door(application(db, writes=writes), token=TOKEN, port=8000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        await client.get("/", params={"token": TOKEN})
        yield Browser(client)


@pytest_asyncio.fixture
async def reading(db: Database) -> AsyncIterator[Browser]:
    """Yield a browser before a studio that only reads."""
    async with browsing(db, writes=False) as browser:
        yield browser


@pytest_asyncio.fixture
async def writing(db: Database) -> AsyncIterator[Browser]:
    """Yield a browser before a studio that may write."""
    async with browsing(db, writes=True) as browser:
        yield browser
