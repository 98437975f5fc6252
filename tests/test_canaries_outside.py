"""What must never be told of what comes from outside: the environment, URLs, files, and the command line."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import struct
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typer.testing import CliRunner, Result

import agentdb
from agentdb.cli import app
from agentdb.database import Database
from agentdb.errors import AgentDBError, BadSettings, DecryptionFailed, Unavailable
from agentdb.keyring import open_platform_form
from agentdb.seeding import BadSeed, SeedReport
from agentdb.seeding.tables import TABLES, SeedTable
from agentdb.supervisor.key_records import new_key
from agentdb.testing.factories import make_user
from agentdb.urls import parse
from tests.canaries import canary, plant, told

KEY: Final = plant(hashlib.sha256(b"the key of the outside's tests").hexdigest())
OLDER: Final = plant(hashlib.sha256(b"an older key of the outside's tests").hexdigest())
ACCESS_KEY: Final = plant(new_key())
PASSWORD: Final = canary("password of a server")
BROOK: Final = canary("key of a provider in the environment")
WRITTEN: Final = canary("key of a provider in a file")
PLATFORM: Final = canary("key as the platform sealed it")
PASSPHRASE: Final = canary("passphrase of the platform")
PLACE: Final = f"me:{PASSWORD}@box"


@pytest.fixture(scope="session")
def agentdb_settings() -> dict[str, Any]:
    return {"encryption_keys": KEY}


def told_by(error: BaseException) -> list[str]:
    """Return the secrets that an error tells, by itself or with all it came from."""
    return told(f"{error} {error!r} {''.join(traceback.format_exception(error))}")


# The command line

Command = Callable[..., Result]


@pytest.fixture
def command(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Return what runs ``agentdb`` with everything secret in the environment, and refuses a word of it in what is said.

    A server in this process's own network asks for no password; it is sent one all the same.
    """
    target = parse(database_url, source="url", environment={})
    monkeypatch.setenv("AGENTDB_FOLDER", str(tmp_path))
    monkeypatch.setenv("AGENTDB_URL", database_url)
    if target.kind == "postgresql" and target.password is None:
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("AGENTDB_ENCRYPTION_KEYS", f"{KEY},{OLDER}")
    monkeypatch.setenv("AGENTDB_TEST_API_KEY", ACCESS_KEY)
    monkeypatch.setenv("BROOK_KEY", BROOK)
    runner = CliRunner()

    def run(*words: object) -> Result:
        result = runner.invoke(app, list(map(str, words)))
        crashed = result.exception if not isinstance(result.exception, SystemExit) else None
        assert told(result.stdout + result.stderr) == []
        assert crashed is None, words
        return result

    return run


@pytest.mark.long
def test_no_command_tells_what_the_environment_holds(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "providers.csv").write_text("name,api_key\nbrook,env:BROOK_KEY\n", encoding="utf-8")

    assert command("migrate").exit_code == 0
    assert command("seed").exit_code == 0
    assert command("seed", seeds, "--json").exit_code == 0
    for words in (
        ["status"],
        ["check"],
        ["report"],
        ["report", "--json"],
        ["keys", "check"],
        ["keys", "check", "--json"],
        ["keys", "rotate"],
        ["grants", "--service", "gateway"],
        ["migrate-conversations"],
    ):
        assert command(*words).exit_code == 0, words
    # What is sealed with a key that is not here any more is named, and stays unread.
    monkeypatch.setenv("AGENTDB_ENCRYPTION_KEYS", OLDER)
    for words in (["keys", "check"], ["keys", "check", "--json"], ["keys", "rotate"], ["keys", "rotate", "--json"]):
        assert command(*words).exit_code == 1, words


@pytest.mark.long
def test_no_command_that_fails_tells_what_it_was_given(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "providers.csv").write_text(f"name,api_key,endpont\n{'x' * 300},{WRITTEN},env:BROOK_KEY\n")
    (seeds / "models.csv").write_text("key,name,version_name,type\nm,m,m,env:BROOK_KEY\n")
    (tmp_path / "prices.csv").write_text("model,price\n")

    assert command("seed", seeds).exit_code == 2
    assert command("import", "prices", tmp_path / "prices.csv").exit_code == 2
    assert command("import", "chat", tmp_path / "none.jsonl").exit_code == 2
    assert command("stamp", "none").exit_code == 2
    assert command("--url", f"postgresql://{PLACE}/x?pool=5", "status").exit_code == 2
    assert command("--url", f"postgresql://{PLACE.replace('box', '127.0.0.1:1')}/x", "status").exit_code == 2
    assert command("--url", f"postgrsql://{PLACE}/x", "migrate").exit_code == 2
    assert command("--url", f"{PLACE}/x", "report").exit_code == 2
    monkeypatch.setenv("AGENTDB_TEST_API_KEY", f"{ACCESS_KEY}x")
    assert command("seed").exit_code == 2
    for keys in (WRITTEN, f"{KEY}, {WRITTEN}", f"{KEY}{OLDER[:3]}"):
        monkeypatch.setenv("AGENTDB_ENCRYPTION_KEYS", keys)
        assert command("keys", "rotate").exit_code == 2, "a weak key is taken"


