"""The aggregates over one connection: the first step of every call's path, ``unit.hub.runs.start``."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from agentdb.catalog import CatalogRepositories
from agentdb.conversation import ConversationRepositories
from agentdb.engine.connection import Connection
from agentdb.execution import ExecutionRepositories
from agentdb.hub import HubRepositories
from agentdb.hub.filing.folder import Folder
from agentdb.hub.masking import KnownSecrets
from agentdb.integration import IntegrationRepositories
from agentdb.knowledge import KnowledgeRepositories
from agentdb.reports import Reports
from agentdb.supervisor import SupervisorRepositories
from agentdb.supervisor.key_use import KeyUses


class Aggregates:
    """Each aggregate is made when it is first asked for: a unit that needs one does not pay for all.

    Args:
        connection: what their repositories run on.
        most: the cap on every limit.
        secrets: what is known of the database's secrets.
        key_uses: where the uses of access keys are counted.
        folder: where the files of attachments lie.
        tenant: the user whose scope it is, when it is one.
    """

    in_unit: ClassVar[bool] = False  # the connection is a transaction, which may be undone

    def __init__(
        self,
        connection: Connection,
        *,
        most: int,
        secrets: KnownSecrets,
        key_uses: KeyUses,
        folder: Folder,
        tenant: int | None = None,
    ) -> None:
        self._over = connection
        self._most = most
        self._secrets = secrets
        self._key_uses = key_uses
        self._folder = folder
        self._tenant = tenant

    @cached_property
    def supervisor(self) -> SupervisorRepositories:
        """Who may act."""
        return SupervisorRepositories(self._over, most=self._most, key_uses=self._key_uses)

    @cached_property
    def hub(self) -> HubRepositories:
        """What the machines of one installation share."""
        return HubRepositories(
            self._over,
            most=self._most,
            secrets=self._secrets,
            folder=self._folder,
            in_unit=self.in_unit,
            tenant=self._tenant,
        )

    @cached_property
    def catalog(self) -> CatalogRepositories:
        """What an agent can be made of."""
        return CatalogRepositories(self._over, most=self._most)

    @cached_property
    def conversation(self) -> ConversationRepositories:
        """What was said."""
        return ConversationRepositories(self._over, most=self._most)

    @cached_property
    def knowledge(self) -> KnowledgeRepositories:
        """What is remembered."""
        return KnowledgeRepositories(self._over, most=self._most)

    @cached_property
    def execution(self) -> ExecutionRepositories:
        """What is to be done, and how it went."""
        return ExecutionRepositories(self._over, most=self._most, in_unit=self.in_unit)

    @cached_property
    def integration(self) -> IntegrationRepositories:
        """What users connect, and what happened there."""
        return IntegrationRepositories(self._over, most=self._most, in_unit=self.in_unit)

    @cached_property
    def reports(self) -> Reports:
        """Reads that join aggregates."""
        return Reports(self._over, most=self._most)
