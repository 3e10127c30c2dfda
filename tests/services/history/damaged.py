"""Tamperings that damage what the verification reads: each column emptied or dropped, each table dropped.

None may end the verification, which would hide all other findings.
"""

from __future__ import annotations

from sqlalchemy import Table

from src.database import Base
from src.database.schema import captured_tables
from tests.services.history.tampering_kinds import Tampering

READ = (
    *captured_tables(Base.metadata),
    *(Base.metadata.tables[name] for name in ("activity_archives", "activity_logs", "activity_seals",
                                              "protected_tables", "storages", "transcription_segments",
                                              "transcription_sources")),
)  # fmt: skip
_LOOSE = """
    DO $do$ DECLARE r record; BEGIN
        FOR r IN SELECT k.conname, k.conrelid::regclass AS place FROM pg_constraint k WHERE k.conparentid = 0
                  AND '{table}'::regclass IN (k.conrelid, k.confrelid) AND k.contype IN ('f', 'c', 'p', 'u', 'x')
                  ORDER BY k.contype <> 'f' LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I CASCADE', r.place, r.conname);
        END LOOP;
    END $do$;
"""


def _emptied(table: Table, column: str) -> Tampering:
    declared = table.columns[column]
    identity = f"ALTER TABLE {table.name} ALTER {column} DROP IDENTITY; " if declared.identity is not None else ""
    return Tampering(
        f"damaged, {table.name}.{column} emptied",
        f"{_LOOSE.format(table=table.name)} {identity}ALTER TABLE {table.name} ALTER {column} DROP NOT NULL;"
        f" UPDATE {table.name} SET {column} = NULL",
        ("table",),
        words=f"{table.name}.{column} may be null",
    )


EMPTIED = tuple(
    _emptied(table, column.name) for table in READ for column in table.columns if not column.nullable
)  # fmt: skip
# The column that divides the log cannot be dropped.
DROPPED = tuple(
    Tampering(
        f"damaged, {table.name}.{column.name} dropped",
        f"{_LOOSE.format(table=table.name)} ALTER TABLE {table.name} DROP COLUMN {column.name} CASCADE",
        ("table",),
        words=f"{table.name} lacks the column {column.name}",
    )
    for table in READ
    for column in table.columns
    if (table.name, column.name) != ("activity_logs", "created_at")
)
TABLES = tuple(
    Tampering(
        f"damaged, {table.name} dropped",
        f"DROP TABLE {table.name} CASCADE",
        ("table",),
        words=f"the table {table.name} is missing",
    )
    for table in READ
)
DAMAGED: tuple[Tampering, ...] = (*EMPTIED, *DROPPED, *TABLES)
