"""Read and accept versions. Every read of transcript text is logged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from src.database.connection.access_log import NOTED, notes_itself
from src.database.connection.session import actor_of
from src.database.models import AudioFile, Transcription, TranscriptionSegment
from src.formats.segments import Segment, Word
from src.services import activity
from src.services.parameters import in_session, language_by_code, row_of
from src.services.readable_rows import Unreadable, is_unreadable, readable_rows

_AT_ONCE = 2_000


def latest(
    session: Session, audio: AudioFile | int, *, language: str | None = None, accepted: bool = False
) -> Transcription | None:
    """Return the newest version, or the one that was accepted last; None when the actor may see none.

    The newest version is the one added last, in one language or in all. Also None for a recording that is marked as
    deleted.
    """
    audio = row_of(AudioFile, audio)
    query = select(Transcription).join(AudioFile, AudioFile.id == Transcription.audio_file_id)
    query = query.where(Transcription.audio_file_id == audio.id, AudioFile.deleted_at.is_(None))
    if language is not None:
        query = query.where(Transcription.language_id == language_by_code(session, language).id)
    if accepted:
        query = query.where(Transcription.accepted_at.is_not(None)).order_by(Transcription.accepted_at.desc())
    newest_first = query.order_by(
        Transcription.created_at.desc(), Transcription.version.desc(), Transcription.id.desc()
    )
    found = session.scalars(newest_first.limit(1)).first()
    if found is not None:
        note_read(session, found, name=audio.name)
    return found


@notes_itself
def versions(session: Session, audio: AudioFile | int, *, language: str | None = None) -> list[Transcription]:
    """Return all versions that the actor may see, in one language or in all, oldest first."""
    audio = row_of(AudioFile, audio)
    query = select(Transcription).where(Transcription.audio_file_id == audio.id)
    if language is not None:
        query = query.where(Transcription.language_id == language_by_code(session, language).id)
    found = list(session.scalars(query.order_by(Transcription.id)))
    note_reads(session, found, name=audio.name)
    return found


def segments(session: Session, transcription: Transcription | int) -> list[Segment]:
    """Return the segments of a version, in the order in which they were added.

    Raises NotFound for a version that the actor may not see.
    """
    transcription = row_of(Transcription, transcription)
    transcription = in_session(session, transcription)
    note_read(session, transcription)
    return list(stored_segments(session, transcription))


@notes_itself
def accept(session: Session, transcription: Transcription | int) -> Transcription:
    """Mark a version as accepted, with actor and time. The newest version need not be the accepted one.

    Per language, the version that was accepted last is the current one. Accepting the current one changes nothing; an
    earlier one becomes current when it is accepted again. Each acceptance is logged.
    """
    transcription = row_of(Transcription, transcription)
    actor = actor_of(session)
    transcription = in_session(session, transcription)
    if transcription.accepted_at is not None and accepted_one(session, transcription) == transcription.id:
        return transcription
    transcription.accepted_by_id = actor
    # Not now(): of two versions that are accepted in one transaction, the second one is current.
    transcription.accepted_at = func.clock_timestamp()
    session.flush()  # raises here, not at commit, if the actor may not accept it
    name = session.scalar(select(AudioFile.name).where(AudioFile.id == transcription.audio_file_id))
    activity.record(
        session,
        "transcript.accepted",
        case=transcription.case_id,
        entity=transcription,
        detail={"name": f"version {transcription.version} of {name}", "version": transcription.version},
    )
    return transcription


def accepted_one(session: Session, like: Transcription) -> int | None:
    """Return the id of the current accepted version of the same recording and language."""
    found: int | None = session.scalar(
        select(Transcription.id)
        .where(
            Transcription.audio_file_id == like.audio_file_id,
            Transcription.language_id == like.language_id,
            Transcription.accepted_at.is_not(None),
        )
        .order_by(Transcription.accepted_at.desc(), Transcription.id.desc())
        .limit(1)
    )
    return found


def note_reads(session: Session, found: Sequence[Transcription], **detail: Any) -> None:
    """Note one look at versions of a recording: one entry, which names all of them."""
    if len(found) == 1:
        note_read(session, found[0], **detail)
    elif found:
        audio = row_of(AudioFile, found[0].audio_file_id)
        detail |= {"versions": [each.version for each in found], "transcriptions": [each.id for each in found]}
        activity.note_read(session, "transcript.read", case=found[0].case_id, entity=audio, detail=detail)


def note_read(session: Session, transcription: Transcription, **detail: Any) -> None:
    activity.note_read(
        session,
        "transcript.read",
        case=transcription.case_id,
        entity=transcription,
        detail={**detail, "version": transcription.version},
    )


def stored_segments(session: Session, transcription: Transcription) -> Iterator[Segment]:
    """Yield the segments of a version that this session can see, in batches.

    A segment whose words cannot be read has none; a warning in the log of the program names it.
    """
    row = TranscriptionSegment
    columns = (row.position, row.text, row.start_ms, row.end_ms, row.speaker, row.confidence, row.flags)
    query = (
        select(*columns, row.words)
        .where(row.case_id == transcription.case_id, row.transcription_id == transcription.id)
        .order_by(row.position)
    )
    read = -1
    try:
        for found in session.execute(query, execution_options={"yield_per": _AT_ONCE, **NOTED}):
            yield _segment(found, found.words)
            read = found.position
    except (ArithmeticError, RecursionError, ValueError, DBAPIError) as error:
        if not is_unreadable(error):
            raise
    else:
        return
    for found in readable_rows(session, query.where(row.position > read).execution_options(**NOTED), row):
        if isinstance(found, Unreadable):
            rest = select(*columns).where(row.id == found.id).execution_options(**NOTED)
            yield _segment(session.execute(rest).one(), None)
        else:
            yield _segment(found, found.words)


def _segment(found: Any, words: list[dict[str, Any]] | None) -> Segment:
    parsed = None if words is None else [_word(word) for word in words]
    return Segment(
        found.text, found.start_ms, found.end_ms, found.speaker, parsed, found.confidence, tuple(found.flags)
    )


def _word(fields: dict[str, Any]) -> Word:
    sure = fields.get("confidence")
    return Word(
        fields["text"],
        fields.get("start_ms"),
        fields.get("end_ms"),
        None if sure is None else float(sure),
        fields.get("speaker"),
    )
