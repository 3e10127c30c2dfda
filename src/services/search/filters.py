"""Search filters, validated before the query runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from src.database.models import AudioFile, AudioStatus, Case
from src.database.models.audio_files import StatusCode
from src.database.schema.moments import require_moment
from src.errors import InvalidInput
from src.services.parameters import by_code, language_by_code, require_choice, validate_text
from src.services.search import highlighting

Versions = Literal["newest", "accepted", "all"]
Moments = tuple[datetime | None, datetime | None]

LONGEST_QUERY = 1000
MOST_PARTS = 100
_BIGINT = 2**63


def require_query(query: str) -> str:
    """Return the query. Raises InvalidInput for one that is invalid or too long."""
    if not isinstance(query, str) or len(query) > LONGEST_QUERY or "\0" in query:
        raise InvalidInput(
            f"query: give text of at most {LONGEST_QUERY} characters without NUL.", field="query", limit=LONGEST_QUERY
        )
    validate_text(query, "query")
    count = len(highlighting.parts(query))
    if count > MOST_PARTS:
        raise InvalidInput(
            f"query: {count} words and phrases; at most {MOST_PARTS}.", field="query", value=count, limit=MOST_PARTS
        )
    return query


def row_id(thing: Any, place: str) -> int:
    """Return the id of a row, or the given id. Raises InvalidInput for other values."""
    value = getattr(thing, "id", thing)
    if isinstance(value, bool) or not isinstance(value, int) or not -_BIGINT <= value < _BIGINT:
        raise InvalidInput(f"{place}: {value!r} is neither a row nor the id of a row.", field=place, value=value)
    return value


def narrowing(
    session: Session,
    *,
    case: Case | int | None,
    cases: Iterable[Case | int] | None,
    recording: AudioFile | int | None,
    language: str | None,
    speaker: str | None,
    between: tuple[int | None, int | None] | None,
    recorded: Moments | None,
    created: Moments | None,
    status: StatusCode | AudioStatus | None,
    min_confidence: float | None,
    versions: Versions,
    include_flagged: bool,
) -> dict[str, Any]:
    """Return the filters in the form of `search_page`. Raises InvalidInput, which names the invalid filter."""
    require_choice(versions, Versions, "versions")
    if case is not None and cases is not None:
        raise InvalidInput("case and cases: give one of them, not both.", field="case")
    selected = [case] if case is not None else cases
    asked: dict[str, Any] = {"versions": versions, "flagged": bool(include_flagged)}
    if selected is not None:
        asked["cases"] = [row_id(each, "cases" if case is None else "case") for each in selected]
    if recording is not None:
        asked["recording"] = row_id(recording, "recording")
    if language is not None:
        asked["language"] = language_by_code(session, language).id
    if speaker is not None:
        asked["speaker"] = validate_text(speaker, "speaker")
    if status is not None:
        asked["status"] = by_code(session, AudioStatus, status, "status").id
    if min_confidence is not None:
        if isinstance(min_confidence, bool) or not math.isfinite(min_confidence) or not 0 <= min_confidence <= 1:
            raise InvalidInput(
                f"min_confidence: {min_confidence!r}; give a number from 0 to 1.",
                field="min_confidence",
                value=min_confidence,
                limit=1,
            )
        asked["min_confidence"] = float(min_confidence)
    asked |= _span("between", between, ("from_ms", "to_ms"), _milliseconds)
    asked |= _span("recorded", recorded, ("recorded_from", "recorded_to"), lambda time: _moment(time, "recorded"))
    asked |= _span("created", created, ("created_from", "created_to"), lambda time: _moment(time, "created"))
    return asked


def _span(place: str, span: Any, names: tuple[str, str], read: Any) -> dict[str, Any]:
    if span is None:
        return {}
    if not isinstance(span, tuple | list) or len(span) != 2:
        raise InvalidInput(f"{place}: give a pair of start and end; None for an open end.", field=place)
    return {name: read(value) for name, value in zip(names, span, strict=True) if value is not None}


def _milliseconds(time: Any) -> int:
    if isinstance(time, bool) or not isinstance(time, int) or not -_BIGINT <= time < _BIGINT:
        raise InvalidInput(
            f"between: {time!r} is not an integer number of milliseconds (start_ms and end_ms of a hit).",
            field="between",
            value=time,
        )
    return time


def _moment(value: Any, place: str) -> str:
    return require_moment(value, place).isoformat()
