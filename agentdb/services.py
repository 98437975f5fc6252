"""Which service writes and reads which table.

One database serves several services, and each table has an owner, which writes it. Where the platform's database
package says who (users to agent_tools), it is as it says there; a database of machines has its hub and supervisor, and
whoever runs executions is the worker:

    server       logs users in, administers them and their keys, shows what was spent
    gateway      calls models: looks them up, charges what they cost, and sets money aside before
    cms          agents, their prompts and tools, conversations, resources, knowledge
    hub          what the machines of one installation share: hosts, runs, logs, mail, their spending
    supervisor   the installation's administration, as the server is the platform's
    worker       runs executions and agents' sessions, and uses users' integrations
    seed         loads what is shipped; its tables do not change otherwise

Whoever writes a table reads and locks it too. Migrations, retention and transfers belong to no service: they run as the
owner of the tables.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from agentdb.engine.touching import Touched
from agentdb.errors import BadSettings, ReadOnly

KNOWN: Final = ("server", "gateway", "cms", "hub", "supervisor", "worker", "seed")
ALL: Final = " ".join(KNOWN)


@dataclass(frozen=True, slots=True)
class Access:
    """Who does what with a table.

    Args:
        writes: the services that change its rows, the owner first.
        reads: those that only read it.
        locks: those that read it, and keep others from changing it meanwhile.
        counts: those that read it, and update these columns only.
    """

    writes: tuple[str, ...] = ()
    reads: frozenset[str] = frozenset()
    locks: frozenset[str] = frozenset()
    counts: Mapping[str, frozenset[str]] = field(default_factory=dict)


def _access(writes: str, *, reads: str = "", locks: str = "", **counts: str) -> Access:
    counted = {service: frozenset(columns.split()) for service, columns in counts.items()}
    return Access(tuple(writes.split()), frozenset(reads.split()), frozenset(locks.split()), counted)


_ROLLS: Final = "window_started_at window_ends_at spent reserved updated_at"
_TOTALS: Final = "total_cost updated_at"
_USES: Final = "usage_count last_used_at updated_at"

MATRIX: Final[Mapping[str, Access]] = MappingProxyType(
    {
        # supervisor: who may act
        "users": _access("server supervisor seed", reads="gateway", locks="hub"),
        "roles": _access("server seed", reads="gateway supervisor"),
        "policies": _access("seed", reads="server supervisor"),
        "role_policies": _access("seed", reads="server supervisor"),
        "user_permissions": _access("server supervisor seed"),
        "sessions": _access("server supervisor"),
        "passkey_credentials": _access("server supervisor"),
        "registration_tokens": _access("server supervisor"),
        "api_keys": _access("server supervisor seed", gateway=_USES),
        "audit_log": _access("server supervisor gateway cms hub worker seed"),  # who opens a secret tells of it
        # hub: what the machines share
        "hosts": _access("hub supervisor"),
        "user_hosts": _access("hub supervisor"),
        "user_notifications": _access("hub supervisor server"),  # whoever disables a user tells those who follow
        "runs": _access("hub", reads="server supervisor"),
        "run_session": _access("hub", locks="supervisor", reads="server", gateway=_TOTALS),
        "context_log": _access("hub", reads="server supervisor"),
        "mail_messages": _access("hub supervisor"),
        "mail_recipients": _access("hub supervisor"),
        "mail_attachments": _access("hub supervisor"),
        "attachments": _access("hub supervisor"),
        "config_revisions": _access("supervisor hub"),
        "variables": _access("supervisor hub"),
        "schema_version": _access("", reads=ALL),
        # hub: money; whoever sets a limit waits for those who charge, and lets it hold what is reserved already
        "costs": _access("gateway hub", locks="server supervisor"),
        "cost_days": _access("hub", reads="gateway server supervisor"),
        "spend_limits": _access("server supervisor", gateway=_ROLLS, hub=_ROLLS),
        "cost_reservations": _access("gateway hub server supervisor"),
        # catalog: what an agent can be made of
        "providers": _access("seed", reads="gateway server cms hub supervisor worker"),
        "models": _access("seed", reads="gateway server cms hub supervisor worker"),
        "prompts": _access("cms seed", reads="worker"),
        "tools": _access("cms seed", reads="worker"),
        "agents": _access("cms seed", reads="server worker"),
        "user_agents": _access("cms"),
        "user_tools": _access("cms", reads="worker"),
        "agent_tools": _access("cms seed", reads="worker"),
        # conversation, knowledge: what was said, what is remembered
        "conversations": _access("cms", reads="server", worker="session_id updated_at"),  # whose session it is
        "messages": _access("cms", reads="server worker"),
        "resources": _access("cms", reads="server worker"),
        "vector_collections": _access("cms", reads="server worker"),
        "vectors": _access("cms", reads="server worker"),
        "memories": _access("worker cms", reads="server"),
        "knowledge_base": _access("cms", reads="server worker"),
        # execution: what is to be done; the cms asks for it
        "workflows": _access("cms", reads="server worker"),
        "workflow_versions": _access("cms", reads="server worker"),
        "executions": _access("worker cms", reads="server"),
        "execution_logs": _access("worker", reads="server cms"),
        "execution_changes": _access("worker cms", reads="server"),  # noted when an execution changes
        "agent_sessions": _access("worker cms", reads="server"),
        # integration: a user connects it to the server, and the worker uses it
        "integration_connections": _access("server worker"),
        "integration_events": _access("server worker"),
    }
)
"""Each table's access."""


