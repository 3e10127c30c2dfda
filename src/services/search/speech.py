"""Finding words in what was said, with their times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import RowMapping, Select, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB, TSQUERY
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, Float

from src.database.models import AudioFile, Case, Language, Transcription, TranscriptionSegment
from src.database.session import actor_of
from src.errors import InvalidInput
from src.services import activity
from src.services.search import filters, marks
from src.services.search.pages import Page, read_cursor, require_limit, write_cursor

LOW_CONFIDENCE = "low_confidence"
_OF_THE_ROW = ("marked", "folded", "moment", "total")
KEYS: dict[str, tuple[type, ...]] = {"rank": (float, int), "time": (str, int, int, int)}


@dataclass(frozen=True)
class Hit:
    """A segment that matches: where, when, who. Times are in milliseconds, `start` and `end` in seconds."""

    segment_id: int
    case_id: int
    audio_file_id: int
    audio_name: str
    transcription_id: int
    version: int
    language: str
    recorded_at: datetime | None
    start_ms: int | None
    end_ms: int | None
    speaker: str | None
    text: str
    snippet: str
    confidence: float | None
    flags: list[str]
    rank: float

    @property
    def start(self) -> float | None:
        return None if self.start_ms is None else self.start_ms / 1000

    @property
    def end(self) -> float | None:
        return None if self.end_ms is None else self.end_ms / 1000

    @property
    def low_confidence(self) -> bool:
        """Whether the recogniser, or whoever imported its result, doubted what it heard."""
        return LOW_CONFIDENCE in self.flags


def transcripts(
    session: Session,
    query: str,
    *,
    case: Case | int | None = None,
    cases: Iterable[Case | int] | None = None,
    recording: AudioFile | int | None = None,
    language: str | None = None,
    speaker: str | None = None,
    between: tuple[int | None, int | None] | None = None,
    recorded: filters.Moments | None = None,
    created: filters.Moments | None = None,
    status: str | None = None,
    min_confidence: float | None = None,
    versions: filters.Versions = "newest",
    include_flagged: bool = False,
    order: Literal["rank", "time"] = "rank",
    limit: int = 50,
    after: str | None = None,
) -> Page[Hit]:
    """Find segments by web-search syntax: words, "a phrase", OR (in capitals), -without, beginning*.

    Each segment is searched by the rules of its own language, so that inflected forms are found, with or without
    accents; Chinese, Japanese, Korean, Thai and their like by their characters. `snippet` marks what matched with
    brackets. Only what the actor may read is found, and nothing of recordings that are marked for deletion.

    `between` is a stretch of the recording in milliseconds: segments that touch it. `recorded` and `created` are
    moments, the first and the end (which is not part of it), of the recording. `status` is the recording's; `speaker`
    is exact. `versions`: of each recording and language the newest, the one accepted last, or all. Segments flagged as
    no speech or repetition are left out unless `include_flagged`; low confidence only marks the hit. `order`: best
    first, or by recording (by the time that it was recorded, else stored) and time. A page holds at most `limit` hits;
    `after` is the `next` of the page before. Raises InvalidInput for a query, filter or cursor that cannot be.
    """
    actor_of(session)
    filters.require_query(query)
    require_limit(limit)
    if order not in KEYS:
        raise InvalidInput(f"order is {order!r}; give rank or time.")
    asked = filters.narrowing(
        session, case=case, cases=cases, recording=recording, language=language, speaker=speaker, between=between,
        recorded=recorded, created=created, status=status, min_confidence=min_confidence, versions=versions,
        include_flagged=include_flagged,
    )  # fmt: skip
    question = (query, asked, order)
    cursor = read_cursor(question, after, KEYS[order])
    asked |= {"order": order, "most": limit + 1} | ({"after": cursor.keys} if cursor else {})
    rows = session.execute(statement(query, asked)).mappings().all()
    page = rows[:limit]
    total = cursor.total if cursor else rows[0]["total"] if rows else 0
    runs = marks.unspaced_runs(query)
    hits = [_hit(row, runs) for row in page]
    more = len(rows) > limit
    following = write_cursor(question, total, _keys(page[-1], order)) if more else None
    only = asked["cases"][0] if len(asked.get("cases", ())) == 1 else None
    activity.note_read(session, "search.made", case_id=only, detail={"query": query, "hits": len(hits)})
    return Page(hits, total=total, next=following)


def statement(query: str, asked: Mapping[str, Any]) -> Select[Any]:
    """Return the query that reads again, under row security, what the definer function found in the index."""
    found = (
        func.public.search_page(query, cast(dict(asked), JSONB))
        .table_valued("segment_id", "rank", "total", "terms")
        .render_derived()
    )
    segment = TranscriptionSegment
    marked, folded = marks.headlines(segment.search_config, segment.text, cast(found.c.terms, TSQUERY), query)
    moment = func.coalesce(AudioFile.recorded_at, AudioFile.created_at)
    keys = (
        (moment, AudioFile.id, func.coalesce(segment.start_ms, -1), segment.id)
        if asked.get("order") == "time"
        else (cast(found.c.rank, Float).desc(), segment.id)
    )
    columns: list[Any] = [
        segment.id.label("segment_id"),
        segment.case_id,
        Transcription.audio_file_id,
        AudioFile.name.label("audio_name"),
        Transcription.id.label("transcription_id"),
        Transcription.version,
        Language.code.label("language"),
        AudioFile.recorded_at,
        moment.label("moment"),
        segment.start_ms,
        segment.end_ms,
        segment.speaker,
        segment.text,
        marked.label("marked"),
        folded.label("folded"),
        segment.confidence,
        segment.flags,
        cast(found.c.rank, Float).label("rank"),
        cast(found.c.total, BigInteger).label("total"),
    ]
    return (
        select(*columns)
        .join(found, cast(found.c.segment_id, BigInteger) == segment.id)
        .join(Transcription, Transcription.id == segment.transcription_id)
        .join(AudioFile, AudioFile.id == Transcription.audio_file_id)
        .join(Language, Language.id == Transcription.language_id)
        .order_by(*keys)
    )


def _hit(row: RowMapping, runs: list[str]) -> Hit:
    snippet = marks.snippet(row["text"], row["marked"], row["folded"], runs)
    return Hit(snippet=snippet, **{name: value for name, value in row.items() if name not in _OF_THE_ROW})


def _keys(row: RowMapping, order: str) -> tuple[Any, ...]:
    if order == "rank":
        return (row["rank"], row["segment_id"])
    start = -1 if row["start_ms"] is None else row["start_ms"]
    return (row["moment"].isoformat(), row["audio_file_id"], start, row["segment_id"])
