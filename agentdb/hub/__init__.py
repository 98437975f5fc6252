"""What the machines of one installation share: hosts, runs and their logs, spending, mail and settings.

A run's number is the key of its row. ``costs`` is the one ledger of spending, whoever charged: its rows never change, a
correction is another row, and retention folds old ones into days; every sum over spending reads both. What a spend
limit leaves room for is decided under its lock.
"""

from __future__ import annotations

from functools import cached_property

from agentdb.engine.connection import Connection
from agentdb.hub.attachments import Attachments
from agentdb.hub.configs import Configs
from agentdb.hub.costs import Costs
from agentdb.hub.filing.folder import Folder
from agentdb.hub.heartbeats import Heartbeats
from agentdb.hub.hosts import Hosts
from agentdb.hub.limits import Limits
from agentdb.hub.logs import Logs
from agentdb.hub.mail import Mail
from agentdb.hub.masking import KnownSecrets, Redaction
from agentdb.hub.notifications import Notifications
from agentdb.hub.reservations import Reservations
from agentdb.hub.runs import Runs
from agentdb.hub.variables import Variables
from agentdb.repository import MOST, Aggregate


class HubRepositories(Aggregate):
    """The repositories of what the machines share.

    Args:
        connection: the database itself, each call its own transaction, or an open unit.
        most: the cap on every limit.
        secrets: what is known of the database's secrets; those who log and send over one database share it.
        folder: where the files of attachments lie; None: a temporary folder.
        in_unit: whether the connection is an open unit.
        tenant: the user in whose scope it is, when it is in one.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        most: int = MOST,
        secrets: KnownSecrets | None = None,
        folder: Folder | None = None,
        in_unit: bool = False,
        tenant: int | None = None,
    ) -> None:
        super().__init__(connection, most=most)
        self._secrets = KnownSecrets() if secrets is None else secrets
        self._folder = folder
        self._in_unit = in_unit
        self._tenant = tenant

    @cached_property
    def hosts(self) -> Hosts:
        """The machines."""
        return Hosts(self.connection, most=self.most)

    @cached_property
    def heartbeats(self) -> Heartbeats:
        """Who of them is alive."""
        return Heartbeats(self.connection)

    @cached_property
    def runs(self) -> Runs:
        """What runs on them."""
        return Runs(self.connection, most=self.most)

    @cached_property
    def logs(self) -> Logs:
        """What runs said and saw."""
        return Logs(self.connection, most=self.most, redact=self.redaction.redact)

    @cached_property
    def notifications(self) -> Notifications:
        """What is newest for each user."""
        return Notifications(self.connection, most=self.most)

    @cached_property
    def costs(self) -> Costs:
        """What it cost."""
        return Costs(self.connection, most=self.most)

    @cached_property
    def limits(self) -> Limits:
        """What may be spent."""
        return Limits(self.connection, most=self.most)

    @cached_property
    def reservations(self) -> Reservations:
        """What is set aside before it is spent."""
        return Reservations(self.connection, most=self.most)

    @cached_property
    def mail(self) -> Mail:
        """What their users write to each other."""
        return Mail(self.connection, most=self.most, redact=self.redaction.redact)

    @cached_property
    def attachments(self) -> Attachments:
        """The files that go with it, and with what runs say."""
        return Attachments(self.connection, most=self.most, folder=self._folder, in_unit=self._in_unit)

    @cached_property
    def configs(self) -> Configs:
        """How users are configured, and how they were."""
        return Configs(self.connection, most=self.most)

    @cached_property
    def variables(self) -> Variables:
        """Named values for configurations and shells."""
        return Variables(self.connection, most=self.most, redaction=self.redaction)

    @cached_property
    def redaction(self) -> Redaction:
        """What masks secrets before they are stored."""
        return Redaction(self.connection, self._secrets, tenant=self._tenant)