@dataclass(frozen=True, slots=True)
class Service:
    """What one service may do with which tables, by name."""

    name: str
    writes: frozenset[str]
    locks: frozenset[str]
    reads: frozenset[str]  # the others too: what may be changed may be read
    counts: Mapping[str, frozenset[str]]  # the columns that may be updated, by table
    brings_ids: bool = False  # rows come with their ids, and the counting of ids goes on after them

    def check(self, what: str, touched: Touched) -> None:
        """Refuse a statement that does more than this service may.

        Args: what: the call, for the message.
        Raises: ReadOnly for what changes or locks; BadSettings for what reads.
        """
        for table in sorted(touched.adds | touched.removes):
            if table not in self.writes:
                raise ReadOnly(self._not_mine(what, table))
        for table, columns in touched.updates.items():
            if table not in self.writes and not self.counts.get(table, frozenset()).issuperset(columns):
                raise ReadOnly(self._not_mine(what, table))
        for table in sorted(touched.locks):
            if table not in self.writes and table not in self.locks and table not in self.counts:
                raise ReadOnly(self._not_mine(what, table))
        if not self.reads.issuperset(touched.reads):
            table = min(touched.reads - self.reads)
            raise BadSettings(f"{what} reads {table}, which the service {self.name} does not; {_readers(table)} may")

    def _not_mine(self, what: str, table: str) -> str:
        return f"{what} writes to {table}, which the service {self.name} does not own; {_owner(table)} may"


def _owner(table: str) -> str:
    access = MATRIX.get(table)
    if access is None or not access.writes:
        return "only the owner of the tables"
    owner, *others = access.writes
    return f"its owner {owner}" + (f" (and {', '.join(others)})" if others else "")


def _readers(table: str) -> str:
    access = MATRIX.get(table)
    return "only the owner of the tables" if access is None else ", ".join(sorted(_who_reads(access)))


def _who_reads(access: Access) -> frozenset[str]:
    return frozenset({*access.writes, *access.reads, *access.locks, *access.counts})


def _service(name: str) -> Service:
    def tables(names: Iterable[tuple[str, Iterable[str]]]) -> frozenset[str]:
        return frozenset(table for table, services in names if name in services)

    return Service(
        name,
        writes=tables((table, access.writes) for table, access in MATRIX.items()),
        locks=tables((table, access.locks) for table, access in MATRIX.items()),
        reads=tables((table, _who_reads(access)) for table, access in MATRIX.items()),
        counts={table: access.counts[name] for table, access in MATRIX.items() if name in access.counts},
        brings_ids=name == "seed",
    )


SERVICES: Final[Mapping[str, Service]] = MappingProxyType({name: _service(name) for name in KNOWN})


def named(name: str) -> Service:
    """Return the service of a name.

    Raises: BadSettings naming those there are.
    """
    service = SERVICES.get(name)
    if service is None:
        near = difflib.get_close_matches(name, KNOWN, n=1)
        meant = f"; {near[0]} is meant?" if near else ""
        raise BadSettings(f"there is no service {name!r}, only {', '.join(KNOWN)}{meant}")
    return service
