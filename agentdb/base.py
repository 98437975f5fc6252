"""What every model is built on: one metadata, one naming convention, one base class."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Column, MetaData, Table, event
from sqlalchemy.orm import DeclarativeBase, Mapped

from agentdb.engine.schema.ddl import carry_condition, keep_ids, number_changes, pass_over_absent
from agentdb.types import Created, Updated

NAMES: Final = {
    "ck": "ck_%(table_name)s__%(constraint_name)s",
    "fk": "fk_%(table_name)s__%(column_0_N_name)s",
    "ix": "ix_%(table_name)s__%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s__%(column_0_N_name)s",
}


class Entity(DeclarativeBase):
    """A row that says when it came to be."""

    metadata = MetaData(naming_convention=NAMES)

    created_at: Mapped[Created]

    def __init_subclass__(cls, **kw: Any) -> None:
        """Complete the table of a mapped class."""
        super().__init_subclass__(**kw)
        table = cls.__dict__.get("__table__")
        if isinstance(table, Table):
            keep_ids(table)
            pass_over_absent(table)
            if "tx" in table.c and issubclass(cls, Mutable):
                number_changes(table)

    def __repr__(self) -> str:
        """Return the class and the key: never a value, which may be a secret."""
        key = ", ".join(f"{column.key}={self.__dict__.get(column.key)!r}" for column in self.__table__.primary_key)
        return f"{type(self).__name__}({key})"


class Mutable:
    """Mixed into an entity whose rows change: says when one last did."""

    updated_at: Mapped[Updated]


@event.listens_for(Column, "after_parent_attach")
def _carry_condition(column: Column[Any], table: Any) -> None:
    if isinstance(table, Table) and table.metadata is Entity.metadata:
        carry_condition(column, table)
