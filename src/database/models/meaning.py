"""What it means: versions of an analysis, and the sentiments they speak of."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src.database.base import Record, Versioned, length_limit
from src.database.models.cases import ACTOR
from src.database.models.lookups import Lookup
from src.database.models.text import Transcription

if TYPE_CHECKING:
    from src.database.models.audio import AudioFile


class Sentiment(Lookup):
    """How something was said: positive, neutral, negative, mixed."""

    __tablename__ = "sentiments"


class AnalysisResult(Versioned, Record):
    """One version of what a recording means. It remembers the transcription that it read."""

    __tablename__ = "analysis_results"
    __table_args__ = (
        UniqueConstraint("audio_file_id", "version"),
        ForeignKeyConstraint(
            ["case_id", "audio_file_id"], ["audio_files.case_id", "audio_files.id"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["case_id", "transcription_id"], ["transcriptions.case_id", "transcriptions.id"], ondelete="CASCADE"
        ),
        CheckConstraint("version >= 1", name="version_positive"),
        CheckConstraint("sentiment_score BETWEEN -1 AND 1", name="sentiment_score_range"),
        CheckConstraint("jsonb_typeof(details) = 'object'", name="details_object"),
        CheckConstraint("(accepted_at IS NULL) = (accepted_by_id IS NULL)", name="accepted_whole"),
        length_limit("details_schema", 200, least=1),
        length_limit("model_name", 200),
        length_limit("model_version", 200),
        Index("analysis_results_case_id_audio_file_id_idx", "case_id", "audio_file_id"),
        Index("analysis_results_case_id_transcription_id_idx", "case_id", "transcription_id"),
        Index("analysis_results_sentiment_id_idx", "sentiment_id"),
        Index("analysis_results_accepted_by_id_idx", "accepted_by_id"),
        Index("analysis_results_created_by_id_idx", "created_by_id"),
        Index("analysis_results_search_idx", text("search_vector('simple', summary)"), postgresql_using="gin"),
    )

    case_id: Mapped[int]
    audio_file_id: Mapped[int]
    transcription_id: Mapped[int | None] = mapped_column(comment="the version that was read")
    version: Mapped[int] = mapped_column(comment="1, 2, 3 … per recording")
    summary: Mapped[str] = mapped_column(server_default="")
    sentiment_id: Mapped[int | None] = mapped_column(ForeignKey("sentiments.id", ondelete="RESTRICT"))
    sentiment_score: Mapped[float | None] = mapped_column(comment="-1 negative … 1 positive")
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    details_schema: Mapped[str | None] = mapped_column(comment="the name of the schema that the details keep to")
    model_name: Mapped[str | None]
    model_version: Mapped[str | None]
    accepted_at: Mapped[datetime | None]
    accepted_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    created_by_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"), server_default=ACTOR)

    audio_file: Mapped[AudioFile] = relationship(
        back_populates="analyses",
        foreign_keys="[AnalysisResult.case_id, AnalysisResult.audio_file_id]",
        lazy="raise_on_sql",
    )
    transcription: Mapped[Transcription | None] = relationship(
        foreign_keys="[AnalysisResult.transcription_id]",
        primaryjoin="and_(AnalysisResult.transcription_id == Transcription.id,"
        " AnalysisResult.case_id == Transcription.case_id)",
        lazy="raise_on_sql",
    )
    sentiment: Mapped[Sentiment | None] = relationship(lazy="joined")
