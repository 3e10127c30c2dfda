"""Adding a version, and what every way to one has in common: turns among writers, numbers without gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from src.database.connection.session import actor_of
from src.database.connection.timeouts import disable_idle_timeout
from src.database.models import AudioFile, Language, Transcription
from src.errors import InvalidInput, NotFound
from src.formats.values import Segment, require_unused
from src.services import activity
from src.services.lookup import language_by_code, validate_text
from src.services.transcripts.segment_rows import require_probability
from src.services.transcripts.staging import MOST_AS_PARAMETERS, StagedSegments

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
    segments' texts. `segments` may be a recogniser's generator: the transaction may wait for it as long as it takes.
    The words can be found by search as soon as the session commits. Raises InvalidInput that names the segment (and
    word) which cannot be stored, before anything is, and for a base of another recording; NotFound for a recording that
    is not the actor's.
    """
    actor_of(session)
    require_probability(confidence, "the whole")
    given = gathered(session, segments)
    # Few segments are checked in no time: the turn is taken while the recording is looked up.
    found = recording(session, audio, take_turn=len(given) <= MOST_AS_PARAMETERS)
    if based_on is not None and based_on.audio_file_id != found.id:
        raise InvalidInput("The version it is based on is of another recording; give one of this recording.")
    spoken = language_by_code(session, language) if language is not None else found.language
    spoken = spoken or language_by_code(session, UNDETERMINED)
    with StagedSegments(session, given) as prepared:
        if len(given) > MOST_AS_PARAMETERS:
            recording(session, audio, take_turn=True)
        transcription = next_version(
            session,
            found,
            spoken,
            content=validate_text(content, "content") if content is not None else prepared.content,
            based_on_id=based_on.id if based_on is not None else None,
            confidence=confidence,
            model_name=model_name,
            model_version=model_version,
        )
        prepared.store(found.case_id, transcription.id, spoken.search_config)
    record_added(session, found, transcription, segments=len(given))
    return transcription


def gathered(session: Session, segments: Iterable[Segment]) -> Sequence[Segment]:
    """Return the segments, all of them; the transaction may idle for a recogniser that is still at work."""
    if isinstance(segments, Sequence):
        return segments
    require_unused(segments, "segments")
    disable_idle_timeout(session)
    return list(segments)


def recording(session: Session, audio: AudioFile, *, take_turn: bool) -> AudioFile:
    """Return this session's row of a recording; with `take_turn`, once no other writer of versions is before us.

    One lock for all that is written below a recording: whoever adds and imports in one transaction can wait for
    nobody who waits for him. Raises NotFound for a recording that is not the actor's.
    """
    query = select(AudioFile).where(AudioFile.id == audio.id)
    if take_turn:
        query = query.add_columns(func.pg_advisory_xact_lock(turn(AudioFile.id)))
    found: AudioFile | None = session.scalars(query).one_or_none()
    if found is None:
        raise NotFound("There is no such recording, or it is not yours to see.")
    return found


def turn(audio_id: Any) -> ColumnElement[int]:
    """Return the number of the lock that writers of one recording's versions take."""
    return func.hashtextextended(func.concat("transcription ", audio_id), 0)


def next_version(session: Session, audio: AudioFile, language: Language, **columns: Any) -> Transcription:
    """Add the row of the next version, for a caller whose turn it is."""
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
        # Asked by the statement that uses it, which begins when the turn is ours: an earlier one may have seen less.
        version=func.coalesce(newest.scalar_subquery(), 0) + 1,
        **columns,
    )
    session.add(transcription)
    session.flush()  # the segments need its id
    set_committed_value(transcription, "language", language)
    return transcription


def record_added(session: Session, audio: AudioFile, transcription: Transcription, **detail: Any) -> None:
    activity.record(
        session,
        "transcript.added",
        case_id=audio.case_id,
        entity=transcription,
        detail={
            "name": audio.name,
            "version": transcription.version,
            "language": transcription.language.code,
            **detail,
        },
    )
