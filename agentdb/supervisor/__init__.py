"""Who may act, what they may do, and the proof.

One table holds every principal: people, agents and services; a role gives policies, a permission is given to one user.
Of what a caller presents (session, registration token, runtime key, API key) only a digest is kept; what the platform
itself presents to a provider is kept encrypted. The audit log is append-only and outlives the users it names.
"""

from __future__ import annotations

from functools import cached_property

from agentdb.engine.connection import Connection
from agentdb.repository import MOST, Aggregate
from agentdb.supervisor.api_keys import ApiKeys
from agentdb.supervisor.audit import Audit
from agentdb.supervisor.key_use import KeyUses
from agentdb.supervisor.leads import Leads
from agentdb.supervisor.logins import Logins
from agentdb.supervisor.passkeys import Passkeys
from agentdb.supervisor.passwords import Passwords
from agentdb.supervisor.permissions import Permissions
from agentdb.supervisor.policies import Policies
from agentdb.supervisor.registrations import Registrations
from agentdb.supervisor.roles import Roles
from agentdb.supervisor.runtime_keys import RuntimeKeys
from agentdb.supervisor.users import Users


class SupervisorRepositories(Aggregate):
    """The repositories of who may act.

    Args: key_uses: where the uses of access keys are counted, for the database and its units alike.
    """

    def __init__(self, connection: Connection, *, most: int = MOST, key_uses: KeyUses | None = None) -> None:
        super().__init__(connection, most=most)
        self._key_uses = KeyUses() if key_uses is None else key_uses

    @cached_property
    def users(self) -> Users:
        """Every principal: people, agents and services."""
        return Users(self.connection, most=self.most)

    @cached_property
    def audit(self) -> Audit:
        """What was done, by whom: appended, never changed."""
        return Audit(self.connection, most=self.most)

    @cached_property
    def permissions(self) -> Permissions:
        """What users may do."""
        return Permissions(self.connection, most=self.most)

    @cached_property
    def api_keys(self) -> ApiKeys:
        """What callers present to the platform, and the platform to providers."""
        return ApiKeys(self.connection, most=self.most, uses=self._key_uses)

    @cached_property
    def leads(self) -> Leads:
        """Who leads whom: trees of users."""
        return Leads(self.connection, most=self.most)

    @cached_property
    def logins(self) -> Logins:
        """Login sessions: who is signed in, and where."""
        return Logins(self.connection, most=self.most)

    @cached_property
    def passkeys(self) -> Passkeys:
        """Passkeys that users sign in with."""
        return Passkeys(self.connection, most=self.most)

    @cached_property
    def passwords(self) -> Passwords:
        """Passwords that users sign in with."""
        return Passwords(self.connection, most=self.most)

    @cached_property
    def registrations(self) -> Registrations:
        """Tokens that let a user set a first password or passkey, and the first administrator."""
        return Registrations(self.connection, most=self.most)

    @cached_property
    def runtime_keys(self) -> RuntimeKeys:
        """Keys that running agents show."""
        return RuntimeKeys(self.connection, most=self.most)

    @cached_property
    def roles(self) -> Roles:
        """What groups of users may do."""
        return Roles(self.connection, most=self.most)

    @cached_property
    def policies(self) -> Policies:
        """What roles may allow."""
        return Policies(self.connection, most=self.most)
