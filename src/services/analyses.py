"""Analyses: versions of what a recording means. Each remembers the transcription that it read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.database.models import AnalysisResult, AudioFile, Sentiment, Transcription
from src.database.session import actor_of
from src.errors import InvalidInput, NotFound
from src.services import activity
from src.services.cases import now
from src.services.lookup import by_code, in_session


def add(
    session: Session,
    audio: AudioFile,
    *,
    summary: str = "",
    sentiment: str | None = None,
    sentiment_score: float | None = None,
    details: Mapping[str, Any] | None = None,
    transcription: Transcription | None = None,
    model_name: str | None = None,
    model_version: str | None = None,
) -> AnalysisResult:
    """Add the next version of a recording's analysis: 1, 2, 3 … per recording.

    `sentiment` is a code (positive, neutral, negative, mixed), `sentiment_score` lies between -1 and 1, `transcription`
    is the version that was read. Raises InvalidInput for an unknown sentiment or a score out of range, NotFound for a
    recording that is not the actor's.
    """
    actor_of(session)
    if sentiment_score is not None and not -1 <= sentiment_score <= 1:
        raise InvalidInput(f"sentiment_score is {sentiment_score!r}; give a number from -1 to 1.")
    found = session.scalars(select(AudioFile).where(AudioFile.id == audio.id)).one_or_none()
    if found is None:
        raise NotFound("There is no such recording, or it is not yours to see.")
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"analysis {found.id}", 0))))
    newest = session.scalar(select(func.max(AnalysisResult.version)).where(AnalysisResult.audio_file_id == found.id))
    analysis = AnalysisResult(
        case_id=found.case_id,
        audio_file_id=found.id,
        transcription_id=transcription.id if transcription is not None else None,
        version=(newest or 0) + 1,
        summary=summary,
        sentiment=by_code(session, Sentiment, sentiment) if sentiment is not None else None,
        sentiment_score=sentiment_score,
        details=dict(details or {}),
        model_name=model_name,
        model_version=model_version,
    )
    session.add(analysis)
    session.flush()  # the entry below names its id
    activity.record(
        session,
        "analysis.added",
        case_id=found.case_id,
        entity=analysis,
        detail={"name": found.name, "version": analysis.version},
    )
    return analysis


def latest(session: Session, audio: AudioFile, *, accepted: bool = False) -> AnalysisResult | None:
    """Return the newest version, or the newest accepted one; None when there is none that the actor may see.

    None too for a recording that is marked as deleted.
    """
    query = select(AnalysisResult).join(AudioFile, AudioFile.id == AnalysisResult.audio_file_id)
    query = query.where(AnalysisResult.audio_file_id == audio.id, AudioFile.deleted_at.is_(None))
    if accepted:
        query = query.where(AnalysisResult.accepted_at.is_not(None))
    return session.scalars(query.order_by(AnalysisResult.version.desc()).limit(1)).first()


def accept(session: Session, analysis: AnalysisResult) -> AnalysisResult:
    """Mark a version as the accepted one: who and when."""
    actor, moment = actor_of(session), now(session)
    analysis = in_session(session, analysis)
    analysis.accepted_by_id, analysis.accepted_at = actor, moment
    session.flush()  # refused here rather than at the end, when it is not the actor's to accept
    activity.record(
        session,
        "analysis.accepted",
        case_id=analysis.case_id,
        entity=analysis,
        detail={"version": analysis.version},
    )
    return analysis
