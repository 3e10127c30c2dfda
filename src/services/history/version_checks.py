"""Verify transcriptions: digests recomputed from their segments and sources, and the parts that no digest covers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import groupby

from sqlalchemy import text
from sqlalchemy.orm import Session

from src.services.history.entry_hashes import digest_of_version
from src.services.history.findings import Finding, Report
from src.services.history.trusted_reading import as_text, stream

# One statement: a snapshot. The parts are texts in the order in which the digest covers them.
_SEGMENT = as_text(
    "pg_catalog.jsonb_build_array(s.position, s.start_ms, s.end_ms, s.speaker, s.text, s.words, s.confidence, s.flags)"
)
_VERSIONS = f"""
    SELECT t.id, t.segments_sha256, t.content,
           {{sources}},
           (SELECT pg_catalog.format('%s', coalesce(pg_catalog.jsonb_agg(x.sha256 ORDER BY x.id), '[]'))
              FROM public.transcription_sources x WHERE x.case_id = t.case_id AND x.transcription_id = t.id),
           {_SEGMENT}
      FROM public.transcriptions t
      LEFT JOIN public.transcription_segments s ON s.case_id = t.case_id AND s.transcription_id = t.id
     ORDER BY t.id, s.position
"""  # noqa: S608 - constants
_SOURCES = """(SELECT pg_catalog.format('%s', coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
               x.sha256, x.dialect, x.name) ORDER BY x.id), '[]'))
              FROM public.transcription_sources x WHERE x.case_id = t.case_id AND x.transcription_id = t.id)"""
_CONTENTS = """
    SELECT s.id, s.transcription_id, s.sha256, s.content, s.audio_file_id IS DISTINCT FROM t.audio_file_id
           AND s.audio_file_id IS NOT NULL
      FROM public.transcription_sources s LEFT JOIN public.transcriptions t ON t.id = s.transcription_id ORDER BY s.id
"""
# A version and its parts are added in one transaction, whose start is the time of all of them.
_TIMES = """
    SELECT '{name} ' || p.id || ' of transcription ' || p.transcription_id
      FROM public.{table} p LEFT JOIN public.transcriptions t ON t.id = p.transcription_id AND t.case_id = p.case_id
     WHERE (p.created_at, p.updated_at) IS DISTINCT FROM (t.created_at, t.created_at) AND t.segments_sha256 IS NOT NULL
        OR t.id IS NULL
     ORDER BY p.id
"""


def check_versions(session: Session, report: Report) -> Iterator[Finding]:
    """Yield the transcriptions whose content, segments or sources do not match their digest, and what it leaves out."""
    rows = stream(session, _VERSIONS.format(sources=_SOURCES))
    for (version, stored, content, sources, hashes), parts in groupby(rows, key=lambda row: tuple(row[:5])):
        report.transcriptions += 1
        segments = [part for *_, part in parts if part is not None]
        # Versions of earlier releases have a digest without the names of their sources.
        digests = {digest_of_version(content, listed, segments) for listed in (sources, hashes)}
        if stored not in digests:
            problem = "has no digest; run history baseline" if stored is None else "does not match its digest"
            yield Finding("segments", f"transcription {version} {problem}")
    for source, version, stored, content, is_elsewhere in stream(session, _CONTENTS):
        if hashlib.sha256(bytes(content)).hexdigest() != stored:
            yield Finding("segments", f"source {source} of transcription {version} does not match its sha256")
        if is_elsewhere:
            yield Finding("segments", f"source {source} of transcription {version} names another recording")
    for name, table in (("segment", "transcription_segments"), ("source", "transcription_sources")):
        for what in session.scalars(text(_TIMES.format(name=name, table=table))):
            yield Finding("segments", f"{what} was not added together with it")
