"""What an installation is set to: revisions of users' configuration, variables, and the schema's version."""

from __future__ import annotations

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from agentdb.base import Entity, Mutable
from agentdb.engine.schema.ddl import descending_index
from agentdb.owners import Owner
from agentdb.types import CASCADE, SET_NULL, Json, Key, Mark, Name, Prose, Secret, Updated, Whole, flag, ref


class ConfigRevision(Entity):
    """What a user's configuration was until then."""

    __tablename__ = "config_revisions"
    __table_args__ = (
        # serves a user's revisions, newest first
        descending_index("ix_config_revisions__user_id_id", "user_id", "id DESC"),
    )
    __owner__ = Owner.by("user_id")

    id: Mapped[Key]
    user_id: Mapped[int] = ref("users.id", CASCADE, index=False)
    config: Mapped[Json]
    changed_by_id: Mapped[int | None] = ref("users.id", SET_NULL)  # who replaced it


class Variable(Mutable, Entity):
    """A named value for agents' configurations and shells."""

    __tablename__ = "variables"
    __table_args__ = (
        CheckConstraint("(value IS NULL OR secret IS NULL) AND (secret IS NULL OR sensitive)", name="value_or_secret"),
    )
    __owner__ = Owner.installation

    key: Mapped[Name] = mapped_column(primary_key=True)
    value: Mapped[Prose | None]
    secret: Mapped[Secret | None]  # in place of value, when sensitive and there are keys
    export_to_shell: Mapped[bool] = flag(False)
    sensitive: Mapped[bool] = flag(False)
    created_by: Mapped[int | None] = ref("users.id", SET_NULL)
    updated_by: Mapped[int | None] = ref("users.id", SET_NULL)


class SchemaVersion(Entity):
    """The version of this database's schema: one row."""

    __tablename__ = "schema_version"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
    __owner__ = Owner.installation

    id: Mapped[Whole] = mapped_column(primary_key=True, autoincrement=False, default=1)
    version: Mapped[Whole]
    revision: Mapped[Name]
    updated: Mapped[Updated]
    identity: Mapped[Mark]  # stays as long as the database, wherever it is moved: whose a folder of attachments is
