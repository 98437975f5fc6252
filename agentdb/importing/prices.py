"""Prices: a price list in CSV, as models and their providers."""

from __future__ import annotations

import asyncio
import csv
import io
from pathlib import Path

from agentdb.catalog.prices import COLUMNS
from agentdb.catalog.records import PriceReport
from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.importing.lines import opened


async def import_prices(database: Database, path: Path) -> PriceReport:
    """Import a price list, all or none, and tell what was done.

    Args:
        database: an open one.
        path: a CSV file in UTF-8, compressed or not, whose first line names at least the columns of
            `agentdb.catalog.prices.COLUMNS`; prices are dollars per token.

    Raises: BadInput for a file that cannot be read or is no such list, naming the line or the model.
    """
    rows = await asyncio.to_thread(read_prices, path)
    return await database.catalog.models.import_prices(rows)


def read_prices(path: Path) -> list[dict[str, str | None]]:
    """Return the rows of a price list, the columns it is read for.

    Raises: BadInput.
    """
    with opened(path) as (content, _), io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, strict=True)
        try:
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise BadInput(f"{path} is not a price list: it has no column {', '.join(missing)}")
            rows = []
            for row in reader:
                if None in row:
                    raise BadInput(f"{path}, line {reader.line_num}: more fields than the first line has names")
                rows.append({column: row[column] for column in COLUMNS})
        except UnicodeDecodeError:
            raise BadInput(f"{path} is not UTF-8 text") from None
        except csv.Error as error:
            raise BadInput(f"{path}, line {reader.reader.line_num}: {error}") from None
    return rows
