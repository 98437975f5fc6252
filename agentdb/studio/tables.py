"""A table's pages: its list, one row, and the form that edits it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from sqlalchemy import Column, Select, Table, Text, and_, func, or_, select
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.sql import ColumnElement
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.status import HTTP_400_BAD_REQUEST, HTTP_403_FORBIDDEN
from starlette_admin.exceptions import FormValidationError
from starlette_admin.fields import BaseField
from starlette_admin.filters import FilterGroup, FilterRegistry
from starlette_admin.tools import iterdecode, iterencode
from starlette_admin.views import BaseModelView

from agentdb.base import Entity
from agentdb.criteria import table_of
from agentdb.database import Database
from agentdb.engine.spelling import TextType, UuidType
from agentdb.errors import AgentDBError, NotFound, StaleVersion
from agentdb.studio import columns
from agentdb.studio.answers import answering
from agentdb.studio.fields import CUT, Prose, Shown, fields_of, whole_of
from agentdb.studio.filters import Filters, condition_of, text_of
from agentdb.studio.repositories import places, repository_of
from agentdb.unit import Unit

Record = Mapping[str, Any]  # a row's shown columns, and its version if it has one

_FARTHEST: Final = 2**63 - 1  # that both databases can pass by

WHOLE_FORM: Final = ""  # the key of a problem that no single field has


class TableView(BaseModelView):
    """One table, as it is shown; editable where its repository takes changes by column and the studio may write."""

    page_size = 25
    page_size_options = (25, 50, 100)
    show_detail_search = True
    list_template = "studio/list.html"
    detail_template = "studio/detail.html"
    edit_template = "studio/edit.html"

    def __init__(self, db: Database, model: type[Entity], *, writes: bool) -> None:
        self.db = db
        self.model = model
        self.table: Table = table_of(model)
        self.columns = columns.shown(self.table)
        self.selected = [columns.seen(column).label(column.key) for column in self.columns]
        self.writes = writes and self.table.name in places() and bool(columns.editable(self.table))
        self.key = self.menu_label = self.display_name = self.table.name
        self.pk_attr = ",".join(column.key for column in self.table.primary_key)
        self._shown = fields_of(self.table, editing=self.writes)
        self.fields: Sequence[BaseField] = self._shown
        self.listed = [
            _beginning(column, field).label(column.key)
            for column, field in zip(self.columns, self._shown, strict=True)
            if column.primary_key or not field.exclude_from_list
        ]
        self.fields_default_sort = [(column.key, True) for column in self.table.primary_key]
        super().__init__()

    # What may be done

    def can_edit(self, request: Request) -> bool:  # noqa: ARG002
        """Only where somebody said so."""
        return self.writes

    def can_create(self, request: Request) -> bool:  # noqa: ARG002
        """Rows are made by the methods of their repositories."""
        return False

    def can_delete(self, request: Request) -> bool:  # noqa: ARG002
        """Rows are removed by the methods of their repositories, and by retention."""
        return False

    def can_export(self, request: Request) -> bool:  # noqa: ARG002
        """There are backups, and transfer."""
        return False

    def can_import(self, request: Request) -> bool:  # noqa: ARG002
        """There are imports."""
        return False

    async def get_pk_value(self, request: Request, obj: Record) -> str:  # noqa: ARG002
        """Return a row's key as pages name it."""
        parts = [str(obj[column.key]) for column in self.table.primary_key]
        return parts[0] if len(parts) == 1 else iterencode(parts)

    def get_filter_registry(self) -> FilterRegistry:
        """Return the filters of our fields."""
        return Filters()

    # Reading

    async def find_all(
        self,
        request: Request,  # noqa: ARG002
        skip: int = 0,
        limit: int = 100,
        q: str | None = None,
        sorts: Sequence[tuple[str, str]] | None = None,
        filters: FilterGroup | None = None,
    ) -> list[Record]:
        """Return the rows of a page."""
        order = [self._sorted(name, direction) for name, direction in sorts or ()]
        order += [column.desc() for column in self.table.primary_key]
        keys = select(*self.table.primary_key).where(*self._conditions(q, filters)).order_by(*order)
        # The keys first: whole rows of a large table would be written to a disk to be sorted, and to be passed by.
        page = keys.offset(min(skip, _FARTHEST)).limit(min(limit, self.page_size_options[-1])).subquery("page")
        chosen = and_(*(column == page.c[column.key] for column in self.table.primary_key))
        return await self._rows(select(*self.listed).join_from(self.table, page, chosen).order_by(*order))

    async def count(self, request: Request, q: str | None = None, filters: FilterGroup | None = None) -> int:  # noqa: ARG002
        """Return how many rows meet the filters."""
        (row,) = await self._rows(
            select(func.count().label("rows")).select_from(self.table).where(*self._conditions(q, filters))
        )
        count: int = row["rows"]
        return count

    async def find_by_pk(self, request: Request, pk: Any) -> Record | None:  # noqa: ARG002
        """Return a row, or None."""
        key = self._key(pk)
        if key is None:
            return None
        rows = await self._rows(select(*self.selected).where(*self._of(key)))
        return rows[0] if rows else None

    async def find_by_pks(self, request: Request, pks: list[Any]) -> list[Record]:
        """Return several rows."""
        rows = [await self.find_by_pk(request, pk) for pk in pks[: self.page_size_options[-1]]]
        return [row for row in rows if row is not None]

    async def _rows(self, statement: Select[Any]) -> list[Record]:
        with answering():
            async with self.db.read() as unit:
                return await _rows_of(unit, statement)

    def _conditions(self, q: str | None, filters: FilterGroup | None) -> list[ColumnElement[bool]]:
        found = [] if q is None else [self._search(q)]
        fields = {field.name: field for field in self._all_fields}
        condition = None if filters is None else condition_of(filters, self.table, fields)
        return found if condition is None else [*found, condition]

    def _search(self, q: str) -> ColumnElement[bool]:
        texts = [column for column in self.columns if isinstance(column.type, TextType)]
        keys = [column for column in self.columns if column.primary_key or isinstance(column.type, UuidType)]
        anywhere = [text_of(columns.seen(column)).icontains(q, autoescape=True) for column in texts]
        return or_(*anywhere, *(text_of(column) == q.strip().lower() for column in keys if column not in texts))

    def _sorted(self, name: str, direction: str) -> ColumnElement[Any]:
        column = next((column for column in self.columns if column.key == name), None)
        if column is None:
            raise HTTPException(HTTP_400_BAD_REQUEST, f"{self.table.name} has no column {name!r} to sort by")
        seen = columns.seen(column)  # in the order of what is hidden, it could be guessed
        return seen.desc() if direction == "desc" else seen.asc()

    def _key(self, pk: Any) -> list[Any] | None:
        """Return a key's values, or None for what is no key of this table."""
        names = list(self.table.primary_key)
        parts = [str(pk)] if len(names) == 1 else list(iterdecode(str(pk)))
        try:
            return [
                part if isinstance(column.type, TextType) else whole_of(part)
                for column, part in zip(names, parts, strict=True)
            ]
        except ValueError:
            return None

    def _of(self, key: Sequence[Any]) -> list[ColumnElement[bool]]:
        return [column == value for column, value in zip(self.table.primary_key, key, strict=True)]

    # Writing

    async def create(self, request: Request, data: dict[str, Any]) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        raise HTTPException(HTTP_403_FORBIDDEN, f"rows of {self.table.name} are not made here")

    async def delete(self, request: Request, pks: list[Any]) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        raise HTTPException(HTTP_403_FORBIDDEN, f"rows of {self.table.name} are not removed here")

    @property
    def editable(self) -> list[Shown]:
        """The fields of the form."""
        return [field for field in self._shown if not field.exclude_from_edit]

    def stamp(self, row: Record) -> str:
        """Return what tells whether a row is still as a form showed it."""
        told = [repr(row.get("version")), *(repr(field.before(row[field.name])) for field in self.editable)]
        return hashlib.sha256("\0".join(told).encode(errors="surrogatepass")).hexdigest()

    async def edit(self, request: Request, pk: Any, data: dict[str, Any]) -> Record:
        """Change what was typed, through the repository, if the row is still as the form showed it.

        Raises: FormValidationError with what was refused, and why.
        """
        stamp = str((await request.form()).get("stamp") or "")
        key = self._key(pk)
        if key is None:
            raise FormValidationError({WHOLE_FORM: f"{self.table.name} has no row {pk}"})
        try:
            await self._edit(key, data, stamp)
        except AgentDBError as error:
            raise FormValidationError({WHOLE_FORM: str(error)}) from None
        changed = await self.find_by_pk(request, pk)
        return changed or dict(zip((column.key for column in self.table.primary_key), key, strict=True))

    async def _edit(self, key: Sequence[Any], typed: Mapping[str, Any], stamp: str) -> None:
        async with self.db.write() as unit:
            # Locked, so that nobody changes it between the look and the update.
            found = await _rows_of(unit, select(*self.selected).where(*self._of(key)).with_for_update())
            if not found:
                raise NotFound(f"{self.table.name} has no row {', '.join(map(str, key))} any more")
            (row,) = found
            if self.stamp(row) != stamp:
                raise StaleVersion("somebody else changed this row since the form was opened; open it again")
            changes = self._changes(row, typed)
            if not changes:
                return
            version = {"expected_version": row["version"]} if "version" in row else {}
            await repository_of(unit, self.table).update(*key, **version, **changes)

    def _changes(self, row: Record, typed: Mapping[str, Any]) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        problems: dict[str | int, Any] = {}
        for field in self.editable:
            text = typed[field.name]
            if text == field.before(row[field.name]):
                continue
            try:
                changes[field.name] = field.after(text)
            except ValueError as error:
                problems[field.name] = str(error)
        if problems:
            raise FormValidationError(problems)
        return changes


async def _rows_of(unit: Unit, statement: Select[Any]) -> list[Record]:
    """Return what a statement finds.

    Raises: errors of ours, as a repository does.
    """
    try:
        return [dict(row) for row in (await unit.session.execute(statement)).mappings()]
    except DBAPIError as error:
        raise unit.told(error) from None
    except StatementError as error:
        if not isinstance(error.orig, AgentDBError):
            raise
        raise error.orig from None


def _beginning(column: Column[Any], field: Shown) -> ColumnElement[Any]:
    """Return a column as a list selects it: no more of a long text than is shown there."""
    seen = columns.seen(column)
    return func.substr(seen, 1, CUT + 1, type_=Text()) if isinstance(field, Prose) else seen
