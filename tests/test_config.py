"""Settings: which database the environment means, what is refused, and what is never told."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import traceback
from pathlib import Path
from typing import Any

import pytest

from agentdb.config import Settings, prepare_folder, require_sqlite
from agentdb.errors import BadSettings

PASSWORD = "hunter2"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment that names no database, and a working directory of its own."""
    for name in list(os.environ):
        if name.upper().startswith(("AGENTDB_", "PG")) or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("PGUSER", "login")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(url: str | None = None, **overrides: Any) -> str:
    """Load settings that are refused, and return the message; nothing that is raised may hold the password."""
    with pytest.raises(BadSettings) as caught:
        Settings.load(url, **overrides)
    assert PASSWORD not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value)


# Which database


def test_without_any_setting_it_is_a_file_in_the_folder(bare: Path) -> None:
    target = Settings.load().target

    assert (target.kind, target.path, target.source) == ("sqlite", bare / "data" / "agentdb.db", "AGENTDB_FOLDER")


def test_the_folder_moves_the_file(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setenv("AGENTDB_FOLDER", str(bare / "elsewhere"))

    assert Settings.load().target.path == bare / "elsewhere" / "agentdb.db"


def test_the_first_source_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "from-pghost")
    assert (Settings.load().target.host, Settings.load().target.source) == ("from-pghost", "PGHOST")

    monkeypatch.setenv("DATABASE_URL", "postgres://from-database-url/x")
    assert (Settings.load().target.host, Settings.load().target.source) == ("from-database-url", "DATABASE_URL")

    monkeypatch.setenv("AGENTDB_URL", "postgres://from-agentdb-url/x")
    assert (Settings.load().target.host, Settings.load().target.source) == ("from-agentdb-url", "AGENTDB_URL")

    explicit = Settings.load("postgres://explicit/x").target
    assert (explicit.host, explicit.source) == ("explicit", "url")


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGENTDB_URL", "DATABASE_URL", "PGHOST", "AGENTDB_POOL_SIZE", "AGENTDB_FOLDER", "AGENTDB_REPLICA_URL"):
        monkeypatch.setenv(name, "")

    settings = Settings.load()

    assert settings.target.kind == "sqlite"
    assert settings.pool_size == 10


