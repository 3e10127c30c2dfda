"""Verify values that no log entry contains because they follow from other rows: holds, indexing, stored objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sqlalchemy.orm import Session

from src.services.history.findings import Finding, FindingKind
from src.services.history.trusted_reading import values

Part = tuple[str, Mapping[str, tuple[str, ...]], Iterator[Finding]]
"""A part of a verification: what it checks, the columns that it needs, its findings."""


class _Check(NamedTuple):
    what: str
    kind: FindingKind
    needs: Mapping[str, tuple[str, ...]]
    query: str


_RECORDINGS = ("id", "case_id", "path", "storage_type", "size_bytes", "sha256")
_OBJECTS = ("id", "case_id", "key", "backend", "state", "size_bytes", "sha256")
_CHECKS = (
    _Check(
        "the number of holds",
        "row",
        {"cases": ("id", "active_holds"), "legal_holds": ("case_id", "released_at")},
        """
        SELECT pg_catalog.format('cases %s has %s active holds, but active_holds is %s', c.id, coalesce(h.count, 0),
                                 c.active_holds)
          FROM public.cases c LEFT JOIN (
            SELECT h.case_id, pg_catalog.count(*) AS count FROM public.legal_holds h WHERE h.released_at IS NULL
             GROUP BY h.case_id) h ON h.case_id = c.id
         WHERE c.active_holds IS DISTINCT FROM coalesce(h.count, 0) ORDER BY c.id
        """,
    ),
    _Check(
        "the configurations of segments",
        "segments",
        {
            "transcription_segments": ("id", "case_id", "transcription_id", "search_config"),
            "transcriptions": ("id", "case_id", "language_id"),
            "languages": ("id", "search_config"),
        },
        """
        SELECT pg_catalog.format('segment %s of transcription %s is indexed as %s, its language as %s; if the language'
                                 ' was changed, run: search reindex', s.id, t.id, s.search_config, l.search_config)
          FROM public.transcription_segments s
          JOIN public.transcriptions t ON t.id = s.transcription_id AND t.case_id = s.case_id
          LEFT JOIN public.languages l ON l.id = t.language_id
         WHERE s.search_config IS DISTINCT FROM l.search_config ORDER BY s.id
        """,
    ),
    _Check(
        "the objects of recordings",
        "row",
        {
            "audio_files": (*_RECORDINGS, "storage_config"),
            "storage_objects": (*_OBJECTS, "storage_id"),
            "storages": ("id", "storage"),
        },
        """
        SELECT pg_catalog.format('audio_files %s: %s', a.id, CASE
                   WHEN o.key IS NULL THEN 'no stored object has its path'
                   WHEN o.case_id IS DISTINCT FROM a.case_id THEN 'its stored object belongs to another case'
                   WHEN o.state IS DISTINCT FROM 'live' THEN 'its stored object is ' || coalesce(o.state, 'unknown')
                   WHEN o.backend IS DISTINCT FROM a.storage_type THEN 'its stored object is in another backend'
                   WHEN a.storage_config ->> 'storage' IS DISTINCT FROM s.marker
                       THEN 'its stored object is in another storage'
                   ELSE 'its stored object has another size or sha256' END)
          FROM public.audio_files a LEFT JOIN public.storage_objects o ON o.key = a.path
          LEFT JOIN (
            SELECT s.id, pg_catalog.format('%s', s.storage) AS marker FROM public.storages s) s ON s.id = o.storage_id
         WHERE o.key IS NULL OR o.case_id IS DISTINCT FROM a.case_id OR o.state IS DISTINCT FROM 'live'
            OR o.backend IS DISTINCT FROM a.storage_type
            OR a.storage_config ->> 'storage' IS DISTINCT FROM s.marker
            OR o.size_bytes <> a.size_bytes OR o.sha256 <> a.sha256
         ORDER BY a.id
        """,
    ),
    _Check(
        "the recordings of objects",
        "row",
        {"audio_files": _RECORDINGS, "storage_objects": _OBJECTS},
        """
        SELECT pg_catalog.format('storage_objects %s is live, but no recording has its key', o.id)
          FROM public.storage_objects o
         WHERE o.state = 'live' AND NOT EXISTS (SELECT FROM public.audio_files a WHERE a.path = o.key) ORDER BY o.id
        """,
    ),
)


def check_state(session: Session) -> list[Part]:
    """Return the checks of derived values: rows whose values do not follow from the rows that they derive from."""
    return [(check.what, check.needs, _findings(session, check)) for check in _CHECKS]


def _findings(session: Session, check: _Check) -> Iterator[Finding]:
    for sentence in values(session, check.query):
        yield Finding(check.kind, sentence)
