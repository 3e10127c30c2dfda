"""Finding words in what was said, with their times."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Integer, cast, func, select
from sqlalchemy.dialects.postgresql import REGCONFIG
from sqlalchemy.orm import Session

from src.database.models import AudioFile, Case, Transcription, TranscriptionSegment
from src.database.session import actor_of
from src.errors import InvalidInput
from src.services import activity

MARKS = ("[", "]")


@dataclass(frozen=True)
class Hit:
    """A segment that matches: where, when, who. Times are in milliseconds, `start` and `end` in seconds."""

    segment_id: int
    case_id: int
    audio_file_id: int
    audio_name: str
    transcription_id: int
    version: int
    start_ms: int | None
    end_ms: int | None
    speaker: str | None
    text: str
    snippet: str
    rank: float

    @property
    def start(self) -> float | None:
        return None if self.start_ms is None else self.start_ms / 1000

    @property
    def end(self) -> float | None:
        return None if self.end_ms is None else self.end_ms / 1000


def transcripts(session: Session, query: str, *, case: Case | None = None, limit: int = 50) -> list[Hit]:
    """Find segments of the newest transcriptions by web-search syntax: words, "a phrase", OR, -without.

    Best first. Each language is searched by its own rules, so that inflected forms are found. `snippet` marks the words
    that matched with brackets. Only what the actor may read is found. Raises InvalidInput for a query that cannot be.
    """
    actor_of(session)
    if len(query) > 1000 or "\0" in query or any("\ud800" <= character <= "\udfff" for character in query):
        raise InvalidInput("The query must be text of at most 1000 characters without NUL.")
    if not 1 <= limit <= 1000:
        raise InvalidInput(f"limit is {limit}; give a number from 1 to 1000.")
    # The definer function reads the index; the rows themselves are read again under row security.
    found = func.public.search_segments(
        query, cast(case.id if case is not None else None, BigInteger), cast(limit, Integer)
    ).table_valued("segment_id", "rank")
    segment = TranscriptionSegment
    snippet = func.ts_headline(
        cast(segment.search_config, REGCONFIG),
        segment.text,
        func.public.search_query(segment.search_config, query),
        f"StartSel={MARKS[0]}, StopSel={MARKS[1]}, MaxWords=30, MinWords=10",
    )
    rows = session.execute(
        select(
            segment.id.label("segment_id"),
            segment.case_id,
            Transcription.audio_file_id,
            AudioFile.name.label("audio_name"),
            Transcription.id.label("transcription_id"),
            Transcription.version,
            segment.start_ms,
            segment.end_ms,
            segment.speaker,
            segment.text,
            snippet.label("snippet"),
            found.c.rank,
        )
        .join(found, found.c.segment_id == segment.id)
        .join(Transcription, Transcription.id == segment.transcription_id)
        .join(AudioFile, AudioFile.id == Transcription.audio_file_id)
        .order_by(found.c.rank.desc(), AudioFile.id, segment.start_ms, segment.id)
        .limit(limit)
    )
    hits = [Hit(**row) for row in rows.mappings()]
    detail = {"query": query, "hits": len(hits)}
    activity.note_read(session, "search.made", case_id=case.id if case is not None else None, detail=detail)
    return hits
