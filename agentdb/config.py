"""The settings: which database, and how it is used. Read from the environment, once."""

from __future__ import annotations

import difflib
import os
import sqlite3
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from agentdb import keys, urls
from agentdb.errors import BadSettings
from agentdb.urls import Target

OLDEST_SQLITE: Final = (3, 38)

# The upper end is what PostgreSQL can hold in milliseconds; below one of them it would mean "no limit".
Seconds = Annotated[float, Field(ge=0.001, le=2_147_483, allow_inf_nan=False)]


class Settings(BaseSettings):
    """How agentdb is set up: each field is AGENTDB_ and its name in capitals, or a keyword of `load`.

    The database is the first of: the URL passed, AGENTDB_URL, DATABASE_URL, PGHOST with its companions, and the SQLite
    file agentdb.db in `folder`. A variable that is set to nothing counts as unset.
    """

    model_config = SettingsConfigDict(
        env_prefix="AGENTDB_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    url: str | None = Field(default=None, repr=False)
    """The database, in any form `urls.parse` reads; None: whatever the environment says."""

    folder: Path = Path("./data")
    """Where files live: the SQLite database when nothing else is named, and attachments."""

    pool_size: int = Field(default=10, ge=1, le=10_000)
    """Connections to PostgreSQL, at most, per process (and as many to the replica)."""

    pool_timeout_seconds: Seconds = 30.0
    """How long a call waits for a free connection."""

    connect_timeout_seconds: Seconds = 10.0
    """How long connecting may take."""

    statement_timeout_seconds: Seconds = 30.0
    """How long one statement may run: on PostgreSQL any, on SQLite a read."""

    lock_timeout_seconds: Seconds = 10.0
    """How long a statement waits for a lock of PostgreSQL."""

    idle_in_transaction_timeout_seconds: Seconds = 60.0
    """How long an open transaction on PostgreSQL may do nothing."""

    pooler: Literal["none", "transaction"] = "none"
    """What stands before PostgreSQL: a pooler in transaction mode keeps no session state and no prepared statements."""

    direct_url: str | None = Field(default=None, repr=False)
    """PostgreSQL past the pooler, for migrations and LISTEN; ignored on SQLite."""

    replica_url: str | None = Field(default=None, repr=False)
    """A PostgreSQL replica that answers the read door; ignored on SQLite."""

    slow_query_seconds: float = Field(default=0, ge=0, le=2_147_483, allow_inf_nan=False)
    """How long a statement may take before it is logged, without its parameters; 0: none is."""

    long_transaction_seconds: float = Field(default=5, ge=0, le=2_147_483, allow_inf_nan=False)
    """How long a write transaction may stay open before that is logged, with where its task is; 0: for ever."""

    sqlite_synchronous: Literal["normal", "full"] = "normal"
    """normal survives a killed process, full also a power cut, at one fsync for each commit."""

    sqlite_readers: int = Field(default=2, ge=1, le=64)
    """Reader connections on SQLite, each with a thread of its own."""

    sqlite_busy_timeout_seconds: Seconds = 30.0
    """How long a write waits for another process that writes the same file."""

    sqlite_inline_reads: bool = True
    """Whether point reads on SQLite run in the event loop, under a budget, instead of on a thread."""

    migrate: Literal["auto", "never"] = "auto"
    """Whether connecting brings the schema up to date, or only checks it."""

    backup_before_migrate: bool = False
    """Whether a SQLite file is copied to backups in `folder` before it is migrated: what `agentdb restore` takes."""

    service: str | None = None
    """The service this process is, such as gateway: what it does not own it may not write (`agentdb.services`), and it
    neither migrates nor seeds on connecting, it checks: `agentdb migrate` runs as the owner of the tables. None: all of
    them at once, without limits."""

    joining: bool = True
    """Whether single calls that arrive together are answered together."""

    page_limit: int = Field(default=1000, ge=1, le=100_000)
    """The cap on the limit of every list."""

    retry_attempts: int = Field(default=5, ge=1, le=100)
    """How often a unit is tried when other transactions are in its way, the first time included."""

    encryption_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(default=(), repr=False)
    """The keys of secret columns, newest first, comma separated: the first seals, all open; see `agentdb keys`."""

    seed: Literal["auto", "never"] = "never"
    """Whether connecting loads the shipped seed files into an empty database."""

    _target: Target = PrivateAttr()
    _direct: Target | None = PrivateAttr(default=None)
    _replica: Target | None = PrivateAttr(default=None)

    @classmethod
    def load(cls, url: str | None = None, **overrides: Any) -> Settings:
        """Return the settings of this process: what is passed, before what the environment says.

        Args: overrides: any other field by its name.
        Raises: BadSettings naming the setting; a value that may be secret is not repeated.
        """
        for name in overrides.keys() - cls.model_fields.keys():
            near = difflib.get_close_matches(name, cls.model_fields, n=1)
            raise BadSettings(f"there is no setting {name}" + (f"; {near[0]} is meant?" if near else ""))
        if url is not None:
            overrides["url"] = url
        try:
            return cls(**overrides)
        except ValidationError as error:
            # Not chained: pydantic's error carries the input, which may be a password.
            told = "; ".join(_tell(found["loc"], found["msg"]) for found in error.errors(include_input=False))
        raise BadSettings(told)

    @field_validator("encryption_keys", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(key for part in value.split(",") if (key := part.strip()))
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _refuse_weak(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for place, key in enumerate(value, 1):
            keys.material(key.get_secret_value(), place=place)
        return value

    def model_post_init(self, _: Any, /) -> None:
        """Settle which database is meant, so that a bad URL is refused here and not at the first call."""
        self._target = self._choose()
        if self._target.kind == "postgresql":
            self._direct = _server("AGENTDB_DIRECT_URL", self.direct_url)
            self._replica = _server("AGENTDB_REPLICA_URL", self.replica_url)

    def _choose(self) -> Target:
        environment = os.environ
        if self.url is not None:
            source = "AGENTDB_URL" if self.url == environment.get("AGENTDB_URL") else "url"
            return urls.parse(self.url, source=source, environment=environment)
        if url := environment.get("DATABASE_URL"):
            return urls.parse(url, source="DATABASE_URL", environment=environment)
        if environment.get("PGHOST"):
            return urls.from_variables(environment)
        return urls.sqlite_file(self.folder / "agentdb.db", source="AGENTDB_FOLDER")

    def over(self, target: Target) -> Settings:
        """Return the same settings for another database, which has no pooler and no replica."""
        alone = {"direct_url": None, "replica_url": None, "pooler": "none", "backup_before_migrate": False}
        settings = self.model_copy(update=alone)
        settings._target = target  # noqa: SLF001 (its own class)
        settings._direct = settings._replica = None  # noqa: SLF001
        return settings

    @property
    def target(self) -> Target:
        """The database."""
        return self._target

    @property
    def attachments(self) -> Path | None:
        """The folder of attachments' files; None: a temporary one, which goes with a database in memory."""
        return None if self._target.kind == "memory" else self.folder.absolute() / "attachments"

    @property
    def direct(self) -> Target:
        """The database past any pooler: for migrations, LISTEN and session locks."""
        return self._direct or self._target

    @property
    def replica(self) -> Target | None:
        """The replica of the database, if there is one."""
        return self._replica


def _server(source: str, url: str | None) -> Target | None:
    if url is None:
        return None
    target = urls.parse(url, source=source, environment=os.environ)
    if target.kind != "postgresql":
        raise BadSettings(f"{source} is not a PostgreSQL URL, but the database is PostgreSQL")
    return target


def _tell(location: tuple[int | str, ...], message: str) -> str:
    """Return what is wrong with a field, without the value."""
    field = str(location[0])
    return f"AGENTDB_{field.upper()}: {message[:1].lower()}{message[1:]}"


def prepare_folder(folder: Path, *, setting: str) -> None:
    """Make a folder that only its owner may enter, unless it is there, and see that files can be made in it.

    Args: setting: what named the folder, for the message.
    Raises: BadSettings naming the setting.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings(f"{setting}: the folder {folder} cannot be made ({error.strerror})") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadSettings(f"{setting}: the folder {folder} cannot be written by this user; change its owner or mode")


def require_sqlite() -> None:
    """Refuse a SQLite that lacks what the statements use.

    Raises: BadSettings when Python's SQLite is older than 3.38.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise BadSettings(
            f"SQLite {sqlite3.sqlite_version} is too old, 3.38 is the oldest that is supported; "
            "use a newer Python, or PostgreSQL through AGENTDB_URL"
        )
