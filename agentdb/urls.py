"""Database URLs: what each form means, and what a connection needs to know of it."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode

from pydantic import SecretStr

from agentdb.errors import BadSettings

Kind = Literal["sqlite", "memory", "postgresql", "embedded"]

FORMS: Final = "postgresql://user:password@host:5432/name, sqlite:///path/to/file.db, sqlite:// or embedded:///folder"
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# One place for each: the query parameter, and the environment variable libpq would take it from.
SSL_VARIABLES: Final = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}
PARAMETERS: Final = {*SSL_VARIABLES, "host", "port", "schema", "application_name"}

_postgresql_schemes: Final = {"postgresql", "postgres", "postgresql+asyncpg"}
_sqlite_schemes: Final = {"sqlite", "sqlite+aiosqlite"}
_location: Final = re.compile(
    r"(?:(?P<user>[^:/?#@]*)(?::(?P<password>[^@]*))?@)?"
    r"(?P<host>\[[^\]/?#@]*\]|[^:/?#@\[\]]*)(?::(?P<port>[^/?#@]*))?"
    r"(?:/(?P<database>[^/?#@]*))?(?:\?(?P<query>[^#@]*))?"
)


@dataclass(frozen=True, slots=True)
class Target:
    """One database and how to reach it. Its text and its repr never show the password."""

    kind: Kind
    source: str  # the setting it came from, for messages
    path: Path | None = None  # of the SQLite file, or of the embedded server's folder; absolute
    host: str = ""  # a name, an address, or the folder of a Unix socket
    port: int = 5432
    user: str = ""
    password: SecretStr | None = None
    database: str = ""
    schema: str | None = None  # None: the server's own search path
    application_name: str = "agentdb"
    ssl_mode: str = "prefer"
    ssl_root_certificate: str | None = None
    ssl_certificate: str | None = None
    ssl_key: str | None = None

    def __str__(self) -> str:
        return self.display

    @property
    def display(self) -> str:
        """The URL without its password: for messages and for people."""
        return self._render("")

    @property
    def system(self) -> str:
        """What answers: sqlite or postgresql, however it is reached."""
        return "sqlite" if self.kind in {"sqlite", "memory"} else "postgresql"

    def secret_url(self) -> str:
        """Return the URL with its password: for another process, never for a message or a log."""
        return self._render("" if self.password is None else ":" + quote(self.password.get_secret_value(), safe=""))

    def with_database(self, name: str) -> Target:
        """Return another database of the same server."""
        return replace(self, database=name)

    def connect_arguments(self) -> dict[str, Any]:
        """Return what `asyncpg.connect` takes, the password among it.

        asyncpg reads the modes of TLS as libpq does, but takes certificates only from a DSN: one that holds nothing
        else carries them.
        """
        settings = {"application_name": self.application_name}
        if self.schema is not None:
            # public stays on the path: that is where an administrator usually puts pgvector.
            settings["search_path"] = '"{}", public'.format(self.schema.replace('"', '""'))
        arguments: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": None if self.password is None else self.password.get_secret_value(),
            "database": self.database,
            "ssl": self.ssl_mode,
            "server_settings": settings,
        }
        if files := self._ssl_files():
            arguments["dsn"] = "postgresql://?" + urlencode(files)
        return arguments

    def _ssl_files(self) -> dict[str, str]:
        files = {"sslrootcert": self.ssl_root_certificate, "sslcert": self.ssl_certificate, "sslkey": self.ssl_key}
        return {name: file for name, file in files.items() if file}

    def _render(self, password: str) -> str:
        if self.kind == "memory":
            return "sqlite://"
        if self.kind == "sqlite":
            return f"sqlite:///{self.path}"
        if self.kind == "embedded":
            return f"embedded://{self.path}"
        query: dict[str, str] = {}
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.host.startswith("/"):
            query["host"], host = self.host, ""
        if self.schema is not None:
            query["schema"] = self.schema
        if self.application_name != "agentdb":
            query["application_name"] = self.application_name
        if self.ssl_mode != ("disable" if self.host.startswith("/") else "prefer"):
            query["sslmode"] = self.ssl_mode
        query |= self._ssl_files()
        place = f"{quote(self.user, safe='')}{password}@{host}:{self.port}/{quote(self.database, safe='')}"
        return f"postgresql://{place}{'?' + urlencode(query, safe='/') if query else ''}"


def parse(url: str, *, source: str, environment: Mapping[str, str]) -> Target:
    """Return the database a URL names.

    What a PostgreSQL URL leaves out comes from PGUSER, PGPASSWORD, PGSSLMODE and their like, as with libpq.

    Args: source: the setting the URL came from, for messages. environment: `os.environ`, or one of a test.
    Raises: BadSettings naming the setting, and never a part of the URL that may hold a password.
    """
    scheme, colon, rest = url.strip().partition(":")
    scheme = scheme.lower()
    if not colon:
        raise BadSettings(f"{source} is not a database URL; expected {FORMS}")
    if scheme in _postgresql_schemes and rest.startswith("//"):
        return _server(rest[2:], source, environment)
    if scheme in _sqlite_schemes and rest.startswith("//"):
        return _sqlite(rest[2:], source)
    if scheme == "file" and rest:
        return _file(unquote(rest), source)
    if scheme == "embedded" and rest.startswith("//"):
        return _embedded(rest[2:], source)
    # Only what is surely a scheme is repeated: "user:secret@host" would put a password here.
    named = f" {scheme}://" if rest.startswith("//") and re.fullmatch(r"[a-z][a-z0-9+]*", scheme) else ""
    raise BadSettings(f"{source} has an unknown scheme{named}; expected {FORMS}")


def from_variables(environment: Mapping[str, str]) -> Target:
    """Return the PostgreSQL database that PGHOST and its companions name.

    Raises: BadSettings naming the variable.
    """
    return _complete({"host": environment["PGHOST"]}, source="PGHOST", environment=environment)


def sqlite_file(path: Path, *, source: str) -> Target:
    """Return the database in a file, wherever the process goes afterwards."""
    return Target(kind="sqlite", source=source, path=path.absolute())


def _sqlite(rest: str, source: str) -> Target:
    rest = _without_parameters(rest, source)
    if rest in {"", "/", ":memory:", "/:memory:"}:
        return Target(kind="memory", source=source)
    if not rest.startswith("/"):
        raise BadSettings(f"{source} lacks a slash; expected sqlite:///relative.db or sqlite:////absolute.db")
    return sqlite_file(Path(rest[1:]), source=source)


def _file(rest: str, source: str) -> Target:
    path = _without_parameters(rest, source)
    if path == ":memory:":
        return Target(kind="memory", source=source)
    return sqlite_file(Path(path.removeprefix("//")), source=source)


def _embedded(rest: str, source: str) -> Target:
    path = _without_parameters(rest, source)
    if not path.startswith("/") or path == "/":
        raise BadSettings(f"{source} needs an absolute folder; expected embedded:///path/to/folder")
    return Target(kind="embedded", source=source, path=Path(path))


def _without_parameters(rest: str, source: str) -> str:
    path, _, parameters = rest.partition("?")
    if parameters:
        raise BadSettings(f"{source} has parameters, which only a PostgreSQL URL takes; remove what follows the ?")
    if "\0" in path:
        raise BadSettings(f"{source} holds a NUL character; remove it")
    return path


def _server(rest: str, source: str, environment: Mapping[str, str]) -> Target:
    found = _location.fullmatch(rest)
    if found is None or re.search(r"[/?#]", found["password"] or ""):
        raise BadSettings(
            f"{source} cannot be read as postgresql://user:password@host:5432/name (one host); "
            "in a password, / ? # @ are written %2F %3F %23 %40"
        )
    host, port = (found["host"] or "").strip("[]"), found["port"]
    parts = {"host": host, "port": port, "user": found["user"], "database": found["database"]}
    given = {name: unquote(value) for name, value in parts.items() if value}
    for name, value in parse_qsl(found["query"] or "", keep_blank_values=True):
        if name not in PARAMETERS:
            raise BadSettings(
                f"{source} has an unknown parameter {name!r}; known are {', '.join(sorted(PARAMETERS))}: remove it"
            )
        if not value or name in given:
            raise BadSettings(f"{source} has the parameter {name} {'twice' if value else 'without a value'}")
        given[name] = value
    if found["password"]:
        given["password"] = unquote(found["password"])
    return _complete(given, source=source, environment=environment)


def _complete(given: Mapping[str, str], *, source: str, environment: Mapping[str, str]) -> Target:
    """Return a server's database, what the URL leaves out taken from libpq's variables and defaults."""

    def choose(name: str, variable: str, default: str = "") -> tuple[str, str]:
        if name in given:
            return given[name], source
        return environment.get(variable) or default, variable

    if any("\0" in value for value in given.values()):
        raise BadSettings(f"{source} holds a NUL character; remove it")
    host, host_source = choose("host", "PGHOST", "localhost")
    if "," in host:
        raise BadSettings(f"{host_source} names several hosts; one is supported")
    port, port_source = choose("port", "PGPORT", "5432")
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65_535):
        raise BadSettings(f"{port_source} has a bad port; expected a number from 1 to 65535")
    mode, mode_source = choose("sslmode", "PGSSLMODE", "prefer")
    if mode not in SSL_MODES:
        raise BadSettings(f"{mode_source} has a bad sslmode; expected one of {', '.join(SSL_MODES)}")
    user = choose("user", "PGUSER")[0] or _login(source)
    password = choose("password", "PGPASSWORD")[0]
    socket = host.startswith("/")  # a Unix socket carries no TLS, whatever the mode says: as with libpq
    return Target(
        kind="postgresql",
        source=source,
        host=host,
        port=int(port),
        user=user,
        password=SecretStr(password) if password else None,
        database=choose("database", "PGDATABASE", user)[0],
        schema=given.get("schema"),
        application_name=choose("application_name", "PGAPPNAME", "agentdb")[0],
        ssl_mode="disable" if socket else mode,
        ssl_root_certificate=None if socket else _certificate(*choose("sslrootcert", "PGSSLROOTCERT")),
        ssl_certificate=None if socket else _certificate(*choose("sslcert", "PGSSLCERT")),
        ssl_key=None if socket else _certificate(*choose("sslkey", "PGSSLKEY")),
    )


def _certificate(file: str, source: str) -> str | None:
    if file and not (Path(file).is_file() and os.access(file, os.R_OK)):
        raise BadSettings(f"{source} names a certificate or key, {file}, that is not a readable file")
    return file or None


def _login(source: str) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise BadSettings(f"{source} names no user and this process has no login name; set PGUSER") from None
