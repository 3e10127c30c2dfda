"""Verify transcriptions: digests recomputed from their segments and sources, and the parts that no digest covers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import groupby

from sqlalchemy.orm import Session

from src.services.history.entry_hashes import digest_of_version
from src.services.history.findings import Finding, Report
from src.services.history.state_checks import Part
from src.services.history.trusted_reading import as_text, stream, values

# One statement: a snapshot. The parts are texts in the order in which the digest covers them.
_SEGMENT = as_text(
    "pg_catalog.jsonb_build_array(s.position, s.start_ms, s.end_ms, s.speaker, s.text, s.words, s.confidence, s.flags)"
)
_VERSIONS = f"""
    SELECT t.id, t.segments_sha256, t.content, pg_catalog.format('%s', coalesce(x.sources, '[]')),
           pg_catalog.format('%s', coalesce(x.hashes, '[]')),
           CASE WHEN s.transcription_id IS NOT NULL THEN {_SEGMENT} END
      FROM public.transcriptions t
      LEFT JOIN public.transcription_segments s ON s.case_id = t.case_id AND s.transcription_id = t.id
      LEFT JOIN (
        SELECT x.case_id, x.transcription_id, pg_catalog.jsonb_agg(x.sha256 ORDER BY x.id) AS hashes,
               pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(x.sha256, x.dialect, x.name) ORDER BY x.id) AS sources
          FROM public.transcription_sources x GROUP BY x.case_id, x.transcription_id
      ) x ON x.case_id = t.case_id AND x.transcription_id = t.id
     ORDER BY t.id, s.position
"""  # noqa: S608 - constants
_CONTENTS = """
    SELECT s.id, s.transcription_id, s.sha256, s.content, s.audio_file_id IS DISTINCT FROM t.audio_file_id
           AND s.audio_file_id IS NOT NULL
      FROM public.transcription_sources s LEFT JOIN public.transcriptions t ON t.id = s.transcription_id ORDER BY s.id
"""
# A version and its parts are added in one transaction, whose start is the time of all of them.
_TIMES = """
    SELECT pg_catalog.format('{name} %s of transcription %s', p.id, p.transcription_id)
      FROM public.{table} p LEFT JOIN public.transcriptions t ON t.id = p.transcription_id AND t.case_id = p.case_id
     WHERE (p.created_at, p.updated_at) IS DISTINCT FROM (t.created_at, t.created_at) AND t.segments_sha256 IS NOT NULL
        OR t.id IS NULL OR p.id IS NULL
     ORDER BY p.id
"""
_SEVERAL = """
    SELECT pg_catalog.format('{name} %s exists %s times', p.id, pg_catalog.count(*)) FROM public.{table} p
     GROUP BY p.id HAVING pg_catalog.count(*) > 1 ORDER BY p.id
"""
_VERSION = ("id", "case_id", "audio_file_id", "content", "segments_sha256", "created_at")
_PART = ("id", "case_id", "transcription_id", "created_at", "updated_at")
_SEGMENTS = (*_PART, "position", "start_ms", "end_ms", "speaker", "text", "words", "confidence", "flags")
_SOURCES = (*_PART, "audio_file_id", "dialect", "name", "sha256", "content")


def check_versions(session: Session, report: Report) -> list[Part]:
    """Return the checks of transcriptions: content, segments and sources by their digest, and what it leaves out."""
    versions, segments = {"transcriptions": _VERSION}, {"transcription_segments": _SEGMENTS}
    sources = {"transcription_sources": _SOURCES}
    return [
        ("the digests of transcriptions", {**versions, **segments, **sources}, _digests(session, report)),
        ("the sources of transcriptions", {**versions, **sources}, _contents(session)),
        ("the times of segments", {**versions, **segments}, _parts(session, "segment", "transcription_segments")),
        ("the times of sources", {**versions, **sources}, _parts(session, "source", "transcription_sources")),
    ]


def _digests(session: Session, report: Report) -> Iterator[Finding]:
    for (version, stored, content, sources, hashes), parts in groupby(
        stream(session, _VERSIONS), key=lambda row: tuple(row[:5])
    ):
        report.transcriptions += 1
        segments = [part for *_, part in parts if part is not None]
        # Versions of earlier releases have a digest without the names of their sources.
        digests = {digest_of_version(content, listed, segments) for listed in (sources, hashes)}
        if stored is None or stored not in digests:
            problem = "has no digest; run history baseline" if stored is None else "does not match its digest"
            yield Finding("segments", f"transcription {version} {problem}")


def _contents(session: Session) -> Iterator[Finding]:
    for source, version, stored, content, is_elsewhere in stream(session, _CONTENTS):
        if content is None or hashlib.sha256(bytes(content)).hexdigest() != stored:
            yield Finding("segments", f"source {source} of transcription {version} does not match its sha256")
        if is_elsewhere:
            yield Finding("segments", f"source {source} of transcription {version} names another recording")


def _parts(session: Session, name: str, table: str) -> Iterator[Finding]:
    for what in values(session, _TIMES.format(name=name, table=table)):
        yield Finding("segments", f"{what} was not added together with it")
    for what in values(session, _SEVERAL.format(name=name, table=table)):
        yield Finding("segments", what)
