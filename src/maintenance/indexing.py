"""Bringing the index in step with its rules, in batches that can be stopped and repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, text

from src.database.provisioning.extensions import create_name_indexes

# What is indexed as it would be today is left alone, so that going on after a stop, or twice, writes nothing again.
_REINDEX = text("""
WITH batch AS (
    SELECT s.id, s.text, s.search, s.search_config,
           -- Where nobody gave the segment rules of its own they are those of its language, whatever these were before.
           l.search_config AS config
      FROM public.transcription_segments s JOIN public.transcriptions t ON t.id = s.transcription_id
      JOIN public.languages l ON l.id = t.language_id
     WHERE s.id > :since ORDER BY s.id LIMIT :most
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
    """A batch that is committed: the last segment that it looked at, and how many it indexed anew."""

    last_id: int
    changed: int


def reindex(engine: Engine, *, batch: int = 5000, since: int = 0) -> Iterator[Batch]:
    """Index anew, as the owner, what the rules of today index otherwise; yield after each committed batch.

    What was said is not touched, so history and its proofs stand. Stopped, it goes on with `since`, or from the start
    at the price of reading again.
    """
    while True:
        with engine.begin() as connection:
            done = connection.execute(_REINDEX, {"since": since, "most": batch}).one()
        if done.last_id is None:
            return
        since = done.last_id
        yield Batch(done.last_id, done.changed)


def index_names(engine: Engine) -> bool:
    """Make the indexes for parts of names without stopping writers; return whether pg_trgm is there to make them."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return create_name_indexes(connection, concurrently=True)
