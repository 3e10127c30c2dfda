"""Baselines: log entries for rows, and digests for versions, from before capture began; as the owner."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from src.maintenance.brief_waits import brief_transaction

ROWS_AT_ONCE = 1_000


class Baselines(NamedTuple):
    """How many rows got an entry, and how many versions a digest."""

    entries: int
    digests: int


def write_baselines(session: Session) -> Baselines:
    """Give an entry to every captured row without one, and a digest to every version without one. Commits."""
    entries = 0
    with session.begin():
        tables = session.scalars(select(func.public.captured_tables())).all()
    for table in tables:
        written = ROWS_AT_ONCE
        while written == ROWS_AT_ONCE:
            with session.begin():
                written = session.scalar(select(func.public.write_baseline(table, ROWS_AT_ONCE))) or 0
            entries += written
    with brief_transaction(session):
        digests = session.execute(
            text(
                "UPDATE public.transcriptions t SET segments_sha256 = public.transcription_digest(t.id)"
                " WHERE t.segments_sha256 IS NULL RETURNING t.id"
            )
        ).all()
    return Baselines(entries, len(digests))
