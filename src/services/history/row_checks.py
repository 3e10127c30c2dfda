"""Verify the rows of all captured tables against their last log entry: every column, sensitive ones by their hash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from src.database.models import Base
from src.database.schema import captured_tables
from src.database.schema.declaration import SECRET, captured_columns, protection_of, with_mark
from src.services.history.findings import Finding, Report
from src.services.history.trusted_reading import identifier, stream

# Tables that were ever captured, or are registered by a service: a dropped trigger must not hide its table.
_OTHER_TABLES = text("""
    SELECT DISTINCT n.name FROM (
        SELECT DISTINCT l.entity FROM public.activity_logs l WHERE l.operation <> 'event'
        UNION ALL SELECT p.name FROM public.protected_tables p WHERE p.declaration #>> '{protected,captured}' = 'true'
    ) AS n (name) WHERE n.name IS NOT NULL AND n.name <> ALL (:known) ORDER BY n.name
""")
# An administrator may not read the table of declarations.
_LOGGED_TABLES = text("""
    SELECT DISTINCT l.entity FROM public.activity_logs l
     WHERE l.operation <> 'event' AND l.entity IS NOT NULL AND l.entity <> ALL (:known) ORDER BY l.entity
""")
_COLUMNS = text("""
    SELECT a.attname, pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
     WHERE c.relnamespace = pg_catalog.to_regnamespace('public') AND c.relname = :table AND c.relkind IN ('r', 'p')
       AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
""")
# These change without an entry in a table with columns that are not logged.
_STAMPS = {"updated_at", "row_version"}


@dataclass(frozen=True)
class _Compared:
    """A table, its columns that the entries contain, and whether a trigger keeps stamps and entries together."""

    name: str
    columns: tuple[str, ...]
    declared: tuple[str, ...] = ()


def check_rows(session: Session, report: Report) -> Iterator[Finding]:
    """Yield the rows of captured tables that differ from their last entry, have none, or are missing without one."""
    for table in _tables(session, report):
        for column in table.declared:
            if column not in table.columns:
                yield Finding("row", f"the table {table.name} lacks the column {column}")
        if "id" not in table.columns:
            yield Finding("row", f"the rows of {table.name} cannot be compared: the table has no column id")
            continue
        count = f"SELECT pg_catalog.count(*) FROM public.{identifier(table.name)}"  # noqa: S608 - quoted
        report.rows += session.scalar(text(count)) or 0
        for row_id, operation, entry, differing in stream(session, _comparison(table), {"table": table.name}):
            yield Finding("row", _sentence(table.name, row_id, operation, entry, differing), entry_id=entry)


def _tables(session: Session, report: Report) -> Iterator[_Compared]:
    known = {table.name: table for table in captured_tables(Base.metadata)}
    for name, table in known.items():
        skipped = set(protection_of(table).not_captured)
        # A model names its columns, so that a dropped one is reported.
        declared = (*captured_columns(table), *with_mark(table.columns, SECRET))
        present = _present(session, report, name)
        columns = [column for column in present if column not in skipped]
        unread = {what.partition(" (")[0] for what in report.not_read}
        yield _Compared(name, tuple(columns), tuple(c for c in declared if f"{name}.{c}" not in unread))
    may_read = "SELECT pg_catalog.has_table_privilege('public.protected_tables', 'SELECT')"
    others = _OTHER_TABLES if session.scalar(text(may_read)) else _LOGGED_TABLES
    for name in session.scalars(others, {"known": list(known)}).all():
        columns = _present(session, report, name)
        # A table that a service dropped has no columns.
        if columns:
            yield _Compared(name, tuple(columns))


def _present(session: Session, report: Report, table: str) -> list[str]:
    columns = []
    for column, is_readable in session.execute(_COLUMNS, {"table": table}):
        if is_readable:
            columns.append(column)
        else:
            report.not_read.append(f"{table}.{column} (only the owner of the database may read it)")
    return columns


def _comparison(table: _Compared) -> str:
    # A row's entries are written under its lock, so their ids are in order even if the clock was not. Columns that were
    # added after an entry are not in its image and are not compared. One statement: one snapshot of rows and entries.
    columns = ", ".join(f"r.{identifier(column)}" for column in table.columns)
    return f"""
        WITH compared AS (
            SELECT t.id AS row_id, t.image, l.entity_id, l.operation, l.id AS entry, l.new, l.salt
              FROM (SELECT r.id, (SELECT pg_catalog.to_jsonb(i) FROM (SELECT {columns}) AS i) AS image
                      FROM public.{identifier(table.name)} r) t
              FULL JOIN (SELECT DISTINCT ON (l.entity_id) l.entity_id, l.operation, l.new, l.salt, l.id
                           FROM public.activity_logs l WHERE l.entity = :table AND l.operation <> 'event'
                          ORDER BY l.entity_id, l.id DESC) l ON l.entity_id = t.id
        )
        SELECT coalesce(c.row_id, c.entity_id), c.operation, c.entry, d.differing
          FROM compared c CROSS JOIN LATERAL (
            SELECT pg_catalog.array_agg(j.key ORDER BY j.key) AS differing FROM pg_catalog.jsonb_each(c.image) j
             WHERE pg_catalog.jsonb_exists(c.new, j.key)
               AND pg_catalog.format('%s', c.new -> j.key) <> pg_catalog.format('%s', j.value)
               -- A sensitive value is in the log as its salted hash.
               AND (c.new ->> j.key) IS DISTINCT FROM 'sha256:' || pg_catalog.encode(pg_catalog.sha256(
                   c.salt || pg_catalog.convert_to(c.image ->> j.key, 'UTF8')), 'hex')
          ) d
         WHERE c.entity_id IS NULL OR (c.operation = 'delete') <> (c.row_id IS NULL) OR d.differing IS NOT NULL
         ORDER BY 1
    """  # noqa: S608 - names of tables and columns, quoted


def _sentence(table: str, row_id: int, operation: str | None, entry: int | None, differing: list[str] | None) -> str:
    if operation is None:
        return f"{table} {row_id} has no log entry; if it existed before capture began, run history baseline"
    if operation == "delete":
        return f"{table} {row_id} exists, but entry {entry} records its deletion"
    if differing is None:
        return f"{table} {row_id} is missing, and no entry records its deletion"
    return f"{table} {row_id} differs from entry {entry} in {', '.join(differing)}"