# URLs


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://{PLACE}:port/x",
        f"postgresql://{PLACE}/x?sslmode={PASSWORD}",
        f"postgresql://{PLACE},box2/x",
        f"postgresql://{PLACE}/x/y",
        f"postgresql://me:{PASSWORD}/{PASSWORD}@box/x",
        f"postgresql://me:{PASSWORD}%00@box/x",
        f"mysql://{PLACE}/x",
        f"{PLACE}/x",
        PASSWORD,
    ],
)
def test_a_bad_url_tells_no_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"url": url, "direct_url": url, "replica_url": url}.items():
        with pytest.raises(BadSettings) as refused:
            agentdb.connect(**{"url": "postgresql://me@box/x", name: value})
        assert told_by(refused.value) == []
    for name in ("DATABASE_URL", "AGENTDB_URL"):
        monkeypatch.setenv(name, url)
        with pytest.raises(BadSettings) as refused:
            agentdb.connect()
        assert told_by(refused.value) == []


def test_what_was_set_up_tells_no_password_however_it_is_shown() -> None:
    url = f"postgresql://{PLACE}/x?sslmode=require"
    database = agentdb.connect(url, direct_url=url, replica_url=url, encryption_keys=f"{KEY},{OLDER}")
    settings = database.settings

    for shown in (database, settings, settings.target, settings.direct, settings.replica, [settings]):
        assert told(f"{shown} {shown!r}") == []
    assert settings.target.display.startswith("postgresql://me@box:5432/x")


