"""The roll-call: every model and every enumeration once, and the table of tables.

This is the public import path: ``from agentdb.models import User``.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Final

from agentdb.base import Entity
from agentdb.catalog.models import (
    Agent,
    AgentTool,
    AIModel,
    ModelType,
    Prompt,
    Provider,
    Tool,
    UserAgent,
    UserTool,
)
from agentdb.conversation.models import (
    Conversation,
    Message,
    MessageRole,
    Resource,
)
from agentdb.engine.schema.ddl import ship_functions
from agentdb.engine.vectors.indexing import IndexKind
from agentdb.engine.vectors.ranking import Distance
from agentdb.execution.models import (
    AgentSession,
    AgentSessionStatus,
    Execution,
    ExecutionChange,
    ExecutionLog,
    ExecutionStatus,
    NodeStatus,
    Workflow,
    WorkflowStatus,
    WorkflowVersion,
)
from agentdb.hub.models.machines import (
    ContextLog,
    Host,
    HostType,
    LogRole,
    LogSource,
    LogType,
    Run,
    RunSession,
    UserHost,
    UserNotification,
)
from agentdb.hub.models.mail import (
    Attachment,
    AttachmentPurpose,
    MailAttachment,
    MailKind,
    MailMessage,
    MailRecipient,
    RecipientType,
)
from agentdb.hub.models.settings import (
    ConfigRevision,
    SchemaVersion,
    Variable,
)
from agentdb.hub.models.spending import (
    Cost,
    CostDay,
    CostReservation,
    CostSource,
    LimitCovers,
    LimitPeriod,
    SpendLimit,
)
from agentdb.integration.models import (
    ConnectionStatus,
    IntegrationConnection,
    IntegrationEvent,
    IntegrationEventType,
)
from agentdb.knowledge.models import (
    KnowledgeBase,
    Memory,
    ProcessingStatus,
    Vector,
    VectorCollection,
)
from agentdb.supervisor.models import (
    ApiKey,
    ApiKeyKind,
    AuditLog,
    PasskeyCredential,
    Policy,
    RegistrationToken,
    Role,
    RolePolicy,
    Session,
    User,
    UserKind,
    UserPermission,
    UserStatus,
)

__all__ = [
    "AIModel",
    "Agent",
    "AgentSession",
    "AgentSessionStatus",
    "AgentTool",
    "ApiKey",
    "ApiKeyKind",
    "Attachment",
    "AttachmentPurpose",
    "AuditLog",
    "ConfigRevision",
    "ConnectionStatus",
    "ContextLog",
    "Conversation",
    "Cost",
    "CostDay",
    "CostReservation",
    "CostSource",
    "Distance",
    "Execution",
    "ExecutionChange",
    "ExecutionLog",
    "ExecutionStatus",
    "Host",
    "HostType",
    "IndexKind",
    "IntegrationConnection",
    "IntegrationEvent",
    "IntegrationEventType",
    "KnowledgeBase",
    "LimitCovers",
    "LimitPeriod",
    "LogRole",
    "LogSource",
    "LogType",
    "MailAttachment",
    "MailKind",
    "MailMessage",
    "MailRecipient",
    "Memory",
    "Message",
    "MessageRole",
    "ModelType",
    "NodeStatus",
    "PasskeyCredential",
    "Policy",
    "ProcessingStatus",
    "Prompt",
    "Provider",
    "RecipientType",
    "RegistrationToken",
    "Resource",
    "Role",
    "RolePolicy",
    "Run",
    "RunSession",
    "SchemaVersion",
    "Session",
    "SpendLimit",
    "Tool",
    "User",
    "UserAgent",
    "UserHost",
    "UserKind",
    "UserNotification",
    "UserPermission",
    "UserStatus",
    "UserTool",
    "Variable",
    "Vector",
    "VectorCollection",
    "Workflow",
    "WorkflowStatus",
    "WorkflowVersion",
    "tables",
]

ship_functions(Entity.metadata)

_models: Final = sorted((mapper.class_ for mapper in Entity.registry.mappers), key=attrgetter("__tablename__"))

tables: Final[Mapping[str, type[Entity]]] = MappingProxyType({model.__tablename__: model for model in _models})
"""Every model, by its table's name."""
