"""Verify rows against their last log entry, and transcriptions against their digest."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select, text
from sqlalchemy import table as sql_table
from sqlalchemy.orm import Session

from src.database.models import Base
from src.database.schema import captured_tables
from src.database.schema.declaration import captured_columns
from src.services.history.findings import Finding, Report

# Heartbeats and updates without changes set these two columns without a log entry.
_NOT_LOGGED = {"updated_at", "row_version"}
_MAX_FINDINGS = 10_000


def check_rows(session: Session, report: Report) -> Iterator[Finding]:
    """Yield the rows of captured tables that differ from their last entry, have none, or are missing without one."""
    for name, compared in _compared(session):
        report.rows += session.scalar(select(func.count()).select_from(sql_table(name))) or 0
        for row_id, operation, entry, differing in session.execute(text(_comparison(name, compared))):
            yield Finding("row", _sentence(name, row_id, operation, entry, differing), entry_id=entry)


def check_transcriptions(session: Session, report: Report) -> Iterator[Finding]:
    """Yield the transcriptions whose content, segments or sources do not match their digest."""
    report.transcriptions = session.scalar(text("SELECT count(*) FROM public.transcriptions")) or 0
    mismatches = session.execute(
        text(
            "SELECT t.id, t.segments_sha256 IS NULL FROM public.transcriptions t"
            " WHERE t.segments_sha256 IS DISTINCT FROM public.transcription_digest(t.id) ORDER BY t.id"
        )
    )
    for transcription_id, has_no_digest in mismatches:
        problem = "has no digest; run history baseline" if has_no_digest else "does not match its digest"
        yield Finding("segments", f"transcription {transcription_id} {problem}")
    sources = session.execute(
        text(
            "SELECT s.id, s.transcription_id FROM public.transcription_sources s"
            " WHERE encode(sha256(s.content), 'hex') <> s.sha256 ORDER BY s.id"
        )
    )
    for source_id, transcription_id in sources:
        yield Finding("segments", f"source {source_id} of transcription {transcription_id} does not match its sha256")


def _compared(session: Session) -> Iterator[tuple[str, list[str]]]:
    """Yield each captured table and the columns that its entries contain unchanged."""
    known = {table.name: captured_columns(table) for table in captured_tables(Base.metadata)}
    # Tables of services have no models: the arguments of their triggers list the captured columns.
    others = session.execute(
        text(
            "SELECT c.entity, array_agg(a.attname::text ORDER BY a.attnum) FROM public.captured_tables() AS c (entity)"
            " CROSS JOIN LATERAL (SELECT public.capture_arguments(c.entity) AS arguments) t"
            " JOIN pg_attribute a ON a.attrelid = to_regclass('public.' || quote_ident(c.entity))"
            " AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
            " AND a.attname <> ALL (string_to_array(t.arguments[2], ',') || string_to_array(t.arguments[3], ','))"
            " WHERE c.entity <> ALL (:known) GROUP BY c.entity ORDER BY c.entity"
        ),
        {"known": list(known)},
    )
    for name, columns in (*known.items(), *others):
        yield name, [column for column in columns if column not in _NOT_LOGGED]


def _comparison(table: str, compared: list[str]) -> str:
    # A row's entries are written under its lock, so their ids are in order even if the clock was not.
    # Columns that were added after an entry are not in its image and are not compared.
    image = ", ".join(f"'{name}', t.{_quoted(name)}" for name in compared)
    return f"""
        SELECT coalesce(t.id, l.entity_id), l.operation, l.id,
               (SELECT array_agg(j.key ORDER BY j.key) FROM jsonb_each(t.image) j
                 WHERE jsonb_exists(l.new, j.key) AND l.new -> j.key IS DISTINCT FROM j.value)
          FROM (SELECT t.id, jsonb_build_object({image}) AS image FROM public.{_quoted(table)} t) t
          FULL JOIN (SELECT DISTINCT ON (l.entity_id) l.entity_id, l.operation, l.new, l.id
                       FROM public.activity_logs l WHERE l.entity = '{table}' AND l.operation <> 'event'
                      ORDER BY l.entity_id, l.id DESC) l ON l.entity_id = t.id
         WHERE l.entity_id IS NULL OR (l.operation = 'delete') <> (t.id IS NULL)
            OR l.new IS NOT NULL AND EXISTS (SELECT FROM jsonb_each(t.image) j
                   WHERE jsonb_exists(l.new, j.key) AND l.new -> j.key IS DISTINCT FROM j.value)
         ORDER BY 1 LIMIT {_MAX_FINDINGS}
    """  # noqa: S608 - names of tables and columns, quoted


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sentence(table: str, row_id: int, operation: str | None, entry: int | None, differing: list[str] | None) -> str:
    if operation is None:
        return f"{table} {row_id} has no log entry; if it existed before capture began, run history baseline"
    if operation == "delete":
        return f"{table} {row_id} exists, but entry {entry} records its deletion"
    if differing is None:
        return f"{table} {row_id} is missing, and no entry records its deletion"
    return f"{table} {row_id} differs from entry {entry} in {', '.join(differing)}"
