"""Principals, what they may do, what they prove it with, and the record of what was done."""

from __future__ import annotations

from enum import StrEnum, auto

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from agentdb.base import Entity, Mutable
from agentdb.engine.folding import folded
from agentdb.engine.schema.ddl import Deletes, append_only, only_characters, partial_index
from agentdb.owners import Owner
from agentdb.types import (
    CASCADE,
    SET_NULL,
    Digest,
    Json,
    Key,
    Moment,
    Name,
    Prose,
    Secret,
    Uuid,
    Whole,
    choice,
    flag,
    json,
    ref,
    whole,
    words,
)


class UserKind(StrEnum):
    """What a principal is."""

    human = auto()
    agent = auto()
    service = auto()


class UserStatus(StrEnum):
    """Whether a principal may act."""

    active = auto()
    disabled = auto()
    archived = auto()


class ApiKeyKind(StrEnum):
    """Who presents a key: a caller to the platform, or the platform to a provider."""

    access = auto()
    provider = auto()


class Role(Mutable, Entity):
    """A name for what a group of users may do."""

    __tablename__ = "roles"
    __table_args__ = (UniqueConstraint("name"),)
    __owner__ = Owner.installation

    id: Mapped[Key]
    name: Mapped[Name]
    display_order: Mapped[int] = whole(0, 32)

    policies: Mapped[list[Policy]] = relationship(secondary="role_policies", lazy="raise", passive_deletes=True)


class Policy(Mutable, Entity):
    """An action on a resource that a role may allow."""

    __tablename__ = "policies"
    __table_args__ = (UniqueConstraint("name"),)
    __owner__ = Owner.installation

    id: Mapped[Key]
    name: Mapped[Name]
    resource: Mapped[Name]
    action: Mapped[Name]  # * matches all


class RolePolicy(Entity):
    """A policy that a role has."""

    __tablename__ = "role_policies"
    __table_args__ = (UniqueConstraint("role_id", "policy_id"),)
    __owner__ = Owner.installation

    id: Mapped[Key]
    role_id: Mapped[int] = ref("roles.id", CASCADE, index=False)
    policy_id: Mapped[int] = ref("policies.id", CASCADE)


