"""Recordings: facts about the audio, and the rows that name every stored object."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import (
    CheckConstraint,
    FetchedValue,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src.database.base import (
    PERSONAL,
    Record,
    Versioned,
    acting_user,
    administered,
    case_key,
    children,
    guarded,
    moment,
    not_negative,
    one_of,
    sha256_form,
    user_text,
    written,
)
from src.database.models.lookups import Lookup
from src.database.schema import Protected, Trigger
from src.database.schema.declaration import CAPTURED, CAPTURED_WITHOUT_CASE
from src.database.schema.sensitivity import sensitive_has_reason, sensitive_mark

if TYPE_CHECKING:
    from src.database.models.analyses import AnalysisResult
    from src.database.models.cases import Case
    from src.database.models.jobs import ProcessingJob
    from src.database.models.transcriptions import Language, Transcription
    from src.database.models.users import User

StatusCode = Literal["received", "queued", "processing", "processed", "failed"]
"""The seeded statuses of recordings; operators may add rows to `audio_statuses`."""

ObjectState = Literal["pending", "live", "superseded", "deleting"]


class AudioStatus(Lookup):
    """Progress of the processing of a recording; the time and the error of the recording follow it, by a trigger."""

    __tablename__ = "audio_statuses"
    __table_args__ = (
        *Lookup.constraints(),
        CheckConstraint("outcome IN ('processed', 'failed')", name="outcome_known"),
    )
    __plain__ = Lookup.__plain__ | {"outcome"}

    outcome: Mapped[str | None] = administered(
        comment="processed: sets processed_at; failed: keeps error_message; null: not finished, has neither"
    )


class StorageObject(Record):
    """One stored object, from before its first byte is written until after its last byte is removed.

    pending: announced, perhaps partly written, not yet part of a recording. live: the object of a recording.
    superseded: its recording was moved to another object, and a sweep still has to compare both. deleting: no longer
    part of a recording. Without foreign keys to its case and its recording, since it outlives both until a sweep
    removes the bytes.
    """

    __tablename__ = "storage_objects"
    # Announced by a function, changed by triggers and maintenance only. A pending object is not part of a case yet: any
    # user may have announced it, and it may be removed under a legal hold unless its key names a recording, so its log
    # entries name no case. Checks and attempts to remove it are captured too. Not restorable: a row restored from the
    # log would have no bytes.
    __protection__ = Protected(
        select=False,
        insert=None,
        update=None,
        delete=None,
        restorable=None,
        in_snapshot=False,
        triggers=(
            Trigger(
                "capture",
                "AFTER INSERT",
                "capture_new_rows",
                CAPTURED_WITHOUT_CASE,
                each="STATEMENT",
                transition="new_rows",
            ),
            Trigger(
                "capture_replicated",
                "AFTER INSERT",
                "capture_change",
                CAPTURED_WITHOUT_CASE,
                when="pg_catalog.current_setting('session_replication_role') = 'replica'",
            ),
            Trigger(
                "capture_change",
                "AFTER UPDATE",
                "capture_change",
                CAPTURED,
                when="OLD.state <> 'pending' OR NEW.state <> 'pending'",
            ),
            Trigger(
                "capture_pending",
                "AFTER UPDATE",
                "capture_change",
                CAPTURED_WITHOUT_CASE,
                when="OLD.state = 'pending' AND NEW.state = 'pending'",
            ),
            Trigger("capture_removal", "AFTER DELETE", "capture_change", CAPTURED, when="OLD.state <> 'pending'"),
            Trigger(
                "capture_pending_removal",
                "AFTER DELETE",
                "capture_change",
                CAPTURED_WITHOUT_CASE,
                when="OLD.state = 'pending'",
            ),
            # Also a copy for the archive, whose key names its recording.
            Trigger(
                "guard_hold",
                "BEFORE DELETE",
                "guard_hold",
                when="OLD.state <> 'pending' OR starts_with(OLD.key, 'archive/')",
            ),
        ),
    )
    __table_args__ = (
        UniqueConstraint("key"),
        UniqueConstraint("case_id", "key"),
        one_of("state", ObjectState),
        not_negative("size_bytes"),
        sha256_form(),
        not_negative("attempts"),
        # The state is in it, so that pending objects of a user are counted without reading the live ones.
        Index("storage_objects_announced_by_id_state_idx", "announced_by_id", "state"),
        # Read by sweeps: as small as the garbage.
        Index("storage_objects_garbage_idx", "state", "created_at", postgresql_where=text("state <> 'live'")),
        Index("storage_objects_audio_file_id_idx", "audio_file_id", postgresql_where=text("audio_file_id IS NOT NULL")),
    )

    __plain__ = frozenset({"key", "backend", "state", "sha256", "upload_id", "last_error"})

    case_id: Mapped[int] = guarded(Integer)
    key: Mapped[str] = guarded(most=512, least=1)
    backend: Mapped[str] = guarded(most=64, least=1, comment="name of the storage backend")
    storage_id: Mapped[int | None] = guarded(
        ForeignKey("storages.id", ondelete="RESTRICT"), comment="null: announced before the database had an identity"
    )
    announced_by_id: Mapped[int | None] = guarded(
        ForeignKey("users.id", ondelete="RESTRICT"), comment="null: the owner of the database, not a session"
    )
    state: Mapped[ObjectState] = mapped_column(Text, server_default="pending")
    audio_file_id: Mapped[int | None] = mapped_column(comment="the recording whose object it was; null while it is one")
    size_bytes: Mapped[int | None]
    sha256: Mapped[str | None] = guarded(sampled=False)
    upload_id: Mapped[str | None] = mapped_column(comment="id of a multipart upload that may have to be aborted")
    delete_after: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    last_error: Mapped[str | None] = guarded(most=4000, comment="error of the last check or removal")
    verified_at: Mapped[datetime | None] = mapped_column(comment="when the bytes were last read and compared")
    checked_at: Mapped[datetime | None] = mapped_column(comment="the same, by maintenance: no session can claim it")


class AudioFile(Versioned, Record):
    """A recording: where its bytes are, facts about the audio, progress of its processing."""

    __tablename__ = "audio_files"
    __protection__ = Protected(
        triggers=(
            # Before `stamp_…`: triggers fire in the order of their names.
            Trigger("follow_status", "BEFORE INSERT OR UPDATE OF status_id, processed_at", "follow_audio_status"),
            *sensitive_mark(),
            Trigger("adopt", "BEFORE INSERT", "adopt_object", always=False),
            Trigger("adopt_moved", "BEFORE UPDATE OF path", "adopt_object", when="OLD.path <> NEW.path", always=False),
            Trigger("release", "AFTER DELETE", "release_object"),
            Trigger(
                "release_moved", "AFTER UPDATE OF path", "release_object", when="OLD.path <> NEW.path", always=False
            ),
        )
    )
    __table_args__ = (
        UniqueConstraint("case_id", "id"),
        UniqueConstraint("case_id", "path"),
        # An object belongs to one case, so with the case in the key no path is used twice.
        ForeignKeyConstraint(
            ["case_id", "path"], ["storage_objects.case_id", "storage_objects.key"], ondelete="RESTRICT"
        ),
        CheckConstraint("size_bytes > 0", name="size_bytes_positive"),
        sha256_form(),
        not_negative("duration_ms"),
        CheckConstraint("sample_rate_hz BETWEEN 1 AND 768000", name="sample_rate_hz_range"),
        CheckConstraint("channels BETWEEN 1 AND 64", name="channels_range"),
        CheckConstraint("jsonb_typeof(storage_config) = 'object'", name="storage_config_object"),
        CheckConstraint("NOT is_archived OR archive_reason IS NOT NULL", name="archive_has_reason"),
        sensitive_has_reason(),
        Index("audio_files_case_id_created_at_idx", "case_id", "created_at"),
        Index("audio_files_case_id_sha256_idx", "case_id", "sha256"),
        # Read by sweeps.
        Index("audio_files_deleted_at_idx", text("timezone('UTC', deleted_at)")),
        Index(
            "audio_files_name_lower_idx",
            func.lower(text("name")).label("lowered"),
            postgresql_ops={"lowered": "text_pattern_ops"},
        ),
    )

    __plain__ = frozenset({"path", "sha256", "content_type", "codec", "storage_type", "storage_config"})

    case_id: Mapped[int] = case_key()
    name: Mapped[str] = user_text(1024, least=1, comment="file name given by the user; never part of a path")
    path: Mapped[str] = written(once=True, sampled=False, comment="key of the bytes in their storage backend")
    size_bytes: Mapped[int] = written(once=True)
    sha256: Mapped[str] = written(once=True, sampled=False, comment="SHA-256 of the bytes, lowercase hexadecimal")
    content_type: Mapped[str | None] = written(most=128, once=True, comment="media type by content, not by file name")
    duration_ms: Mapped[int | None] = written(once=True, comment="of the decoded samples, in milliseconds")
    sample_rate_hz: Mapped[int | None] = written(once=True)
    channels: Mapped[int | None] = written(once=True)
    codec: Mapped[str | None] = written(most=64, once=True)
    is_truncated: Mapped[bool] = written(
        once=True, server_default=text("false"), comment="decodes to less than its header states"
    )
    recorded_at: Mapped[datetime | None] = written(comment="when people spoke, if known")
    language_id: Mapped[int | None] = written(ForeignKey("languages.id", ondelete="RESTRICT"))
    status_id: Mapped[int] = written(
        ForeignKey("audio_statuses.id", ondelete="RESTRICT"),
        server_default=text("public.code_id('audio_statuses', 'received')"),
    )
    processed_at: Mapped[datetime | None] = moment(server_default=FetchedValue(), server_onupdate=FetchedValue())
    error_message: Mapped[str | None] = user_text(4000, server_onupdate=FetchedValue())
    storage_type: Mapped[str] = written(
        most=64, least=1, once=True, server_default="local", comment="name of the storage backend"
    )
    storage_config: Mapped[dict[str, Any]] = written(
        JSONB,
        size=16 << 10,
        once=True,
        server_default=text("'{}'::jsonb"),
        comment="storage: the id of the storage that has the bytes, set by a trigger",
    )
    is_archived: Mapped[bool] = mapped_column(server_default=text("false"))
    archive_reason: Mapped[str | None] = guarded(most=2000, least=1, info=PERSONAL, server_default=FetchedValue())
    deleted_at: Mapped[datetime | None] = mapped_column(
        server_default=FetchedValue(), comment="marked as deleted; a sweep removes it after a grace period"
    )
    uploaded_by_id: Mapped[int] = acting_user()
    is_sensitive: Mapped[bool] = written(server_default=text("false"), comment="exports need the permission to manage")
    sensitive_reason: Mapped[str | None] = user_text(2000, least=1)

    case: Mapped[Case] = relationship(back_populates="audio_files", lazy="raise_on_sql")
    language: Mapped[Language | None] = relationship(lazy="joined")
    status: Mapped[AudioStatus] = relationship(lazy="joined", innerjoin=True)
    uploaded_by: Mapped[User] = relationship(back_populates="audio_files", lazy="raise_on_sql")
    transcriptions: Mapped[list[Transcription]] = children("audio_file")
    analyses: Mapped[list[AnalysisResult]] = children("audio_file")
    jobs: Mapped[list[ProcessingJob]] = children("audio_file")