def test_pghost_brings_its_companions(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    (bare / "root.crt").touch()
    companions = {
        "PGHOST": "db.internal",
        "PGPORT": "6543",
        "PGDATABASE": "agents",
        "PGUSER": "writer",
        "PGPASSWORD": PASSWORD,
        "PGSSLMODE": "verify-ca",
        "PGSSLROOTCERT": str(bare / "root.crt"),
    }
    for name, value in companions.items():
        monkeypatch.setenv(name, value)

    target = Settings.load().target

    assert target.display == (
        f"postgresql://writer@db.internal:6543/agents?sslmode=verify-ca&sslrootcert={bare}/root.crt"
    )
    assert target.connect_arguments()["password"] == PASSWORD


def test_what_a_url_leaves_out_comes_from_libpqs_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGPORT", "1234")

    target = Settings.load("postgresql://box:5555").target

    assert target.display == "postgresql://login@box:5555/login?sslmode=verify-full"
    assert target.connect_arguments()["password"] == PASSWORD


# What is refused


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "not a database URL"),
        ("  ", "not a database URL"),
        ("agentdb.db", "not a database URL"),
        (f"mysql://root:{PASSWORD}@box/x", "unknown scheme mysql://"),
        (f"me:{PASSWORD}@box/x", "unknown scheme;"),
        (f"postgresql:me:{PASSWORD}@box", "unknown scheme;"),
        (f"postgresql://me:{PASSWORD}@box:port/x", "bad port"),
        (f"postgresql://me:{PASSWORD}@box:0/x", "bad port"),
        (f"postgresql://me:{PASSWORD}@box:65536/x", "bad port"),
        (f"postgresql://me:{PASSWORD}", "bad port"),
        (f"postgresql://me:{PASSWORD}/{PASSWORD}@box/x", "%2F"),
        (f"postgresql://me:{PASSWORD}?{PASSWORD}=1@box/x", "%3F"),
        (f"postgresql://me:{PASSWORD}#{PASSWORD}@box/x", "%23"),
        (f"postgresql://me:{PASSWORD}@{PASSWORD}@box/x", "%40"),
        (f"postgresql://me:{PASSWORD}@box/x/y", "cannot be read"),
        (f"postgresql://me:{PASSWORD}@box1,box2/x", "several hosts"),
        (f"postgresql://me:{PASSWORD}@box/x?pool=5", "unknown parameter 'pool'"),
        (f"postgresql://me:{PASSWORD}@box/x?schema=", "without a value"),
        (f"postgresql://me:{PASSWORD}@box/x?schema=a&schema=b", "twice"),
        (f"postgresql://me:{PASSWORD}@box/x?sslmode=always", "bad sslmode"),
        (f"postgresql://me:{PASSWORD}@box/x?sslrootcert=/none.crt", "/none.crt"),
        (f"postgresql://me:{PASSWORD}%00@box/x", "NUL"),
        ("sqlite://file.db", "lacks a slash"),
        ("sqlite:///file.db?mode=ro", "parameters"),
        ("embedded://folder", "absolute folder"),
        ("embedded:///", "absolute folder"),
    ],
)
def test_a_bad_url_names_its_setting_and_no_password(url: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(url)
    assert message.startswith("url ")
    assert told in message

    for source in ("DATABASE_URL", "AGENTDB_URL"):
        if url:
            monkeypatch.setenv(source, url)
            assert refusal().startswith(f"{source} ")


@pytest.mark.parametrize(
    ("name", "value"),
    [("PGPORT", "five"), ("PGSSLMODE", "always"), ("PGSSLROOTCERT", "/none.crt"), ("PGHOST", "one,two")],
)
def test_a_bad_variable_of_libpq_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "box")
    monkeypatch.setenv(name, value)

    assert refusal().startswith(f"{name} ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pool_size", "0"),
        ("pool_size", PASSWORD),
        ("pool_timeout_seconds", "0"),
        ("connect_timeout_seconds", "-1"),
        ("statement_timeout_seconds", "nan"),
        ("lock_timeout_seconds", "inf"),
        ("idle_in_transaction_timeout_seconds", "1e12"),
        ("pooler", "session"),
        ("sqlite_synchronous", "off"),
        ("sqlite_readers", "0"),
        ("sqlite_busy_timeout_seconds", "-0.5"),
        ("sqlite_inline_reads", PASSWORD),
        ("migrate", "sometimes"),
        ("joining", "perhaps"),
        ("page_limit", "0"),
        ("retry_attempts", "0"),
        ("seed", "always"),
    ],
)
def test_a_bad_value_names_its_setting_and_is_not_repeated(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal(**{name: value}).startswith(f"AGENTDB_{name.upper()}: ")

    monkeypatch.setenv(f"AGENTDB_{name.upper()}", value)
    assert refusal().startswith(f"AGENTDB_{name.upper()}: ")


def test_an_unknown_override_is_refused_with_a_guess() -> None:
    assert refusal(pool_sise=3) == "there is no setting pool_sise; pool_size is meant?"


def test_the_other_urls_are_refused_by_their_names() -> None:
    assert refusal("postgres://box/x", replica_url=f"postgres://u:{PASSWORD}@b:x/y").startswith("AGENTDB_REPLICA_URL ")
    assert refusal("postgres://box/x", direct_url="sqlite://").startswith("AGENTDB_DIRECT_URL ")


def test_a_folder_that_cannot_be_made_names_its_setting(bare: Path) -> None:
    (bare / "file").touch()

    with pytest.raises(BadSettings, match=r"AGENTDB_FOLDER: the folder .*/file/data cannot be made"):
        prepare_folder(bare / "file" / "data", setting="AGENTDB_FOLDER")


def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_sqlite()

    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(BadSettings, match=r"3\.38"):
        require_sqlite()


# What is promised otherwise


def test_no_representation_holds_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [hashlib.sha256(word).hexdigest() for word in (b"newest", b"older")]
    monkeypatch.setenv("AGENTDB_ENCRYPTION_KEYS", f"{keys[0]}, {keys[1]},")
    url = f"postgresql://me:{PASSWORD}@box/x"
    settings = Settings.load(url, direct_url=url, replica_url=url)

    assert [key.get_secret_value() for key in settings.encryption_keys] == keys
    for seen in (settings, settings.target, settings.direct, settings.replica, settings.encryption_keys):
        assert all(secret not in f"{seen} {seen!r}" for secret in (PASSWORD, *keys))


def test_the_replica_and_the_direct_way_are_optional() -> None:
    alone = Settings.load("postgres://box/x")
    assert alone.replica is None
    assert alone.direct == alone.target

    both = Settings.load("postgres://box/x", direct_url="postgres://direct/x", replica_url="postgres://replica/x")
    assert both.direct.host == "direct"
    assert both.replica is not None
    assert both.replica.host == "replica"

    ignored = Settings.load("sqlite://", direct_url="postgres://direct/x", replica_url="postgres://replica/x")
    assert (ignored.direct.kind, ignored.replica) == ("memory", None)


def test_an_override_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTDB_POOL_SIZE", "7")
    monkeypatch.setenv("AGENTDB_MIGRATE", "never")

    assert Settings.load().pool_size == 7
    assert Settings.load(pool_size=3).pool_size == 3
    assert Settings.load().migrate == "never"


def test_a_dotenv_file_is_not_read(bare: Path) -> None:
    (bare / ".env").write_text("AGENTDB_POOL_SIZE=3\n")

    assert Settings.load().pool_size == 10


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.load().pool_size = 3


def test_a_made_folder_is_its_owners_alone(bare: Path) -> None:
    prepare_folder(bare / "one" / "two", setting="AGENTDB_FOLDER")
    prepare_folder(bare / "one" / "two", setting="AGENTDB_FOLDER")

    assert (bare / "one" / "two").stat().st_mode & 0o777 == 0o700


def test_settings_over_another_database_leave_the_first_alone() -> None:
    settings = Settings.load("embedded:///srv/agents", pool_size=3)

    other = settings.over(Settings.load("postgres://box/x").target)

    assert (other.target.host, other.direct.host, other.pool_size) == ("box", "box", 3)
    assert settings.target.kind == "embedded"
