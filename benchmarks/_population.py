"""The data of the access and search benchmarks: cases of colleagues with one recording each; Alice sees a few."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

FEW = 20
PAGE = 50

# Inserted as the owner, without db.session. Colleagues have twenty cases each; Alice's cases are far apart and far from
# the newest.
_CASES = (
    "INSERT INTO users (username) SELECT 'colleague-' || n FROM generate_series(1, greatest(1, :cases / 20)) AS n",
    """
    INSERT INTO cases (title, opened_by_id)
    SELECT 'Case ' || n, (SELECT id FROM users WHERE username = 'colleague-' || 1 + n % greatest(1, :cases / 20))
      FROM generate_series(1, :cases) AS n
    """,
    """
    INSERT INTO case_participants (case_id, user_id, role)
    SELECT c.id, u.id, 'editor' FROM cases c, users u
     WHERE u.username = 'alice' AND c.id % (:cases / :few) = :cases / :few / 2
    """,
    """
    INSERT INTO storage_objects (case_id, key, backend)
    SELECT id, 'cases/' || id || '/' || gen_random_uuid() || '.wav', 'memory' FROM cases
    """,
    """
    INSERT INTO audio_files (case_id, name, path, size_bytes, sha256, storage_type, uploaded_by_id)
    SELECT o.case_id, 'interview.wav', o.key, 1, repeat('0', 64), 'memory', c.opened_by_id
      FROM storage_objects o JOIN cases c ON c.id = o.case_id
    """,
)


@contextmanager
def populating(engine: Engine, cases: int) -> Iterator[Connection]:
    """Insert the cases and yield the transaction for their segments; then build the index, commit and analyse."""
    with engine.begin() as connection:
        # Built once at the end: updating the index row by row would take most of the time.
        index = connection.scalar(text("SELECT pg_get_indexdef('public.transcription_segments_search_idx'::regclass)"))
        connection.execute(text("DROP INDEX public.transcription_segments_search_idx"))
        for statement in _CASES:
            connection.execute(text(statement), {"cases": cases, "few": FEW})
        yield connection
        connection.exec_driver_sql("SET LOCAL maintenance_work_mem = '256MB'")
        connection.exec_driver_sql(index)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
