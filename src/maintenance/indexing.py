"""Update the search index after a change of its rules, in batches that can be stopped and repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, text

from src.database.provisioning.extensions import create_name_indexes
from src.maintenance.brief_waits import BRIEFLY

# Segments whose index entry is current are not written, so repeating the statement costs only reads.
_REINDEX = text("""
WITH batch AS (
    SELECT s.id, s.text, s.search, s.search_config,
           -- The current configuration of the segment's language.
           l.search_config AS config
      FROM public.transcription_segments s JOIN public.transcriptions t ON t.id = s.transcription_id
      JOIN public.languages l ON l.id = t.language_id
     WHERE s.id > :since ORDER BY s.id LIMIT :max_rows
), changed AS (
    UPDATE public.transcription_segments s SET search_config = b.config FROM batch b
     WHERE s.id = b.id
       AND (b.search_config <> b.config OR b.search IS DISTINCT FROM public.search_vector_1(b.config, b.text))
    RETURNING 1
)
SELECT (SELECT max(id) FROM batch) AS last_id, (SELECT count(*) FROM changed) AS changed
""")


@dataclass(frozen=True)
class Batch:
    """A committed batch: the id of its last segment, and the number of reindexed segments."""

    last_id: int
    changed: int


def reindex(engine: Engine, *, batch: int = 5000, since: int = 0) -> Iterator[Batch]:
    """Reindex, as the owner, the segments whose index entry is outdated; yield after each committed batch.

    Segment texts do not change, so history and seals are not affected. After a stop, continue with `since`, or from the
    start at the cost of reading again.
    """
    while True:
        with engine.begin() as connection:
            connection.execute(BRIEFLY)
            done = connection.execute(_REINDEX, {"since": since, "max_rows": batch}).one()
        if done.last_id is None:
            return
        since = done.last_id
        yield Batch(done.last_id, done.changed)


def index_names(engine: Engine) -> bool:
    """Create the trigram indexes on names concurrently; return False if pg_trgm is not available."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return create_name_indexes(connection, concurrently=True)
