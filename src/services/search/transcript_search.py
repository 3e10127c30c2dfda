"""Full-text search in transcripts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from src.database.connection.session import actor_of
from src.database.models import AudioFile, AudioStatus, Case
from src.database.models.audio_files import StatusCode
from src.services import activity
from src.services.parameters import require_choice
from src.services.search import filters, highlighting
from src.services.search.pagination import Page, read_cursor, require_limit, write_cursor

LOW_CONFIDENCE = "low_confidence"
_NOT_IN_HIT = {"marked", "folded", "words", "moment", "total", "terms", "search_config", "is_rewritten"}
Order = Literal["rank", "time"]
KEYS: dict[str, tuple[type, ...]] = {"rank": (float, int), "time": (str, int, int, int)}

# OFFSET 0 makes the planner start from the ids that the function returns, instead of reading the actor's cases.
# Marked in steps of 0.1 ms, each only if needed: the text itself; the folded text, if the first step marked nothing or
# may have missed a word; then single words, 0.1 ms for ten of them.
_CONFIG, _WHOLE = "search_config::regconfig", highlighting.WHOLE
_TEXT = highlighting.UNMARKED.format("s.text")
_SPACED = (
    f"regexp_replace(public.search_fold_1(public.search_plain_1({highlighting.UNMARKED.format('x.text')})),"
    " '[' || public.search_unspaced_1() || ']', ' ', 'g')"
)
_ANY = r"regexp_replace(querytree(y.terms), ' (&|<->|<\d+>) ', ' | ', 'g')::tsquery"
# The words and phrases of the query, joined by OR: for `a b OR c d OR …` ts_headline expands the query to one condition
# for each way to take one word of each pair, which takes a gigabyte for thirty pairs.
_MARKING = """
    CASE WHEN numnode(p.terms) < 16 THEN p.terms ELSE regexp_replace(querytree(p.terms), ' & ', ' | ', 'g')::tsquery END
