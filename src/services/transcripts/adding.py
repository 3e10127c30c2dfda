"""Add a version; and the common part of all ways to add one: the lock of writers, version numbers without gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from src.database.connection.session import actor_of
from src.database.connection.timeouts import disable_idle_timeout
from src.database.models import AudioFile, Language, Transcription
from src.errors import InvalidInput, NotFound
from src.formats.segments import Segment, require_unused
from src.services import activity
from src.services.parameters import in_session, language_by_code, row_of, validate_text
from src.services.transcripts.segment_rows import require_probability
from src.services.transcripts.staging import MOST_AS_PARAMETERS, StagedSegments

UNDETERMINED = "und"


def add(
    session: Session,
    audio: AudioFile | int,
    segments: Iterable[Segment],
    *,
    language: str | None = None,
    content: str | None = None,
    confidence: float | None = None,
    model_name: str | None = None,
    model_version: str | None = None,
    based_on: Transcription | int | None = None,
) -> Transcription:
    """Add the next version of a recording's transcription: 1, 2, 3 … per recording and language.

    `language` is a BCP 47 code; by default the recording's, else `und`. `content` is the whole text; by default the
    segments' texts. `segments` may be the generator of a recogniser: the transaction then has no idle timeout. The text
    can be searched as soon as the session commits. Raises InvalidInput, which names the segment and word, for values
    that cannot be stored, before anything is stored, and for a base of another recording; NotFound for a recording that
    the actor may not see.
    """
    audio = row_of(AudioFile, audio)
    actor_of(session)
    require_probability(confidence, "transcription")
    given = gathered(session, segments)
    # Validating a few segments is fast: take the lock in the query for the recording, which saves a round trip.
    found = recording(session, audio, lock=len(given) <= MOST_AS_PARAMETERS)
    if isinstance(based_on, int):
        based_on = in_session(session, row_of(Transcription, based_on))
    if based_on is not None and based_on.audio_file_id != found.id:
        raise InvalidInput(
            "based_on: belongs to another recording; give a version of this recording.", field="based_on"
        )
    spoken = language_by_code(session, language) if language is not None else found.language
    spoken = spoken or language_by_code(session, UNDETERMINED)
    with StagedSegments(session, given) as staged:
        if len(given) > MOST_AS_PARAMETERS:
            recording(session, audio, lock=True)
        transcription = next_version(
            session,
            found,
            spoken,
            content=validate_text(content, "content") if content is not None else staged.content,
            based_on_id=based_on.id if based_on is not None else None,
            confidence=confidence,
            model_name=model_name,
            model_version=model_version,
        )
        staged.store(found.case_id, transcription.id, spoken.search_config)
    record_added(session, found, transcription, segments=len(given))
    return transcription


def gathered(session: Session, segments: Iterable[Segment]) -> Sequence[Segment]:
    """Return all segments as a sequence; disables the idle timeout while a generator runs."""
    if isinstance(segments, Sequence):
        return segments
    require_unused(segments, "segments")
    disable_idle_timeout(session)
    return list(segments)


def recording(session: Session, audio: AudioFile, *, lock: bool) -> AudioFile:
    """Return this session's row of a recording; with `lock`, after waiting for other writers of its versions.

    One lock for all writes below a recording: adding and importing in one transaction cannot deadlock. Raises NotFound
    for a recording that the actor may not see.
    """
    found = session.scalars(select(AudioFile).where(AudioFile.id == audio.id)).one_or_none()
    if found is None:
        raise NotFound(f"Recording {audio.id} does not exist, or you may not see it.")
    if lock:
        session.execute(select(func.public.lock_in_case(found.case_id, f"transcription {found.id}")))
    return found


def next_version(session: Session, audio: AudioFile, language: Language, **columns: Any) -> Transcription:
    """Add the row of the next version; the caller holds the lock of the recording."""
    newest = select(func.max(Transcription.version)).where(
        Transcription.audio_file_id == audio.id, Transcription.language_id == language.id
    )
    for name in ("model_name", "model_version"):
        if columns.get(name) is not None:
            columns[name] = validate_text(columns[name], name)
    transcription = Transcription(
        case_id=audio.case_id,
        audio_file_id=audio.id,
        language_id=language.id,
        # Computed by the INSERT, which starts after the lock is held: an earlier snapshot may lack the newest version.
        version=func.coalesce(newest.scalar_subquery(), 0) + 1,
        **columns,
    )
    session.add(transcription)
    session.flush()  # the segments need the id
    set_committed_value(transcription, "language", language)
    return transcription


def record_added(session: Session, audio: AudioFile, transcription: Transcription, **detail: Any) -> None:
    activity.record(
        session,
        "transcript.added",
        case=audio.case_id,
        entity=transcription,
        detail={
            "name": audio.name,
            "version": transcription.version,
            "language": transcription.language.code,
            **detail,
        },
    )
