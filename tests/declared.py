"""The declarations of the models as flat lists: for tests over all tables, policies, triggers or grants."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Column, Table
from sqlalchemy.types import ARRAY, Boolean, Date, DateTime, LargeBinary, Numeric, Text, Uuid

from src.database.models import Base
from src.database.models.lookups import Lookup
from src.database.schema import derived
from src.database.schema.declaration import UNSAMPLED, protection_of, with_mark
from src.database.schema.derivation import capture_arguments

DERIVED = derived(Base.metadata)
POLICIES = tuple(policy for table in DERIVED for policy in table.policies)
TRIGGERS = tuple(trigger for table in DERIVED for trigger in table.triggers)
GRANTS = tuple(grant for table in DERIVED for grant in table.grants)
PROTECTED_TABLES = tuple(table.table for table in DERIVED)

_TABLES = Base.metadata.sorted_tables
CLOSED_TABLES = {table.name for table in _TABLES if protection_of(table).closed}
CASE_TABLES = tuple(
    table.name for table in _TABLES if protection_of(table).case == "case_id" and table.name != "activity_logs"
)
LOOKUP_TABLES = tuple(mapper.local_table.name for mapper in Base.registry.mappers if issubclass(mapper.class_, Lookup))
VERSIONED_TABLES = tuple(table.name for table in _TABLES if "row_version" in table.columns)
# table → (column with the case id, excluded columns, sensitive columns, verb required to restore a deleted row)
CAPTURED_TABLES = {table.name: capture_arguments(table) for table in _TABLES if protection_of(table).captured}
UNSAMPLED_COLUMNS = {
    table.name: columns for table in _TABLES if (columns := with_mark(table.columns, UNSAMPLED))
}  # fmt: skip


def any_row(table: Table, **known: Any) -> dict[str, Any]:
    """Return a row that a session may insert: the required columns, with `known` values by column or referenced table.

    With it, tests also cover new tables below a case.
    """
    row: dict[str, Any] = {}
    for column in table.columns:
        referred = next((key.column.table.name for key in column.foreign_keys), None)
        if column.name in known:
            row[column.name] = known[column.name]
        elif column.nullable or column.server_default is not None or column.identity is not None:
            continue
        elif referred in known:
            row[column.name] = known[referred]
        elif words := known_words(column):
            row[column.name] = words[0]
        else:
            row[column.name] = next(value for kind, value in _SAMPLES if isinstance(column.type, kind))
    return row


def known_words(column: Column[Any]) -> list[str]:
    """Return the words that `one_of` allows in a column; an empty list for a column without `one_of`."""
    for constraint in column.table.constraints:
        if isinstance(constraint, CheckConstraint) and str(constraint.sqltext).startswith(f"{column.name} IN ("):
            return re.findall(r"'([^']*)'", str(constraint.sqltext))
    return []


_SAMPLES: tuple[tuple[type[Any], Any], ...] = ((Text, "x"), (Boolean, False),
                                             (DateTime, datetime(2026, 1, 1, tzinfo=UTC)), (Date, "2026-01-01"),
                                             (Numeric, 1), (LargeBinary, b"x"), (ARRAY, []),
                                             (Uuid, UUID(int=7)), (object, 1))  # fmt: skip