async def test_a_server_that_does_not_let_one_in_is_told_without_the_password() -> None:
    for answer in (_refuses, _ends, _babbles):
        async with _server(answer) as (port, asked):
            refused = await _refusal(f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/x?sslmode=disable")
        assert told_by(refused) == []
        assert PASSWORD in asked


async def test_a_server_that_is_not_there_is_told_without_the_password(tmp_path: Path) -> None:
    for place in ("127.0.0.1:1", "nowhere.invalid", "[::1]:1"):
        refused = await _refusal(f"postgresql://me:{PASSWORD}@{place}/x")
        assert isinstance(refused, Unavailable)
        assert told_by(refused) == []
    refused = await _refusal(f"postgresql://me:{PASSWORD}@/x?host={tmp_path}")
    assert told_by(refused) == []


async def test_a_database_or_user_that_is_not_there_is_told_without_the_password(postgresql_url: str) -> None:
    target = parse(postgresql_url, source="url", environment={})
    for changed in (("me", target.database), (target.user, "none")):
        place = f"{target.host}:{target.port}" if not target.host.startswith("/") else ""
        folder = "" if place else f"?host={target.host}&port={target.port}"
        refused = await _refusal(f"postgresql://{changed[0]}:{PASSWORD}@{place}/{changed[1]}{folder}")
        assert told_by(refused) == []


async def _refusal(url: str) -> AgentDBError:
    with pytest.raises(AgentDBError) as refused:
        async with agentdb.connect(url, connect_timeout_seconds=20):
            pass
    return refused.value


Writer = asyncio.StreamWriter


def _refuses(writer: Writer) -> None:
    text = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user\0\0"
    writer.write(b"E" + struct.pack(">I", len(text) + 4) + text)


def _ends(writer: Writer) -> None:
    writer.close()


def _babbles(writer: Writer) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


@asynccontextmanager
async def _server(answer: Callable[[Writer], None]) -> AsyncIterator[tuple[int, list[str]]]:
    """Yield the port of a server that asks for a password, hears it, and answers as it pleases; and what it heard."""
    asked: list[str] = []

    async def meet(reader: asyncio.StreamReader, writer: Writer) -> None:
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        writer.write(b"R" + struct.pack(">II", 8, 3))  # in clear text
        _, length = struct.unpack(">cI", await reader.readexactly(5))
        asked.append((await reader.readexactly(length - 4)).rstrip(b"\0").decode())
        answer(writer)
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()


# Seed files


def _files(table: SeedTable) -> list[str]:
    """Return files in which a secret stands in each column in turn, once with the rest of the row as it should be."""
    fill = dict.fromkeys(table.required(), "1") | {"type": "llm", "name": "n", "key": "k", "resource": "r"}
    found = []
    for column in [*table.columns(), *table.references(), "nothing"]:
        others = {name: text for name, text in fill.items() if name in table.required() and name != column}
        within_json = ('"{""a"": [""env:BROOK_KEY""]}"', '"[""env:BROOK_KEY""]"')
        for value in ("env:BROOK_KEY", *within_json, "env:LONG_KEY", "env:ODD_KEY"):
            found.append(",".join([column, *others]) + "\n" + ",".join([value, *others.values()]) + "\n")
            if "BROOK" in value:
                found.append(f"{column}\n{value}\n")
    return found


@pytest.mark.long
async def test_no_problem_of_a_seed_file_tells_what_a_variable_holds(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROOK_KEY", BROOK)
    monkeypatch.setenv("LONG_KEY", f"{BROOK}@2" * 20)
    monkeypatch.setenv("ODD_KEY", f"{BROOK}\udcff")  # bytes that are no text
    loaded = refused = 0

    for table in TABLES:
        folder = tmp_path / table.name
        folder.mkdir()
        for text in _files(table):
            (folder / table.file).write_text(text, encoding="utf-8")
            (answer,) = await asyncio.gather(db.seed(folder), return_exceptions=True)
            refused += isinstance(answer, BadSeed)
            loaded += isinstance(answer, SeedReport)
            assert isinstance(answer, AgentDBError | SeedReport)
            assert (told_by(answer) if isinstance(answer, AgentDBError) else told(repr(answer))) == [], text
    assert refused > 200
    assert loaded > 20


BAD_ROWS: Final = (
    f"name,api_key,nothing\nbrook,{WRITTEN},1\n",
    f"name,api_key\nbrook,{WRITTEN}\nbrook,{WRITTEN}\n",
    f"id,name,api_key\n1.5,brook,{WRITTEN}\n",
    f"name,api_key\nnull,{WRITTEN}\n",
    f'name,api_key\nbrook,"{WRITTEN}\n',
    f"name,api_key,created_at\nbrook,{WRITTEN},noon\n",
)


async def test_no_problem_of_a_row_tells_the_secret_beside_it(
    db: Database, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    for number, text in enumerate(BAD_ROWS):
        with subtests.test(row=number):
            (tmp_path / "providers.csv").write_text(text, encoding="utf-8")
            with pytest.raises(BadSeed) as refused:
                await db.seed(tmp_path)
            assert told_by(refused.value) == []


# The platform's own form


def _platform_form(secret: str) -> bytes:
    salt, nonce = os.urandom(32), os.urandom(16)
    key = hashlib.scrypt(PASSPHRASE.encode(), salt=salt, n=16384, r=8, p=1, dklen=32)
    hidden = AESGCM(key).encrypt(nonce, secret.encode(), None)
    return salt + nonce + hidden[-16:] + hidden[:-16]


async def test_a_key_that_is_taken_over_from_the_platform_is_told_by_nothing(db: Database) -> None:
    user, provider = await make_user(db), await db.catalog.providers.create("openai")
    stored = _platform_form(PLATFORM)
    text = plant(base64.b64encode(stored).decode())
    altered = base64.b64encode(stored[:-1] + bytes([stored[-1] ^ 1])).decode()

    for form, passphrase in (
        (text, f"{PASSPHRASE}x"),
        (altered, PASSPHRASE),
        (f"{text}!", PASSPHRASE),
        (text[:40], ""),
    ):
        with pytest.raises(AgentDBError) as refused:
            open_platform_form(form, passphrase)
        assert told_by(refused.value) == []
    with pytest.raises(DecryptionFailed):
        open_platform_form(text, f"{PASSPHRASE}x")
    opened = open_platform_form(text, PASSPHRASE)
    entry = await db.supervisor.api_keys.store_provider_key(user.id, provider.id, "main", opened, by=None)

    assert await db.supervisor.api_keys.reveal(entry.id, by=None) == PLATFORM
    assert told(repr(entry)) == []
