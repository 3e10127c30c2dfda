"""Verify values that no log entry contains because they follow from other rows: holds, indexing, stored objects."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.orm import Session

from src.services.history.findings import Finding, FindingKind

_CHECKS: tuple[tuple[FindingKind, str], ...] = (
    (
        "row",
        """
        SELECT pg_catalog.format('cases %s has %s active holds, but active_holds is %s', c.id, h.count, c.active_holds)
          FROM public.cases c CROSS JOIN LATERAL (
            SELECT pg_catalog.count(*) FROM public.legal_holds h WHERE h.case_id = c.id AND h.released_at IS NULL) h
         WHERE h.count <> c.active_holds ORDER BY c.id
        """,
    ),
    (
        "segments",
        """
        SELECT pg_catalog.format('segment %s of transcription %s is indexed as %s, its language as %s; if the language'
                                 ' was changed, run: search reindex', s.id, t.id, s.search_config, l.search_config)
          FROM public.transcription_segments s
          JOIN public.transcriptions t ON t.id = s.transcription_id AND t.case_id = s.case_id
          JOIN public.languages l ON l.id = t.language_id
         WHERE s.search_config <> l.search_config ORDER BY s.id
        """,
    ),
    (
        "row",
        """
        SELECT pg_catalog.format('audio_files %s: %s', a.id, CASE
                   WHEN o.key IS NULL THEN 'no stored object has its path'
                   WHEN o.case_id <> a.case_id THEN 'its stored object belongs to another case'
                   WHEN o.state <> 'live' THEN 'its stored object is ' || o.state
                   WHEN o.backend <> a.storage_type THEN 'its stored object is in another backend'
                   WHEN a.storage_config ->> 'storage' IS DISTINCT FROM s.storage::text
                       THEN 'its stored object is in another storage'
                   ELSE 'its stored object has another size or sha256' END)
          FROM public.audio_files a LEFT JOIN public.storage_objects o ON o.key = a.path
          LEFT JOIN public.storages s ON s.id = o.storage_id
         WHERE o.key IS NULL OR o.case_id <> a.case_id OR o.state <> 'live' OR o.backend <> a.storage_type
            OR a.storage_config ->> 'storage' IS DISTINCT FROM s.storage::text
            OR o.size_bytes <> a.size_bytes OR o.sha256 <> a.sha256 ORDER BY a.id
        """,
    ),
    (
        "row",
        """
        SELECT pg_catalog.format('storage_objects %s is live, but no recording has its key', o.id)
          FROM public.storage_objects o
         WHERE o.state = 'live' AND NOT EXISTS (SELECT FROM public.audio_files a WHERE a.path = o.key) ORDER BY o.id
        """,
    ),
)


def check_state(session: Session) -> Iterator[Finding]:
    """Yield the rows whose derived values do not follow from the rows that they are derived from."""
    for kind, query in _CHECKS:
        for sentence in session.scalars(text(query)):
            yield Finding(kind, sentence)
