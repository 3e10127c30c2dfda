"""Which column lacks its value in an INSERT that row security refused.

PostgreSQL asks the policies before it compares NOT NULL: without the case, the row belongs to no case of the actor, and
the refusal would only say that the actor may not do that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from src.database.models import Base
from src.database.schema.declaration import SIGNED, protection_of
from src.errors import InvalidInput

_REFUSED = re.compile(r'new row violates row-level security policy .*for table "([^"]+)"')
_INSERT = re.compile(r'\s*INSERT\s+INTO\s+(?:public\.)?"?(\w+)"?\s*(?:AS\s+\w+\s*)?\(([^()]*)\)', re.IGNORECASE)
_VALUES = re.compile(r"\bVALUES\s*\(([^()]*(?:\(\w+\)s[^()]*)*)\)", re.IGNORECASE)
_PARAMETER = re.compile(r"%\((\w+)\)s")
_CASE = "case_id"


def missing_value(error: Any) -> InvalidInput | None:
    """Return the error for the missing value of a refused INSERT; None when nothing is known to be missing."""
    refused = _REFUSED.search(str(error.orig))
    inserted = _INSERT.match(error.statement or "")
    if refused is None or inserted is None or inserted[1] != refused[1]:
        return None
    columns = [name.strip().strip('"') for name in inserted[2].split(",")]
    null = {name for name in columns if _is_null(error.params, name)} | _null_values(error, columns)
    for name in _required(refused[1]):
        if name in null or (name not in columns and name not in _by_default(refused[1])):
            return InvalidInput(
                f"{refused[1]}: {name} is missing; without it nobody may add the row. Give it a value.", field=name
            )
    return None


def _by_default(table: str) -> set[str]:
    """Return the columns that the server sets when the statement does not name them."""
    known = Base.metadata.tables.get(table)
    return set() if known is None else {column.name for column in known.columns if column.server_default is not None}


def _required(table: str) -> Iterator[str]:
    known = Base.metadata.tables.get(table)
    if known is None:  # of a service
        yield _CASE
        return
    case = protection_of(known).case
    if case:
        yield case
    # One that may be null, such as who released a hold, is signed later.
    yield from (column.name for column in known.columns if column.info.get(SIGNED) and not column.nullable)


def _null_values(error: Any, columns: list[str]) -> set[str]:
    """Return the columns whose value in VALUES is NULL, or a parameter without a value."""
    found = _VALUES.search(error.statement)
    values = found[1].split(",") if found else []
    if len(values) != len(columns) or not isinstance(error.params, Mapping):
        return set()
    null = set()
    for column, value in zip(columns, values, strict=True):
        parameter = _PARAMETER.match(value.strip())
        if value.strip().upper() == "NULL" or (parameter and error.params.get(parameter[1], "") is None):
            null.add(column)
    return null


def _is_null(parameters: Any, name: str) -> bool:
    """Whether a row has no value for a column; several rows of one statement have numbered parameters."""
    rows = parameters if isinstance(parameters, list) else [parameters]
    numbered = re.compile(rf"{re.escape(name)}(_m|__)\d+")
    return any(
        value is None and (key == name or numbered.fullmatch(key))
        for row in rows
        if isinstance(row, Mapping)
        for key, value in row.items()
    )
