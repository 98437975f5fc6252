"""``agentdb studio`` as its own process, over real HTTP; and, where a browser is named, in that browser.

AGENTDB_TEST_BROWSER names a Chromium (``/usr/bin/chromium``). Where it is not set, no test looks for one.
"""

from __future__ import annotations

import html
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

import agentdb
from agentdb import migrating
from agentdb.config import Settings
from agentdb.testing.factories import make_user
from agentdb.testing.postgresql import PostgreSQLServer

BROWSER = os.environ.get("AGENTDB_TEST_BROWSER")


@contextmanager
def served(url: str, *words: str) -> Iterator[str]:
    """Serve a database's studio, and yield the address it printed."""
    command = [sys.executable, "-m", "agentdb", "--url", url, "studio", "--port", "0", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=30)
            assert (out, errors) == ("", "")


@pytest_asyncio.fixture
async def migrated_postgresql_url(agentdb_postgresql_server: PostgreSQLServer) -> AsyncIterator[str]:
    """Yield the URL of a database of its own that is up to date and empty."""

    async def migrate(url: str) -> None:
        await migrating.upgrade(Settings.load(url))

    url = await agentdb_postgresql_server.create_database(await agentdb_postgresql_server.template("cli", migrate))
    yield url
    await agentdb_postgresql_server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database that is up to date and empty: the test runs on both."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("migrated_postgresql_url")
        return url
    template: Path = request.getfixturevalue("agentdb_template")
    shutil.copyfile(template, tmp_path / "agentdb.db")
    return f"sqlite:///{tmp_path / 'agentdb.db'}"


async def _filled(url: str) -> None:
    async with agentdb.connect(url) as db:
        ada = await make_user(db, first_name="<script>document.title='broken'</script>", username="ada")
        await db.hub.costs.append(source="console", model="claude", cost=Decimal("2.5"), user_id=ada.id)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the client from logging the address, which carries the token: what is watched is the studio."""
    logger = logging.getLogger("httpx")
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


@pytest.mark.long
async def test_the_command_serves_a_page_to_who_has_its_address(migrated_url: str) -> None:
    await _filled(migrated_url)

    with served(migrated_url) as address:
        token, base = address.partition("token=")[2], address.partition("/?")[0]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", base)
        assert len(token) >= 43
        async with httpx.AsyncClient(base_url=base, follow_redirects=True) as client:
            assert (await client.get("/users/list")).status_code == 403
            with quiet():
                home = await client.get(address)
            assert "read only" in home.text
            assert "&lt;script&gt;" in (await client.get("/users/list")).text
            assert (await client.get("/users/edit?pk=1")).status_code == 403
            # Every script and style is this server's own, and is there.
            for link in set(re.findall(r'(?:src|href)="([^"]*/static/[^"]*)"', home.text)):
                assert (await client.get(html.unescape(link))).status_code == 200


@pytest.mark.long
@pytest.mark.skipif(BROWSER is None, reason="AGENTDB_TEST_BROWSER names no browser")
async def test_a_browser_shows_the_pages_and_runs_no_script_of_a_row(migrated_url: str, tmp_path: Path) -> None:
    await _filled(migrated_url)

    with served(migrated_url, "--write") as address:
        for path, seen in (
            ("users/list", "ada"),
            ("users/detail?pk=1", "first_name"),
            ("users/edit?pk=1", 'name="stamp"'),
            ("spending", "<rect"),
        ):
            page = _rendered(address.replace("/?", f"/{path}{'&' if '?' in path else '?'}"), tmp_path)
            assert seen in page
            assert "<title>broken" not in page
            assert "&lt;script&gt;" in page or path == "spending"


def _rendered(address: str, folder: Path) -> str:
    """Return a page as the browser has it after its scripts ran."""
    if BROWSER is None:
        raise AssertionError("no browser")
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder / 'browser'}",
        "--window-size=1400,1000",
        "--virtual-time-budget=4000",
        "--dump-dom",
        address,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.long
def test_a_schema_that_is_behind_is_told_and_not_migrated(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agentdb", "--url", f"sqlite:///{tmp_path / 'new.db'}", "studio", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert done.stdout == ""
    assert "agentdb migrate" in done.stderr
