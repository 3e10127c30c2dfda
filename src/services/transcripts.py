"""Transcriptions: versions of what was said. Nothing is ever edited in place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from src.database.models import AudioFile, Transcription, TranscriptionSegment
from src.database.session import actor_of
from src.errors import InvalidInput, NotFound
from src.formats.values import Segment, Word
from src.services import activity
from src.services.cases import now
from src.services.lookup import in_session, language_by_code, storable

__all__ = ["Segment", "Word", "accept", "add", "latest"]

UNDETERMINED = "und"


def add(
    session: Session,
    audio: AudioFile,
    segments: Iterable[Segment],
    *,
    language: str | None = None,
    content: str | None = None,
    confidence: float | None = None,
    model_name: str | None = None,
    model_version: str | None = None,
    based_on: Transcription | None = None,
) -> Transcription:
    """Add the next version of a recording's transcription: 1, 2, 3 … per recording and language.

    `language` is a BCP 47 code; by default the recording's, else `und`. `content` is the whole text; by default the
    segments' texts. The words can be found by search as soon as the session commits. Raises InvalidInput that names the
    segment (and word) which cannot be stored, NotFound for a recording that is not the actor's.
    """
    actor_of(session)
    rows = [_row(index, segment) for index, segment in enumerate(segments)]
    _require_probability(confidence, "confidence")
    found = session.scalars(select(AudioFile).where(AudioFile.id == audio.id)).one_or_none()
    if found is None:
        raise NotFound("There is no such recording, or it is not yours to see.")
    spoken = language_by_code(session, language) if language is not None else found.language
    spoken = spoken or language_by_code(session, UNDETERMINED)
    # Writers of one recording take turns here, so that versions have no gap and no duplicate.
    lock = func.hashtextextended(f"transcription {found.id} {spoken.id}", 0)
    session.execute(select(func.pg_advisory_xact_lock(lock)))
    newest = session.scalar(
        select(func.max(Transcription.version)).where(
            Transcription.audio_file_id == found.id, Transcription.language_id == spoken.id
        )
    )
    transcription = Transcription(
        case_id=found.case_id,
        audio_file_id=found.id,
        language=spoken,
        version=(newest or 0) + 1,
        based_on_id=based_on.id if based_on is not None else None,
        content=storable(content, "content") if content is not None else " ".join(r["text"].strip() for r in rows),
        confidence=confidence,
        model_name=model_name,
        model_version=model_version,
    )
    session.add(transcription)
    session.flush()  # the segments need its id
    if rows:
        shared = {
            "case_id": found.case_id,
            "transcription_id": transcription.id,
            "search_config": spoken.search_config,
        }
        session.execute(insert(TranscriptionSegment), [{**shared, **row} for row in rows])
    activity.record(
        session,
        "transcript.added",
        case_id=found.case_id,
        entity=transcription,
        detail={
            "name": found.name,
            "version": transcription.version,
            "language": spoken.code,
            "segments": len(rows),
        },
    )
    return transcription


def latest(
    session: Session, audio: AudioFile, *, language: str | None = None, accepted: bool = False
) -> Transcription | None:
    """Return the newest version, or the newest accepted one; None when there is none that the actor may see.

    None too for a recording that is marked as deleted.
    """
    query = select(Transcription).join(AudioFile, AudioFile.id == Transcription.audio_file_id)
    query = query.where(Transcription.audio_file_id == audio.id, AudioFile.deleted_at.is_(None))
    if language is not None:
        query = query.where(Transcription.language_id == language_by_code(session, language).id)
    if accepted:
        query = query.where(Transcription.accepted_at.is_not(None)).order_by(Transcription.accepted_at.desc())
    newest_first = query.order_by(Transcription.created_at.desc(), Transcription.version.desc())
    found = session.scalars(newest_first.limit(1)).first()
    if found is not None:
        detail = {"name": audio.name, "version": found.version}
        activity.note_read(session, "transcript.read", case_id=found.case_id, entity=found, detail=detail)
    return found


def accept(session: Session, transcription: Transcription) -> Transcription:
    """Mark a version as the accepted one: who and when. Newest is not the same as accepted."""
    actor, moment = actor_of(session), now(session)
    transcription = in_session(session, transcription)
    transcription.accepted_by_id, transcription.accepted_at = actor, moment
    session.flush()  # refused here rather than at the end, when it is not the actor's to accept
    activity.record(
        session,
        "transcript.accepted",
        case_id=transcription.case_id,
        entity=transcription,
        detail={"version": transcription.version},
    )
    return transcription


def _row(index: int, segment: Segment) -> dict[str, Any]:
    place = f"segment {index}"
    _require_span(segment.start_ms, segment.end_ms, place)
    _require_probability(segment.confidence, place)
    return {
        "position": index,
        "start_ms": segment.start_ms,
        "end_ms": segment.end_ms,
        "speaker": storable(segment.speaker, place) if segment.speaker is not None else None,
        "text": storable(segment.text, place),
        "words": None
        if segment.words is None
        else [_word(word, f"{place}, word {number}") for number, word in enumerate(segment.words)],
        "confidence": segment.confidence,
        "flags": list(segment.flags),
    }


def _word(word: Word, place: str) -> Mapping[str, Any]:
    _require_span(word.start_ms, word.end_ms, place)
    _require_probability(word.confidence, place)
    known = {
        "text": storable(word.text, place),
        "start_ms": word.start_ms,
        "end_ms": word.end_ms,
        "confidence": word.confidence,
    }
    # Absent stays absent: a null would claim that somebody looked.
    return {name: value for name, value in known.items() if value is not None}


def _require_span(start_ms: int | None, end_ms: int | None, place: str) -> None:
    for time in (start_ms, end_ms):
        if time is not None and (isinstance(time, bool) or not isinstance(time, int) or not 0 <= time < 2**53):
            raise InvalidInput(f"{place}: {time!r} is not a time in whole milliseconds from 0 on.")
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise InvalidInput(f"{place}: it ends at {end_ms} ms, before it starts at {start_ms} ms.")


def _require_probability(value: float | None, place: str) -> None:
    if value is not None and not (math.isfinite(value) and 0 <= value <= 1):
        raise InvalidInput(f"{place}: the confidence {value!r} is not a number from 0 to 1.")
