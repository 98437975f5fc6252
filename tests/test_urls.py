"""Database URLs: what each form means, and what asyncpg is given."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from asyncpg.connect_utils import _parse_connect_arguments

from agentdb import urls
from agentdb.urls import Target

PASSWORD = "hunter2"


def read(url: str) -> Target:
    return urls.parse(url, source="url", environment={"PGUSER": "login"})


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "POSTGRESQL"])
def test_every_postgresql_scheme_is_read(scheme: str) -> None:
    target = read(f"{scheme}://me:p%40ss%2Fw%C3%B6rd@box:6000/na%20me?application_name=worker")

    assert target.connect_arguments() == {
        "host": "box",
        "port": 6000,
        "user": "me",
        "password": "p@ss/wörd",
        "database": "na me",
        "ssl": "prefer",
        "server_settings": {"application_name": "worker"},
    }


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgresql://[::1]:5432/x", "::1"),
        ("postgresql:///x?host=/run/postgresql", "/run/postgresql"),
        ("postgresql://%2Frun%2Fpostgresql/x", "/run/postgresql"),
        ("postgresql:///x", "localhost"),
    ],
)
def test_hosts_may_be_addresses_and_sockets(url: str, host: str) -> None:
    assert read(url).host == host


def test_a_schema_becomes_the_search_path() -> None:
    target = read('postgresql://box/x?schema=te"am')

    assert target.schema == 'te"am'
    assert target.connect_arguments()["server_settings"]["search_path"] == '"te""am", public'


def test_certificates_reach_asyncpg(tmp_path: Path) -> None:
    root = tmp_path / "root.crt"
    root.touch()
    arguments = read(f"postgresql://box/x?sslmode=verify-full&sslrootcert={root}").connect_arguments()

    assert arguments["ssl"] == "verify-full"
    assert arguments["dsn"] == f"postgresql://?sslrootcert={str(root).replace('/', '%2F')}"
    with pytest.raises(Exception, match=r"no certificate|NO_CERTIFICATE"):  # the empty file was loaded
        parsed(arguments)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
def test_asyncpg_takes_every_ssl_mode(mode: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = read(f"postgresql://u:{PASSWORD}@box:77/x?sslmode={mode}").connect_arguments()

    if mode.startswith("verify"):
        with pytest.raises(Exception, match="root certificate file"):
            parsed(arguments)
    else:
        addresses, parameters = parsed(arguments)
        assert addresses == [("box", 77)]
        assert parameters.sslmode.name == mode
        assert (parameters.user, parameters.password, parameters.database) == ("u", PASSWORD, "x")


def parsed(arguments: dict[str, Any]) -> tuple[Any, Any]:
    """Return what asyncpg makes of our arguments."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(asyncpg.connect).parameters.items()
        if name in inspect.signature(_parse_connect_arguments).parameters
    }
    addresses, parameters, _ = _parse_connect_arguments(**{**defaults, **arguments})
    return addresses, parameters


def test_a_socket_carries_no_tls() -> None:
    target = read("postgresql:///x?host=/run/postgresql&sslmode=require&port=5433")

    assert target.ssl_mode == "disable"
    assert target.display == "postgresql://login@:5433/x?host=/run/postgresql"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///relative.db", "relative.db"),
        ("sqlite:////abs/file.db", "/abs/file.db"),
        ("sqlite+aiosqlite:///sub/file.db", "sub/file.db"),
        ("sqlite+aiosqlite:////abs/100%.db", "/abs/100%.db"),
        ("file:./dev.db", "dev.db"),
        ("file:dev.db", "dev.db"),
        ("file:///abs/my%20file.db", "/abs/my file.db"),
    ],
)
def test_every_file_form_is_read(url: str, path: str) -> None:
    target = read(url)

    assert (target.kind, target.path) == ("sqlite", Path.cwd() / path)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://:memory:",
        "sqlite+aiosqlite:///:memory:",
        "sqlite+aiosqlite://",
        "file::memory:",
    ],
)
def test_every_form_in_memory_is_read(url: str) -> None:
    target = read(url)

    assert (target.kind, target.path, target.display) == ("memory", None, "sqlite://")


def test_an_embedded_server_is_a_folder() -> None:
    target = read("embedded:///srv/agents")

    assert (target.kind, target.path, str(target)) == ("embedded", Path("/srv/agents"), "embedded:///srv/agents")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40%2Fs@box:6000/x?schema=team&application_name=a+b&sslmode=require",
        "postgresql://u@:5433/x?host=/run/postgresql",
        "postgresql://u@[::1]:5432/x",
        "sqlite:////abs/file.db",
        "sqlite://",
        "embedded:///srv/agents",
    ],
)
def test_a_target_writes_the_url_it_is_read_from(url: str) -> None:
    target = read(url)

    assert target.secret_url() == url
    assert read(target.secret_url()) == target
