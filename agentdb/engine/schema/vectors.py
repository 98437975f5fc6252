"""What vectors need of a schema: each as long as its collection's dimension, and on SQLite a count of what has changed.

The database itself refuses a vector of another length, whoever stores it. On SQLite it also counts, in the collection's
``revision``, what a reader who knows the largest id would not notice: see `agentdb.engine.vectors.matrices`.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Index, Table, event

from agentdb.engine.schema.ddl import on_database
from agentdb.engine.schema.vector_functions import FITTING

_WHEN: Final = "WHEN (NEW.embedding IS NOT NULL AND NEW.collection_id IS NOT NULL)"
_COUNT: Final = "UPDATE vector_collections SET revision = revision + 1 WHERE id"


def fit_collections(model: Any) -> None:
    """Let a table of vectors be checked against their collections."""
    table: Table = model.__table__
    name = table.name
    # serves searches by tags, where there is no index of what lists contain
    Index(f"ix_{name}__collection_id_tags", table.c.collection_id, table.c.tags).ddl_if(dialect="sqlite")
    event.listen(
        table,
        "after_create",
        on_database(
            "postgresql",
            f"CREATE TRIGGER tr_{name}__fits BEFORE INSERT OR UPDATE OF collection_id, embedding ON {name} "
            f"FOR EACH ROW {_WHEN} EXECUTE FUNCTION agentdb_vector_fits()",
        ),
    )
    # Kept in the row, where it fits a page: brought from elsewhere, every comparison takes four times as long.
    event.listen(
        table, "after_create", on_database("postgresql", f"ALTER TABLE {name} ALTER COLUMN embedding SET STORAGE MAIN")
    )
    unfit = "SELECT dimension FROM vector_collections WHERE id = NEW.collection_id"
    for verb in ("INSERT", "UPDATE"):
        of_ = " OF collection_id, embedding" if verb == "UPDATE" else ""
        _on_sqlite(
            table,
            f"CREATE TRIGGER tr_{name}__fits_{verb.lower()} BEFORE {verb}{of_} ON {name} "
            f"WHEN length(NEW.embedding) <> 4 * ({unfit}) "
            f"BEGIN SELECT RAISE(ABORT, 'constraint failed: {FITTING}'); END",
        )
    _on_sqlite(
        table,
        f"CREATE TRIGGER tr_{name}__count_insert AFTER INSERT ON {name} "
        f"WHEN NEW.id < (SELECT max(id) FROM {name} WHERE collection_id = NEW.collection_id) "
        f"BEGIN {_COUNT} = NEW.collection_id; END",
    )
    _on_sqlite(
        table,
        f"CREATE TRIGGER tr_{name}__count_update AFTER UPDATE OF id, collection_id, embedding ON {name} "
        f"BEGIN {_COUNT} IN (OLD.collection_id, NEW.collection_id); END",
    )
    _on_sqlite(
        table,
        f"CREATE TRIGGER tr_{name}__count_delete AFTER DELETE ON {name} "
        f"WHEN OLD.collection_id IS NOT NULL BEGIN {_COUNT} = OLD.collection_id; END",
    )


def _on_sqlite(table: Table, statement: str) -> None:
    event.listen(table, "after_create", on_database("sqlite", statement))
