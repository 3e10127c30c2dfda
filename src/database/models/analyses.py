"""Analyses: versions per recording, and the sentiments that they may have."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Integer, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, relationship

from src.database.base import PERSONAL, ReadAs, Record, Versioned, acting_user, moment, written
from src.database.models.lookups import Lookup
from src.database.schema import Protected

if TYPE_CHECKING:
    from src.database.models.audio_files import AudioFile
    from src.database.models.transcriptions import Transcription


SentimentCode = Literal["positive", "neutral", "negative", "mixed"]
"""The seeded sentiments; operators may add rows to `sentiments`."""


class Sentiment(Lookup):
    """Sentiment of a recording: positive, neutral, negative, mixed."""

    __tablename__ = "sentiments"


class AnalysisResult(Versioned, Record):
    """One version of the analysis of a recording, with the transcription that it is based on."""

    __tablename__ = "analysis_results"
    __protection__ = Protected()
    __plain__ = frozenset({"details_schema", "model_name", "model_version"})
    __read_as__ = ReadAs("analysis.read", "analysis_results")
    __table_args__ = (
        UniqueConstraint("case_id", "audio_file_id", "version"),
        ForeignKeyConstraint(
            ["case_id", "audio_file_id"], ["audio_files.case_id", "audio_files.id"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["case_id", "transcription_id"], ["transcriptions.case_id", "transcriptions.id"], ondelete="CASCADE"
        ),
        CheckConstraint("version BETWEEN 1 AND 1000000000", name="version_range"),
        CheckConstraint("sentiment_score BETWEEN -1 AND 1", name="sentiment_score_range"),
        CheckConstraint("jsonb_typeof(details) = 'object'", name="details_object"),
        CheckConstraint("(accepted_at IS NULL) = (accepted_by_id IS NULL)", name="accepted_whole"),
        Index("analysis_results_case_id_transcription_id_idx", "case_id", "transcription_id"),
        Index("analysis_results_search_idx", text("search_vector_1('simple', summary)"), postgresql_using="gin"),
    )

    case_id: Mapped[int] = written(Integer, once=True)
    audio_file_id: Mapped[int] = written(once=True)
    transcription_id: Mapped[int | None] = written(once=True, comment="the transcription version that was analysed")
    version: Mapped[int] = written(once=True, comment="1, 2, 3 … per recording")
    summary: Mapped[str] = written(once=True, info=PERSONAL, server_default="")
    sentiment_id: Mapped[int | None] = written(ForeignKey("sentiments.id", ondelete="RESTRICT"), once=True)
    sentiment_score: Mapped[float | None] = written(once=True, comment="-1 negative … 1 positive")
    details: Mapped[dict[str, Any]] = written(
        JSONB, size=16 << 20, once=True, info=PERSONAL, server_default=text("'{}'::jsonb")
    )
    details_schema: Mapped[str | None] = written(
        most=200, least=1, once=True, comment="name of the JSON Schema of the details"
    )
    model_name: Mapped[str | None] = written(most=200, once=True)
    model_version: Mapped[str | None] = written(most=200, once=True)
    accepted_at: Mapped[datetime | None] = moment()
    accepted_by_id: Mapped[int | None] = acting_user(once=False)
    created_by_id: Mapped[int] = acting_user()

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
