"""Jobs on recordings, which pipeline services claim, keep alive and complete."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Integer, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src.database.base import PERSONAL, Record, Versioned, acting_user, moment, not_negative, one_of, user_text, written
from src.database.schema import Protected, Trigger
from src.database.schema.declaration import CAPTURED

if TYPE_CHECKING:
    from src.database.models.audio_files import AudioFile

JobState = Literal["queued", "running", "done", "failed"]


class ProcessingJob(Versioned, Record):
    """One job on one recording. Its lease is also a grant: the worker may read the case while it holds the lease.

    `lease` is the fencing number: it grows with every claim; a worker that lost its lease cannot store a result.
    """

    __tablename__ = "processing_jobs"
    # Claimed, kept alive and completed by functions. Outcomes are captured, heartbeats are not.
    __protection__ = Protected(
        update=None,
        insert_also="state = 'queued'",
        not_captured=("lease_expires_at",),
        restorable=None,
        in_snapshot=False,
        triggers=(
            # Jobs run in this order: a session cannot place one before those that wait already.
            Trigger(
                "stamp_run_after",
                "BEFORE INSERT",
                "stamp_moment",
                ("run_after",),
                when="NEW.run_after < now() AND public.readable_time_1(NEW.run_after)",
                always=False,
            ),
            Trigger("capture_change", "AFTER DELETE", "capture_change", CAPTURED),
            Trigger(
                "capture_outcome",
                "AFTER UPDATE",
                "capture_change",
                CAPTURED,
                when="OLD.state IS DISTINCT FROM NEW.state OR OLD.lease IS DISTINCT FROM NEW.lease"
                " OR OLD.lease_expires_at IS NOT DISTINCT FROM NEW.lease_expires_at",
            ),
        ),
    )
    __table_args__ = (
        ForeignKeyConstraint(
            ["case_id", "audio_file_id"], ["audio_files.case_id", "audio_files.id"], ondelete="CASCADE"
        ),
        one_of("state", JobState),
        not_negative("lease"),
        # Bounded, so that no member's job always runs before those of all others, or is repeated without end.
        CheckConstraint("attempts >= 0 AND max_attempts BETWEEN 1 AND 1000", name="attempts_range"),
        CheckConstraint("priority BETWEEN -1000000 AND 1000000", name="priority_range"),
        CheckConstraint("jsonb_typeof(payload) = 'object'", name="payload_object"),
        CheckConstraint("jsonb_typeof(result) = 'object'", name="result_object"),
        CheckConstraint(
            "(state = 'running') = (lease_expires_at IS NOT NULL) AND (state = 'running') = (leased_by_id IS NOT NULL)",
            name="running_has_lease",
        ),
        # One open job of a kind per recording: enqueueing twice does not run it twice.
        Index(
            "processing_jobs_open_key",
            "case_id",
            "audio_file_id",
            text("open_job_kind_1(state, kind)"),
            unique=True,
        ),
        Index("processing_jobs_case_id_audio_file_id_idx", "case_id", "audio_file_id"),
        Index(
            "processing_jobs_queue_idx",
            text("queued_job_kind_1(state, kind)"),
            text("(- priority)"),
            text("timezone('UTC', run_after)"),
            "id",
        ),
        Index("processing_jobs_lease_idx", text("timezone('UTC', lease_expires_at)")),
        Index("processing_jobs_leased_by_id_idx", text("(leased_by_id + 0)")),
    )
    __plain__ = frozenset({"kind", "state", "worker"})

    case_id: Mapped[int] = written(Integer, once=True)
    audio_file_id: Mapped[int] = written(once=True)
    kind: Mapped[str] = written(most=64, least=1, once=True, comment="transcribe, analyse, …")
    state: Mapped[JobState] = mapped_column(Text, server_default="queued")
    priority: Mapped[int] = written(once=True, server_default="0", comment="higher is sooner")
    payload: Mapped[dict[str, Any]] = written(
        JSONB, size=1 << 20, once=True, info=PERSONAL, server_default=text("'{}'::jsonb")
    )
    result: Mapped[dict[str, Any] | None] = written(JSONB(none_as_null=True), size=16 << 20, once=True, info=PERSONAL)
    run_after: Mapped[datetime] = written(once=True, server_default=func.now())
    attempts: Mapped[int] = mapped_column(server_default="0")
    max_attempts: Mapped[int] = written(once=True, server_default="3")
    lease: Mapped[int] = mapped_column(server_default="0", comment="fencing number: grows with every claim")
    leased_by_id: Mapped[int | None] = written(ForeignKey("users.id", ondelete="RESTRICT"), once=True)
    lease_expires_at: Mapped[datetime | None] = written(once=True)
    worker: Mapped[str | None] = written(most=200, once=True, comment="name of the worker process, given by it")
    started_at: Mapped[datetime | None] = moment(once=True)
    finished_at: Mapped[datetime | None] = moment(once=True)
    error_message: Mapped[str | None] = user_text(4000, once=True)
    created_by_id: Mapped[int] = acting_user()

    audio_file: Mapped[AudioFile] = relationship(back_populates="jobs", lazy="raise_on_sql")