class User(Mutable, Entity):
    """A principal: a person, an agent or a service."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("username"),
        UniqueConstraint("email"),
        UniqueConstraint("runtime_key_hash"),
        CheckConstraint("lead_user_id <> id", name="lead_is_another"),
        *only_characters("username", "A-Za-z0-9_-", name="username_characters"),
    )
    __owner__ = Owner.by("id")

    id: Mapped[Key]
    uuid: Mapped[Uuid]
    kind: Mapped[UserKind] = choice(UserKind, UserKind.human)
    username: Mapped[str] = words(length=64)
    email: Mapped[Name | None]  # stored in lower case
    email_verified_at: Mapped[Moment | None]
    first_name: Mapped[Prose | None]
    last_name: Mapped[Prose | None]
    title: Mapped[str] = words("")
    image: Mapped[Prose | None]
    status: Mapped[UserStatus] = choice(UserStatus, UserStatus.active)
    role_id: Mapped[int | None] = ref("roles.id", SET_NULL)
    lead_user_id: Mapped[int | None] = ref("users.id", SET_NULL)  # a cycle is refused
    agent_id: Mapped[int | None] = ref("agents.id", SET_NULL, cycle=True)  # the definition this agent runs
    config: Mapped[Json] = json(dict)
    settings: Mapped[Json] = json(dict)
    password_hash: Mapped[Prose | None]
    runtime_key_hash: Mapped[Digest | None]
    version: Mapped[int] = whole(1, 32)
    username_folded: Mapped[str] = words("")  # what a search compares: the text, `folded`
    email_folded: Mapped[str] = words("")
    title_folded: Mapped[str] = words("")

    role: Mapped[Role | None] = relationship(lazy="raise")
    lead: Mapped[User | None] = relationship(lazy="raise", remote_side="User.id")
    permissions: Mapped[list[UserPermission]] = relationship(
        foreign_keys="UserPermission.user_id", back_populates="user", lazy="raise", passive_deletes="all"
    )

    @validates("username", "email", "title")
    def _fold(self, name: str, text: str | None) -> str | None:
        """Keep what is searched with what is shown, whoever writes through a session."""
        setattr(self, f"{name}_folded", folded(text) if isinstance(text, str) else "")
        return text


class UserPermission(Entity):
    """A permission given to one user."""

    __tablename__ = "user_permissions"
    __table_args__ = (
        UniqueConstraint("user_id", "permission"),
        # serves the holders of a permission, and the administrators
        Index(None, "permission", "id"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    permission: Mapped[Name]
    granted_by: Mapped[int | None] = ref("users.id", SET_NULL)
    granted_at: Mapped[Moment]

    user: Mapped[User] = relationship(foreign_keys=[user_id], back_populates="permissions", lazy="raise")


class Session(Mutable, Entity):
    """A login."""

    __tablename__ = "sessions"
    __table_args__ = (UniqueConstraint("token_hash"),)
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int] = ref("users.id", CASCADE)
    token_hash: Mapped[Digest]
    expires_at: Mapped[Moment] = mapped_column(index=True)  # serves the removal of those that ended
    ip_address: Mapped[Prose | None]
    user_agent: Mapped[Prose | None]
    data: Mapped[Json] = json(dict)
    last_seen_at: Mapped[Moment | None]

    user: Mapped[User] = relationship(lazy="raise")


class PasskeyCredential(Mutable, Entity):
    """A passkey a user signs in with."""

    __tablename__ = "passkey_credentials"
    __table_args__ = (UniqueConstraint("credential_id"),)
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int] = ref("users.id", CASCADE)
    credential_id: Mapped[str] = words(length=1364)  # WebAuthn allows 1,023 bytes, in base64url
    public_key: Mapped[Prose]
    counter: Mapped[int] = whole(0)
    transports: Mapped[str] = words("")
    device_label: Mapped[str] = words("")
    device_type: Mapped[Prose | None]
    backed_up: Mapped[bool] = flag(False)
    aaguid: Mapped[Prose | None]
    last_used_at: Mapped[Moment | None]

    user: Mapped[User] = relationship(lazy="raise")


class RegistrationToken(Mutable, Entity):
    """A token that lets a user set a password or a passkey, once."""

    __tablename__ = "registration_tokens"
    __table_args__ = (UniqueConstraint("token_hash"),)
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int] = ref("users.id", CASCADE)
    token_hash: Mapped[Digest]
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None]


class ApiKey(Mutable, Entity):
    """A key: one that callers present to the platform, or one that the platform presents to a provider."""

    __tablename__ = "api_keys"
    __table_args__ = (
        UniqueConstraint("digest"),
        CheckConstraint(
            "(digest IS NOT NULL) = (kind = 'access') AND (secret IS NOT NULL) = (kind = 'provider')",
            name="digest_or_secret",
        ),
        # serves the provider key of a name
        partial_index(
            "uq_api_keys__user_id_provider_id_name",
            "user_id",
            "provider_id",
            "name",
            where="kind = 'provider'",
            unique=True,
        ),
        # serves the access key of a name: one that was revoked or replaced leaves its name to the next
        partial_index(
            "uq_api_keys__user_id_name",
            "user_id",
            "name",
            where="kind = 'access' AND revoked_at IS NULL AND replaced_at IS NULL",
            unique=True,
        ),
        # serves the removal of those that ended
        partial_index("ix_api_keys__expires_at", "expires_at", where="expires_at IS NOT NULL"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    uuid: Mapped[Uuid]
    user_id: Mapped[int] = ref("users.id", CASCADE)
    kind: Mapped[ApiKeyKind] = choice(ApiKeyKind)
    provider_id: Mapped[int | None] = ref("providers.id", CASCADE)
    name: Mapped[Name]
    prefix: Mapped[Name]  # what a list shows in place of the key
    digest: Mapped[Digest | None]  # kind access: the key itself is never stored
    secret: Mapped[Secret | None]  # kind provider: must be read back
    scopes: Mapped[Json] = json(list)
    is_active: Mapped[bool] = flag(True)
    is_valid: Mapped[bool] = flag(True)
    usage_count: Mapped[int] = whole(0)
    last_used_at: Mapped[Moment | None]
    expires_at: Mapped[Moment | None]  # None: lives until revoked
    revoked_at: Mapped[Moment | None]
    replaced_at: Mapped[Moment | None]  # by a new key of this name; this one lives on until it expires
    metadata_: Mapped[Json] = json(dict, "metadata")

    user: Mapped[User] = relationship(lazy="raise")


class AuditLog(Entity):
    """Who did what to which entity: never changed, never removed."""

    __tablename__ = "audit_log"
    __table_args__ = (
        # serves what a user did
        Index(None, "actor_user_id", "id"),
        # serves what was done to a row
        Index(None, "entity", "entity_id", "id"),
        # serves what was done in a time
        Index(None, "created_at", "id"),
    )
    __owner__ = Owner.nobody

    id: Mapped[Key]
    actor_user_id: Mapped[Whole | None]  # no foreign key: the record outlives the user
    actor_name: Mapped[Name]
    action: Mapped[Name]
    entity: Mapped[Name]
    entity_id: Mapped[Name | None]
    detail: Mapped[Json] = json(dict)
    ip_address: Mapped[Prose | None]
    correlation_id: Mapped[Name | None]


append_only(Entity.metadata.tables["audit_log"], Deletes.NEVER)
