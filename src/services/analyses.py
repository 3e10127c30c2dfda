"""Analyses of recordings, in versions. Each one refers to the transcription that it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from src.database.connection.access_log import notes_itself
from src.database.connection.session import actor_of
from src.database.models import AnalysisResult, AudioFile, Sentiment, Transcription
from src.database.models.analyses import SentimentCode
from src.errors import InvalidInput, NotFound
from src.services import activity
from src.services.analysis_details import checked, register_schema
from src.services.parameters import by_code, in_session, row_of, validate_text

__all__ = ["AnalysisResult", "accept", "add", "is_stale", "latest", "register_schema", "stale", "versions"]


@notes_itself
def add(
    session: Session,
    audio: AudioFile | int,
    *,
    summary: str = "",
    sentiment: SentimentCode | Sentiment | None = None,
    sentiment_score: float | None = None,
    details: Mapping[str, Any] | None = None,
    schema: str | None = None,
    transcription: Transcription | int | None = None,
    model_name: str | None = None,
    model_version: str | None = None,
) -> AnalysisResult:
    """Add the next version of a recording's analysis: 1, 2, 3 … per recording.

    `sentiment` is a code (positive, neutral, negative, mixed), `sentiment_score` a number from -1 to 1, `transcription`
    the analysed version. With `schema`, a name of `register_schema`, the details are validated against it and its name
    is stored. Raises InvalidInput, naming the field, for details that violate the schema or cannot be stored as JSON
    (NaN, NUL), an unknown sentiment, a score out of range and a transcription of another recording; NotFound for a
    recording that the actor may not see.
    """
    audio = row_of(AudioFile, audio)
    actor_of(session)
    if sentiment_score is not None and (type(sentiment_score) not in {int, float} or not -1 <= sentiment_score <= 1):
        raise InvalidInput(
            f"sentiment_score: {sentiment_score!r}; give a number from -1 to 1.",
            field="sentiment_score",
            value=sentiment_score,
            limit=1,
        )
    plain = checked(details, schema)
    found = session.scalars(select(AudioFile).where(AudioFile.id == audio.id)).one_or_none()
    if found is None:
        raise NotFound(f"Recording {audio.id} does not exist, or you may not see it.")
    session.execute(select(func.public.lock_in_case(found.case_id, f"analysis {found.id}")))
    if isinstance(transcription, int):
        transcription = in_session(session, row_of(Transcription, transcription))
    if transcription is not None and transcription.audio_file_id != found.id:
        raise InvalidInput(
            "transcription: belongs to another recording; give a version of this recording.", field="transcription"
        )
    newest = select(func.max(AnalysisResult.version)).where(AnalysisResult.audio_file_id == found.id)
    analysis = AnalysisResult(
        case_id=found.case_id,
        audio_file_id=found.id,
        transcription_id=transcription.id if transcription is not None else None,
        # Computed by the INSERT, which starts after the lock is held: an earlier snapshot may lack the newest version.
        version=func.coalesce(newest.scalar_subquery(), 0) + 1,
        summary=validate_text(summary, "summary"),
        sentiment=by_code(session, Sentiment, sentiment, "sentiment") if sentiment is not None else None,
        sentiment_score=sentiment_score,
        details=plain,
        details_schema=schema,
        model_name=validate_text(model_name, "model_name") if model_name is not None else None,
        model_version=validate_text(model_version, "model_version") if model_version is not None else None,
    )
    session.add(analysis)
    session.flush()  # the log entry below needs its id
    activity.record(
        session,
        "analysis.added",
        case=found.case_id,
        entity=analysis,
        detail={"name": found.name, "version": analysis.version},
    )
    return analysis


@notes_itself
def latest(session: Session, audio: AudioFile | int, *, accepted: bool = False) -> AnalysisResult | None:
    """Return the newest version, or the one that was accepted last; None when the actor may see none.

    Also None for a recording that is marked as deleted.
    """
    audio = row_of(AudioFile, audio)
    query = select(AnalysisResult).join(AudioFile, AudioFile.id == AnalysisResult.audio_file_id)
    query = query.where(AnalysisResult.audio_file_id == audio.id, AudioFile.deleted_at.is_(None))
    if accepted:
        query = query.where(AnalysisResult.accepted_at.is_not(None)).order_by(AnalysisResult.accepted_at.desc())
    found = session.scalars(query.order_by(AnalysisResult.version.desc()).limit(1)).first()
    _note_reads(session, [] if found is None else [found])
    return found


@notes_itself
def versions(session: Session, audio: AudioFile | int) -> list[AnalysisResult]:
    """Return all versions that the actor may see, oldest first."""
    audio = row_of(AudioFile, audio)
    query = select(AnalysisResult).where(AnalysisResult.audio_file_id == audio.id)
    found = list(session.scalars(query.order_by(AnalysisResult.version)))
    _note_reads(session, found)
    return found


@notes_itself
def accept(session: Session, analysis: AnalysisResult | int) -> AnalysisResult:
    """Mark a version as accepted, with actor and time. The one that was accepted last is the current one.

    Accepting the current one changes nothing; an earlier one becomes current when it is accepted again.
    """
    analysis = row_of(AnalysisResult, analysis)
    actor = actor_of(session)
    analysis = in_session(session, analysis)
    accepted = select(AnalysisResult.id).where(
        AnalysisResult.audio_file_id == analysis.audio_file_id, AnalysisResult.accepted_at.is_not(None)
    )
    last_first = (AnalysisResult.accepted_at.desc(), AnalysisResult.version.desc())
    if analysis.accepted_at is not None and session.scalar(accepted.order_by(*last_first).limit(1)) == analysis.id:
        return analysis
    analysis.accepted_by_id = actor
    # Not now(): of two versions that are accepted in one transaction, the second one is current.
    analysis.accepted_at = func.clock_timestamp()
    session.flush()  # raises here, not at commit, if the actor may not accept it
    activity.record(
        session,
        "analysis.accepted",
        case=analysis.case_id,
        entity=analysis,
        detail={"version": analysis.version},
    )
    return analysis


@notes_itself
def is_stale(session: Session, analysis: AnalysisResult | int) -> bool:
    """Return whether the accepted transcription differs from the one that the analysis was made from.

    That is: the recording has an accepted transcription, and the analysed one is not the current one of its language.
    A newer version that is not accepted makes nothing stale. An analysis without a transcription is never stale.
    Raises NotFound for an analysis that the actor may not see.
    """
    analysis = row_of(AnalysisResult, analysis)
    analysis = in_session(session, analysis)
    return bool(_stale(session, analysis.audio_file_id, [analysis]))


@notes_itself
def stale(session: Session, audio: AudioFile | int) -> list[AnalysisResult]:
    """Return the versions of a recording's analysis for which `is_stale` is true, oldest first."""
    audio = row_of(AudioFile, audio)
    query = select(AnalysisResult).where(AnalysisResult.audio_file_id == audio.id).order_by(AnalysisResult.version)
    found = _stale(session, audio.id, list(session.scalars(query)))
    _note_reads(session, found)
    return found


def _note_reads(session: Session, found: Sequence[AnalysisResult]) -> None:
    """Note one look at versions of a recording's analysis."""
    if not found:
        return
    entity: AnalysisResult | AudioFile = found[0] if len(found) == 1 else row_of(AudioFile, found[0].audio_file_id)
    detail = {"versions": [each.version for each in found], "analyses": [each.id for each in found]}
    activity.note_read(session, "analysis.read", case=found[0].case_id, entity=entity, detail=detail)


def _stale(session: Session, audio_id: int, analyses: list[AnalysisResult]) -> list[AnalysisResult]:
    last_first = (Transcription.language_id, Transcription.accepted_at.desc(), Transcription.id.desc())
    current = (
        select(Transcription.id)
        .where(Transcription.audio_file_id == audio_id, Transcription.accepted_at.is_not(None))
        .ext(distinct_on(Transcription.language_id))
        .order_by(*last_first)
    )
    accepted = set(session.scalars(current))
    return [each for each in analyses if accepted and each.transcription_id not in {None, *accepted}]