"""
_HITS = f"""
SELECT y.*, CASE WHEN :spaced AND strpos(y.marked, E'\\x02') + coalesce(strpos(y.folded, E'\\x02'), 0) = 0 THEN
                 ARRAY(SELECT DISTINCT w[1]
                         FROM regexp_matches(left({highlighting.UNMARKED.format("y.text")}, {highlighting.SPELLED}),
                                             '[^\\s' || public.search_unspaced_1() || ']+', 'g') AS w
                        WHERE public.search_lexemes_1(y.search_config, w[1]) @@ {_ANY}) END AS words
  FROM (SELECT x.*, CASE WHEN :spaced AND x.is_rewritten AND (:several OR strpos(x.marked, E'\\x02') = 0) THEN
                         ts_headline(x.{_CONFIG}, {_SPACED}, x.terms, '{_WHOLE}') END AS folded
          FROM (SELECT p.segment_id, p.rank, p.total, {_MARKING} AS terms
                  FROM public.search_page(:query, CAST(:asked AS jsonb)) p OFFSET 0) f
         CROSS JOIN LATERAL (
               SELECT s.id AS segment_id, s.case_id, t.audio_file_id, a.name AS audio_name, t.id AS transcription_id,
                      t.version, l.code AS language, a.recorded_at, coalesce(a.recorded_at, a.created_at) AS moment,
                      s.start_ms, s.end_ms, s.speaker, s.text, s.search_config, s.confidence, s.flags, f.rank, f.total,
                      f.terms,
                      length(s.text) <= {highlighting.LONGEST}
                      AND (octet_length(s.text) > length(s.text) OR public.search_plain_1(s.text) <> s.text)
                      AS is_rewritten,
                      CASE WHEN length(s.text) > {highlighting.LONGEST} THEN
                               ts_headline(s.{_CONFIG}, left({_TEXT}, {highlighting.BEGINNING}), f.terms,
                                           '{highlighting.PART}')
                           WHEN :spaced THEN ts_headline(s.{_CONFIG}, {_TEXT}, f.terms, '{_WHOLE}')
                           ELSE {_TEXT} END AS marked
                 FROM public.transcription_segments s
                 JOIN public.transcriptions t ON t.id = s.transcription_id
                 JOIN public.audio_files a ON a.id = t.audio_file_id
                 JOIN public.languages l ON l.id = t.language_id
                WHERE s.id = f.segment_id OFFSET 0) x OFFSET 0) y
 ORDER BY """  # noqa: S608 - only constants of this package
_READ_AGAIN = {
    "rank": text(_HITS.replace("::", r"\:\:") + "y.rank DESC, y.segment_id"),
    "time": text(_HITS.replace("::", r"\:\:") + "y.moment, y.audio_file_id, coalesce(y.start_ms, -1), y.segment_id"),
}


@dataclass(frozen=True)
class Hit:
    """A matching segment. `start_ms` and `end_ms` are in milliseconds, `start` and `end` in seconds.

    `pieces` is the snippet in pieces, each with whether it is a match. Only they say what matched: the text may itself
    contain brackets, as in `[inaudible]`, which look like the marks in `snippet`.
    """

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
    # Keep recorded speech out of logs and tracebacks.
    text: str = field(repr=False)
    snippet: str = field(repr=False)
    pieces: list[tuple[str, bool]] = field(repr=False)
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
        """Whether the segment was flagged as low confidence, by the recogniser or at import."""
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
    status: StatusCode | AudioStatus | None = None,
    min_confidence: float | None = None,
    versions: filters.Versions = "newest",
    include_flagged: bool = False,
    order: Order = "rank",
    limit: int = 50,
    after: str | None = None,
) -> Page[Hit]:
    """Find segments by web-search syntax: words, "a phrase", OR (in capitals), -excluded, prefix*.

    Each segment is searched with the text search configuration of its language: inflected forms match, with or without
    accents. Chinese, Japanese, Korean, Thai and similar scripts match by characters. `snippet` has brackets around
    matches, `pieces` separates them. Finds only segments that the actor may read, and none of recordings that are
    marked as deleted.

    `between` is a range of the recording in milliseconds: segments that overlap it. `recorded` and `created` are
    half-open time ranges of the recording. `status` is the recording's; `speaker` matches exactly. `versions`: of each
    recording and language the newest, the one accepted last, or all. Segments flagged as no speech or repetition are
    excluded unless `include_flagged`; low confidence is only a flag of the hit. `order`: by rank, or by recording (its
    recording time, else the time it was stored) and time. A page has at most `limit` hits; `after` is the `next` of the
    previous page. Raises InvalidInput for an invalid query, filter or cursor.
    """
    actor_of(session)
    filters.require_query(query)
    require_limit(limit)
    require_choice(order, Order, "order")
    asked = filters.narrowing(
        session, case=case, cases=cases, recording=recording, language=language, speaker=speaker, between=between,
        recorded=recorded, created=created, status=status, min_confidence=min_confidence, versions=versions,
        include_flagged=include_flagged,
    )  # fmt: skip
    search = (query, asked, order)
    cursor = read_cursor(search, after, KEYS[order])
    narrowed = asked | {"order": order, "max_rows": limit + 1} | ({"after": cursor.keys} if cursor else {})
    rows = read_again(session, query, narrowed)
    page = rows[:limit]
    total = cursor.total if cursor else rows[0]["total"] if rows else 0
    runs = highlighting.unspaced_runs(query)
    hits = [_hit(row, runs) for row in page]
    more = len(rows) > limit
    following = write_cursor(search, total, _keys(page[-1], order)) if more else None
    case_id = asked["cases"][0] if len(asked.get("cases", ())) == 1 else None
    detail = {"query": query, "hits": len(hits), "transcriptions": sorted({hit.transcription_id for hit in hits})}
    activity.note_read(session, "search.made", case=case_id, detail=detail)
    return Page(hits, total=total, next=following)


def read_again(session: Session, query: str, asked: Mapping[str, Any]) -> Sequence[RowMapping]:
    """Return the rows whose ids `search_page` returns, read under row security, in its order."""
    order = asked.get("order", "rank")
    words = highlighting.count_spaced_words(query)
    values = {"query": query, "asked": json.dumps(asked), "spaced": words > 0, "several": words > 1}
    return session.execute(_READ_AGAIN[order], values).mappings().all()


def _hit(row: RowMapping, runs: list[str]) -> Hit:
    marked = highlighting.snippet(row["text"], row["marked"], row["folded"], row["words"], runs)
    fields = {name: value for name, value in row.items() if name not in _NOT_IN_HIT}
    return Hit(snippet=highlighting.bracketed(marked), pieces=highlighting.pieces(marked), **fields)


def _keys(row: RowMapping, order: str) -> tuple[Any, ...]:
    if order == "rank":
        return (row["rank"], row["segment_id"])
    start = -1 if row["start_ms"] is None else row["start_ms"]
    return (row["moment"].isoformat(), row["audio_file_id"], start, row["segment_id"])
