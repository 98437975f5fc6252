"""``agentdb grants``: what PostgreSQL has to be told so that a service may do what is its own, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import typer
from sqlalchemy import Table

from agentdb.cli.application import app, examples, failed, settings_of, write_json
from agentdb.engine.dialects import POSTGRESQL
from agentdb.engine.schema.ddl import FUNCTIONS
from agentdb.errors import AgentDBError, BadInput
from agentdb.models import tables
from agentdb.services import Service, named

LONGEST_NAME: Final = 63  # bytes of an identifier; the server would cut the rest off and mean another role

_quote: Final = POSTGRESQL.identifier_preparer.quote_identifier


@dataclass(frozen=True, slots=True)
class Grants:
    """What a role has to be granted to be a service."""

    service: str
    role: str
    schema: str
    statements: Sequence[str]


@app.command(
    epilog=examples("agentdb grants --service gateway | psql", "agentdb grants --service worker --role worker_7 --json")
)
def grants(
    context: typer.Context,
    service: Annotated[str, typer.Option(help="Which service, such as gateway.")],
    role: Annotated[str | None, typer.Option(help="The role it connects as; the service's name unless given.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Write the statements as JSON.")] = False,
) -> None:
    """Print the statements that give a role of PostgreSQL what a service needs; the owner of the tables runs them.

    The role must exist. They take away first and then give, in one transaction: run them again after each migration.
    On SQLite there is nothing to grant: there, and everywhere, AGENTDB_SERVICE has the library refuse the rest.
    """
    schema = settings_of(context).target.schema or "public"
    try:
        granted = granted_to(named(service), role=role if role is not None else service, schema=schema)
    except AgentDBError as error:
        raise failed(error) from None
    if json:
        write_json(granted)
    else:
        sys.stdout.write("".join(f"{statement};\n" for statement in granted.statements))


def granted_to(service: Service, *, role: str, schema: str) -> Grants:
    """Return the statements that make a role a service: the same again whenever they are run.

    Raises: BadInput for a name that no role can have.
    """
    _refuse_name("role", role)
    _refuse_name("schema", schema)
    return Grants(service.name, role, schema, [*_statements(service, _quote(role), _quote(schema))])


def _refuse_name(what: str, name: str) -> None:
    if not name or not name.isprintable() or len(name.encode()) > LONGEST_NAME:
        raise BadInput(f"the {what} {name!r} is no name; expected 1 to {LONGEST_NAME} bytes of printable text")


def _statements(service: Service, role: str, schema: str) -> Iterator[str]:
    """Yield them: within one transaction, so that nobody is refused in between."""

    def within(names: Iterable[str]) -> str:
        return ", ".join(f"{schema}.{_quote(name)}" for name in names)

    everything, sequences = within(tables), within(f"{name}_id_seq" for name in tables if _is_numbered(name))
    functions = ", ".join(f"{schema}.{signature}" for signature in FUNCTIONS)
    yield "BEGIN"
    yield f"REVOKE ALL ON TABLE {everything} FROM {role}"
    yield f"REVOKE ALL ON SEQUENCE {sequences} FROM {role}"
    yield f"REVOKE ALL ON FUNCTION {functions} FROM {role}"
    yield f"REVOKE ALL ON SCHEMA {schema} FROM {role}"
    yield f"GRANT USAGE ON SCHEMA {schema} TO {role}"
    yield f"GRANT EXECUTE ON FUNCTION {functions} TO {role}"
    for name, model in tables.items():
        table: Table = model.__table__  # type: ignore[assignment]
        if privileges := _privileges(service, table):
            yield f"GRANT {privileges} ON TABLE {within([name])} TO {role}"
    # Identity columns count by themselves; only who brings ids of his own has to move the count.
    if service.brings_ids:
        numbered = within(f"{name}_id_seq" for name in tables if name in service.writes and _is_numbered(name))
        yield f"GRANT SELECT, UPDATE ON SEQUENCE {numbered} TO {role}"
    yield "COMMIT"


def _is_numbered(name: str) -> bool:
    return any(column.identity is not None for column in tables[name].__table__.columns)


def _is_append_only(table: Table) -> bool:
    return "deletes" in table.info


def _privileges(service: Service, table: Table) -> str:
    """Return what a service needs of a table; nothing when it has no part in it."""
    if table.name in service.writes:
        # Append-only rows are locked too, which takes the right to update them: triggers refuse the change itself. To
        # delete them is for retention, which is no service.
        return "SELECT, INSERT, UPDATE" if _is_append_only(table) else "SELECT, INSERT, UPDATE, DELETE"
    if table.name in service.locks:
        # The right to update any one column lets rows be locked, that to update all of them the whole table.
        return "SELECT, UPDATE" if _is_append_only(table) else f"SELECT, UPDATE ({_quote('created_at')})"
    if table.name in service.counts:
        return f"SELECT, UPDATE ({', '.join(map(_quote, sorted(service.counts[table.name])))})"
    return "SELECT" if table.name in service.reads else ""
