"""Transcriptions: languages, versions, segments, and the bytes that a version was imported from."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    FetchedValue,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    UniqueConstraint,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Text

from src.database.base import (
    PERSONAL,
    ReadAs,
    Record,
    Versioned,
    acting_user,
    administered,
    children,
    moment,
    not_negative,
    sha256_form,
    user_text,
    written,
)
from src.database.models.lookups import Lookup
from src.database.schema import Protected, Trigger

if TYPE_CHECKING:
    from src.database.models.audio_files import AudioFile
    from src.database.models.users import User


# A version is deleted as a whole or not at all, and is final when the transaction that added it commits.
_PARTS = Protected(
    update=None,
    delete=None,
    captured=False,
    restorable=None,
    in_snapshot=False,
    triggers=(
        Trigger("guard_new_parts", "AFTER INSERT", "guard_new_parts", each="STATEMENT", transition="new_parts"),
        Trigger("guard_part", "BEFORE UPDATE OR DELETE", "guard_part"),
    ),
)
_FIXED = ("content", "case_id", "audio_file_id", "language_id", "version")


class Language(Lookup):
    """A language of recordings; `code` is its BCP 47 tag."""

    __tablename__ = "languages"

    __plain__ = Lookup.__plain__ | {"native_name", "search_config"}

    native_name: Mapped[str] = administered(server_default="")
    # The name and not a regconfig: columns of that type stop pg_upgrade.
    search_config: Mapped[str] = administered(server_default="simple", comment="name of a text search configuration")


class Transcription(Versioned, Record):
    """One version of what was said in a recording, in one language. Never edited: a correction is a new version."""

    __tablename__ = "transcriptions"
    __plain__ = frozenset({"model_name", "model_version", "segments_sha256"})
    __read_as__ = ReadAs("transcript.read", "transcriptions")
    # `segments_sha256` covers the text of a version; the text is deleted with the version and cannot be restored.
    __protection__ = Protected(
        not_captured=("content",),
        restorable=None,
        triggers=(
            Trigger("finish_version", "AFTER INSERT", "finish_version", deferred=True),
            Trigger(
                "guard_text",
                f"BEFORE UPDATE OF {', '.join(_FIXED)}",
                "refuse_change",
                ("a version is never edited, add a new one",),
                when=" OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in _FIXED),
            ),
            Trigger(
                "guard_digest",
                "BEFORE UPDATE OF segments_sha256",
                "refuse_change",
                ("a version is finished once",),
                when="OLD.segments_sha256 IS NOT NULL AND OLD.segments_sha256 IS DISTINCT FROM NEW.segments_sha256",
            ),
        ),
    )
    __table_args__ = (
        UniqueConstraint("case_id", "id"),
        UniqueConstraint("case_id", "audio_file_id", "language_id", "version"),
        ForeignKeyConstraint(
            ["case_id", "audio_file_id"], ["audio_files.case_id", "audio_files.id"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["case_id", "based_on_id"],
            ["transcriptions.case_id", "transcriptions.id"],
            ondelete="SET NULL (based_on_id)",
        ),
        CheckConstraint("version BETWEEN 1 AND 1000000000", name="version_range"),
        CheckConstraint("(accepted_at IS NULL) = (accepted_by_id IS NULL)", name="accepted_whole"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence_range"),
        CheckConstraint("segments_sha256 ~ '^[0-9a-f]{64}$'", name="segments_sha256_form"),
        Index("transcriptions_case_id_based_on_id_idx", "case_id", "based_on_id"),
        # Read by searches: the languages in use.
        Index("transcriptions_language_id_idx", sql("(language_id + 0)")),
    )

    case_id: Mapped[int] = written(Integer, once=True)
    audio_file_id: Mapped[int] = written(once=True)
    language_id: Mapped[int] = written(ForeignKey("languages.id", ondelete="RESTRICT"), once=True)
    version: Mapped[int] = written(once=True, comment="1, 2, 3 … per recording and language")
    based_on_id: Mapped[int | None] = written(once=True, comment="the version that this one corrects")
    content: Mapped[str] = written(once=True, info=PERSONAL, comment="the whole text")
    confidence: Mapped[float | None] = written(once=True)
    model_name: Mapped[str | None] = written(most=200, once=True, comment="recogniser; null for text written by people")
    model_version: Mapped[str | None] = written(most=200, once=True)
    accepted_at: Mapped[datetime | None] = moment()
    accepted_by_id: Mapped[int | None] = acting_user(once=False)
    created_by_id: Mapped[int] = acting_user()
    segments_sha256: Mapped[str | None] = mapped_column(
        server_default=FetchedValue(),
        comment="digest of its segments and sources; set by a trigger at commit, then final",
    )

    audio_file: Mapped[AudioFile] = relationship(
        back_populates="transcriptions",
        foreign_keys="[Transcription.case_id, Transcription.audio_file_id]",
        lazy="raise_on_sql",
    )
    language: Mapped[Language] = relationship(lazy="joined", innerjoin=True)
    created_by: Mapped[User] = relationship(foreign_keys="Transcription.created_by_id", lazy="raise_on_sql")
    accepted_by: Mapped[User | None] = relationship(foreign_keys="Transcription.accepted_by_id", lazy="raise_on_sql")
    segments: Mapped[list[TranscriptionSegment]] = relationship(
        back_populates="transcription",
        order_by="TranscriptionSegment.position",
        lazy="raise_on_sql",
        passive_deletes=True,
        cascade="save-update, merge, delete",
    )
    sources: Mapped[list[TranscriptionSource]] = children("transcription")


class TranscriptionSegment(Record):
    """A segment of speech: text, words, times, speaker. Unknown values are null."""

    __tablename__ = "transcription_segments"
    __protection__ = replace(_PARTS, touched=False)
    __plain__ = frozenset({"flags", "search_config"})
    __read_as__ = ReadAs("transcript.read", "transcriptions", "transcription_id")
    __table_args__ = (
        # Read by the index only. Not mapped: merge() would try to write it back.
        Column("search", TSVECTOR, Computed("public.search_vector_1(search_config, text)", persisted=True)),
        UniqueConstraint("case_id", "transcription_id", "position"),
        ForeignKeyConstraint(
            ["case_id", "transcription_id"], ["transcriptions.case_id", "transcriptions.id"], ondelete="CASCADE"
        ),
        not_negative("position"),
        not_negative("start_ms"),
        CheckConstraint("end_ms >= start_ms", name="end_after_start"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence_range"),
        CheckConstraint("jsonb_typeof(words) = 'array'", name="words_array"),
        Index("transcription_segments_search_idx", "search", postgresql_using="gin"),
    )

    __mapper_args__: Any = {  # noqa: RUF012 - the declarative base declares it so
        "eager_defaults": True,
        "exclude_properties": {"search"},
    }

    case_id: Mapped[int] = written(Integer, once=True)
    transcription_id: Mapped[int] = written(once=True)
    position: Mapped[int] = written(once=True, comment="0, 1, 2 … in the order of the source")
    start_ms: Mapped[int | None] = written(once=True, comment="from the start of the recording, in milliseconds")
    end_ms: Mapped[int | None] = written(once=True)
    speaker: Mapped[str | None] = user_text(200, once=True)
    text: Mapped[str] = written(once=True, info=PERSONAL)
    words: Mapped[list[dict[str, Any]] | None] = written(
        JSONB(none_as_null=True),
        size=16 << 20,
        once=True,
        info=PERSONAL,
        comment='[{"text", "start_ms", "end_ms", "confidence"}, …]; unknown values are left out',
    )
    confidence: Mapped[float | None] = written(once=True)
    flags: Mapped[list[str]] = written(
        ARRAY(Text),
        size=16 << 10,
        once=True,
        server_default=sql("'{}'::text[]"),
        comment="quality flags: no_speech, repetition, …",
    )
    search_config: Mapped[str] = written(once=True, sampled=False, server_default="simple")

    transcription: Mapped[Transcription] = relationship(back_populates="segments", lazy="raise_on_sql")


class TranscriptionSource(Record):
    """The bytes that a transcription was imported from, unchanged."""

    __tablename__ = "transcription_sources"
    __protection__ = replace(
        _PARTS, triggers=(*_PARTS.triggers, Trigger("place", "BEFORE INSERT", "place_source", always=False))
    )
    __plain__ = frozenset({"dialect", "sha256"})
    __read_as__ = ReadAs("transcript.read", "transcriptions", "transcription_id")
    __table_args__ = (
        ForeignKeyConstraint(
            ["case_id", "transcription_id"], ["transcriptions.case_id", "transcriptions.id"], ondelete="CASCADE"
        ),
        sha256_form(),
        # Importing the same bytes for the same recording gives one version, also concurrently.
        UniqueConstraint("case_id", "audio_file_id", "sha256"),
        Index("transcription_sources_case_id_transcription_id_idx", "case_id", "transcription_id"),
    )

    case_id: Mapped[int] = written(Integer, once=True)
    transcription_id: Mapped[int] = written(once=True)
    # Set by a trigger. Not a foreign key: its cascade would delete the source before its version, which is rejected.
    audio_file_id: Mapped[int | None] = mapped_column(
        server_default=FetchedValue(), comment="copied from the transcription; null for older duplicates"
    )
    dialect: Mapped[str] = written(most=64, least=1, once=True, comment="whisper, amazon-batch, webvtt, …")
    name: Mapped[str | None] = user_text(1024, once=True)
    sha256: Mapped[str] = written(once=True, sampled=False)
    content: Mapped[bytes] = written(once=True, deferred=True, info=PERSONAL)

    transcription: Mapped[Transcription] = relationship(back_populates="sources", lazy="raise_on_sql")
