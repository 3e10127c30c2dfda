"""Verify the rows of all captured tables against their last log entry: every column, sensitive ones by their hash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from src.database.models import Base
from src.database.schema import captured_tables, head
from src.database.schema.declaration import SECRET, captured_columns, protection_of, with_mark
from src.services.history.findings import Finding, Report
from src.services.history.table_forms import Forms
from src.services.history.trusted_reading import identifier, rows, stream, values

REGISTERED = "protected_tables"
"""The table of declarations of services; an administrator may not read it."""
# Tables that were ever captured, or are registered by a service: a dropped trigger must not hide its table.
_LOGGED_TABLES = """
    SELECT DISTINCT l.entity FROM public.activity_logs l
     WHERE l.operation <> 'event' AND l.entity IS NOT NULL AND l.entity <> ALL (:known) ORDER BY l.entity
"""
_REGISTERED_TABLES = """
    SELECT p.name FROM public.protected_tables p
     WHERE p.declaration #>> '{protected,captured}' = 'true' AND p.name <> ALL (:known) ORDER BY p.name
"""
_FIRST_OF_REVISION = "SELECT min(l.id) FROM public.activity_logs l WHERE l.schema_revision = :revision"


@dataclass(frozen=True)
class _Compared:
    """A table, its columns that the entries contain, and those that an entry of this version must contain."""

    name: str
    columns: tuple[str, ...]
    required: tuple[str, ...] = ()


def unknown_tables(session: Session, forms: Forms) -> list[str]:
    """Return the tables without a model that are in the log or registered by a service."""
    known = {"known": [table.name for table in captured_tables(Base.metadata)]}
    found = set(values(session, _LOGGED_TABLES, known))
    if not forms.lacking({REGISTERED: ("name", "declaration")}):
        found |= set(values(session, _REGISTERED_TABLES, known))
    return sorted(name for name in found if name is not None)


def check_rows(session: Session, report: Report, forms: Forms) -> Iterator[Finding]:
    """Yield the rows of captured tables that differ from their last entry, have none, or are missing without one."""
    # Entries since then were written by this version: they contain all columns. Earlier ones may lack added columns.
    since = values(session, _FIRST_OF_REVISION, {"revision": head()})[0]
    for table in _tables(report, forms):
        if "id" not in table.columns:
            report.not_read.append(f"the rows of {table.name}, without a column id")
            continue
        place = f"public.{identifier(table.name)}"
        report.rows += values(session, f"SELECT pg_catalog.count(*) FROM {place}")[0]  # noqa: S608 - quoted
        several = f"SELECT r.id, pg_catalog.count(*) FROM {place} r GROUP BY r.id HAVING pg_catalog.count(*) > 1"  # noqa: S608 - quoted
        for row_id, count in rows(session, several):
            yield Finding("row", f"{table.name} {row_id} exists {count} times")
        given = {"table": table.name, "since": since, "required": list(table.required)}
        for compared in stream(session, _comparison(table), given):
            yield Finding("row", _sentence(table.name, compared), entry_id=compared.entry)


def _tables(report: Report, forms: Forms) -> Iterator[_Compared]:
    models = {table.name: table for table in captured_tables(Base.metadata)}
    for name, model in models.items():
        if name not in forms.tables:
            report.not_read.append(f"the rows of {name}")
            continue
        skipped = set(protection_of(model).not_captured)
        captured = (*captured_columns(model), *with_mark(model.columns, SECRET))
        columns = tuple(column for column in forms.tables[name].trusted if column not in skipped)
        yield _Compared(name, columns, tuple(dict.fromkeys(captured)))
    for name, found in forms.tables.items():
        if name not in Base.metadata.tables:
            yield _Compared(name, found.trusted)


def _comparison(table: _Compared) -> str:
    # A row's entries are written under its lock, so their ids are in order even if the clock was not. Columns that were
    # added after an entry are not in its image and are not compared. One statement: one snapshot of rows and entries.
    columns = ", ".join(f"r.{identifier(column)}" for column in table.columns)
    return f"""
        WITH compared AS (
            SELECT t.is_row, t.id AS row_id, t.image, l.entity_id, l.operation, l.id AS entry, l.new, l.salt
              FROM (SELECT true AS is_row, r.id, (SELECT pg_catalog.to_jsonb(i) FROM (SELECT {columns}) AS i) AS image
                      FROM public.{identifier(table.name)} r) t
              FULL JOIN (SELECT DISTINCT ON (l.entity_id) l.entity_id, l.operation, l.new, l.salt, l.id
                           FROM public.activity_logs l WHERE l.entity = :table AND l.operation <> 'event'
                          ORDER BY l.entity_id, l.id DESC) l ON l.entity_id = t.id
        )
        SELECT coalesce(c.row_id, c.entity_id) AS row_id, c.is_row IS TRUE AS exists, c.operation, c.entry,
               c.is_row AND c.new IS NULL AS is_erased, d.differing, m.lacking
          FROM compared c CROSS JOIN LATERAL (
            SELECT pg_catalog.array_agg(j.key ORDER BY j.key) AS differing FROM pg_catalog.jsonb_each(c.image) j
             WHERE pg_catalog.jsonb_exists(c.new, j.key)
               AND pg_catalog.format('%s', c.new -> j.key) <> pg_catalog.format('%s', j.value)
               -- A sensitive value is in the log as its salted hash.
               AND (c.new ->> j.key) IS DISTINCT FROM 'sha256:' || pg_catalog.encode(pg_catalog.sha256(
                   c.salt || pg_catalog.convert_to(c.image ->> j.key, 'UTF8')), 'hex')
          ) d CROSS JOIN LATERAL (
            SELECT pg_catalog.array_agg(k.name) AS lacking
              FROM pg_catalog.unnest(CAST(:required AS text[])) AS k (name)
             WHERE c.is_row AND c.entry >= :since AND NOT pg_catalog.jsonb_exists(c.new, k.name)
          ) m
         WHERE c.entry IS NULL OR c.operation IS NULL OR (c.operation = 'delete') <> (c.is_row IS NOT TRUE)
            OR (c.is_row AND c.new IS NULL) OR d.differing IS NOT NULL OR m.lacking IS NOT NULL
         ORDER BY 1
    """  # noqa: S608 - names of tables and columns, quoted


def _sentence(table: str, compared: Any) -> str:
    row, entry = f"{table} {compared.row_id}", compared.entry
    if entry is None:
        return f"{row} has no log entry; if it existed before capture began, run history baseline"
    if compared.exists and compared.operation == "delete":
        return f"{row} exists, but entry {entry} records its deletion"
    if not compared.exists:
        return f"{row} is missing, and no entry records its deletion"
    if compared.is_erased:
        return f"{row} cannot be compared: the payload of entry {entry} was erased; run history baseline"
    if compared.differing is None:
        return f"{row} cannot be compared in {', '.join(compared.lacking)}: entry {entry} does not contain it"
    return f"{row} differs from entry {entry} in {', '.join(compared.differing)}"
