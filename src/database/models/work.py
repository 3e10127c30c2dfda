"""Work on recordings: jobs that pipeline services claim, keep alive and finish."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src.database.base import Record, Versioned, length_limit, one_of
from src.database.models.cases import ACTOR

if TYPE_CHECKING:
    from src.database.models.audio import AudioFile

JOB_STATES = ("queued", "running", "done", "failed")


class ProcessingJob(Versioned, Record):
    """One piece of work on one recording. Its lease is also the grant: whoever holds it sees the case meanwhile.

    `lease` is the fencing token: it grows with every claim, so that a worker that lost its lease cannot store a result.
    """

    __tablename__ = "processing_jobs"
    __table_args__ = (
        ForeignKeyConstraint(
            ["case_id", "audio_file_id"], ["audio_files.case_id", "audio_files.id"], ondelete="CASCADE"
        ),
        length_limit("kind", 64, least=1),
        length_limit("worker", 200),
        length_limit("error_message", 4000),
        one_of("state", *JOB_STATES),
        CheckConstraint("lease >= 0", name="lease_positive"),
        CheckConstraint("attempts >= 0 AND max_attempts >= 1", name="attempts_positive"),
        CheckConstraint("jsonb_typeof(payload) = 'object'", name="payload_object"),
        CheckConstraint("jsonb_typeof(result) = 'object'", name="result_object"),
        CheckConstraint(
            "(state = 'running') = (lease_expires_at IS NOT NULL) AND (state = 'running') = (leased_by_id IS NOT NULL)",
            name="running_has_lease",
        ),
        # One open job of a kind per recording: asking twice is not working twice.
        Index(
            "processing_jobs_open_key",
            "case_id",
            "audio_file_id",
            "kind",
            unique=True,
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
        Index("processing_jobs_case_id_audio_file_id_idx", "case_id", "audio_file_id"),
        Index(
            "processing_jobs_queue_idx",
            "kind",
            text("priority DESC"),
            "run_after",
            "id",
            postgresql_where=text("state = 'queued'"),
        ),
        Index("processing_jobs_lease_idx", "lease_expires_at", postgresql_where=text("state = 'running'")),
        Index("processing_jobs_leased_by_id_idx", "leased_by_id"),
        Index("processing_jobs_created_by_id_idx", "created_by_id"),
    )

    case_id: Mapped[int]
    audio_file_id: Mapped[int]
    kind: Mapped[str] = mapped_column(comment="transcribe, analyse, …")
    state: Mapped[str] = mapped_column(server_default="queued")
    priority: Mapped[int] = mapped_column(server_default="0", comment="higher is sooner")
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    run_after: Mapped[datetime] = mapped_column(server_default=func.now())
    attempts: Mapped[int] = mapped_column(server_default="0")
    max_attempts: Mapped[int] = mapped_column(server_default="3")
    lease: Mapped[int] = mapped_column(server_default="0", comment="grows with every claim; names the newest one")
    leased_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    lease_expires_at: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(comment="which process, as it calls itself")
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error_message: Mapped[str | None]
    created_by_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"), server_default=ACTOR)

    audio_file: Mapped[AudioFile] = relationship(back_populates="jobs", lazy="raise_on_sql")
