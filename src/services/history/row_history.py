"""What is there beside what the log says: rows by their last entry, versions of transcriptions by their digest."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select, text
from sqlalchemy import table as sql_table
from sqlalchemy.orm import Session

from src.database.models import Base
from src.database.schema import captured_tables
from src.database.schema.declaration import captured_columns
from src.services.history.findings import Finding, Report

# Heartbeats and updates that change nothing move these two without an entry.
_RESTLESS = {"updated_at", "row_version"}
_MOST_OF_A_KIND = 10_000


def check_rows(session: Session, report: Report) -> Iterator[Finding]:
    """Yield the rows of captured tables that differ from their last entry, have none, or are gone without one."""
    for name, compared in _compared(session):
        report.rows += session.scalar(select(func.count()).select_from(sql_table(name))) or 0
        for number, operation, entry, differing in session.execute(text(_comparison(name, compared))):
            yield Finding("row", _sentence(name, number, operation, entry, differing), entry_id=entry)


def check_transcriptions(session: Session, report: Report) -> Iterator[Finding]:
    """Yield the versions whose content, segments or sources are not those that they were finished with."""
    report.transcriptions = session.scalar(text("SELECT count(*) FROM public.transcriptions")) or 0
    wrong = session.execute(
        text(
            "SELECT t.id, t.segments_sha256 IS NULL FROM public.transcriptions t"
            " WHERE t.segments_sha256 IS DISTINCT FROM public.transcription_digest(t.id) ORDER BY t.id"
        )
    )
    for number, unfinished in wrong:
        what = "has no digest; run history baseline" if unfinished else "is not what it was finished with"
        yield Finding("segments", f"transcription {number} {what}")
    sources = session.execute(
        text(
            "SELECT s.id, s.transcription_id FROM public.transcription_sources s"
            " WHERE encode(sha256(s.content), 'hex') <> s.sha256 ORDER BY s.id"
        )
    )
    for number, transcription in sources:
        yield Finding("segments", f"source {number} of transcription {transcription} does not give its sha256")


def _compared(session: Session) -> Iterator[tuple[str, list[str]]]:
    """Yield each captured table and the columns that its entries hold as they are."""
    known = {table.name: captured_columns(table) for table in captured_tables(Base.metadata)}
    # Tables of services are not in the models: what is captured of them is what their triggers say.
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
        yield name, [column for column in columns if column not in _RESTLESS]


def _comparison(table: str, compared: list[str]) -> str:
    # A row's entries are written one after the other under its lock, so their ids are in order, whatever clocks said.
    # Columns that came later than an entry are not in its image: what it does not say cannot differ.
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
         ORDER BY 1 LIMIT {_MOST_OF_A_KIND}
    """  # noqa: S608 - names of tables and columns, quoted


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sentence(table: str, number: int, operation: str | None, entry: int | None, differing: list[str] | None) -> str:
    if operation is None:
        return f"{table} {number} is in no entry; if it was there before capture began, run history baseline"
    if operation == "delete":
        return f"{table} {number} is there, though entry {entry} says that it was deleted"
    if differing is None:
        return f"{table} {number} is gone, and no entry says so"
    return f"{table} {number} differs from entry {entry} in {', '.join(differing)}"
