"""Cases and who takes part in them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, Column, FetchedValue, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

from src.database.base import Record, TransactionId, Versioned, length_limit, one_of, versioned_by
from src.database.models.lookups import Lookup
from src.database.models.people import User
from src.database.permissions import PARTICIPANT_VERBS

if TYPE_CHECKING:
    from src.database.models.audio import AudioFile

ACTOR = text("public.actor_id()")


class CaseStatus(Lookup):
    """Where a case stands: active, closed, pending."""

    __tablename__ = "case_statuses"


class CasePriority(Lookup):
    """How urgent a case is: high, medium, low; the heavier, the sooner."""

    __tablename__ = "case_priorities"

    weight: Mapped[int] = mapped_column(comment="sorts the levels; heavier is more urgent")


class Case(Versioned, Record):
    """What recordings, people, notes and holds belong to. Opening one makes the actor its owner."""

    __tablename__ = "cases"
    __table_args__ = (
        # By it the row policy shows a new case to the transaction that opened it, before its owner is a participant.
        # Not mapped: nobody but the policy reads it, and merge() would try to write it back.
        Column(
            "opened_xid", TransactionId, server_default=FetchedValue(), comment="the transaction that opened the case"
        ),
        length_limit("case_code", 64, least=1),
        length_limit("title", 300, least=1),
        length_limit("description", 20_000),
        CheckConstraint("closed_at >= created_at", name="closed_after_created"),
        Index("cases_status_id_idx", "status_id"),
        Index("cases_priority_id_idx", "priority_id"),
        Index("cases_opened_by_id_idx", "opened_by_id"),
        Index("cases_opened_xid_idx", "opened_xid"),
        Index("cases_created_at_idx", "created_at"),
        Index("cases_title_lower_idx", func.lower(text("title")), postgresql_ops={"lower(title)": "text_pattern_ops"}),
    )

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 - declared_attr calls it with the class
        return {**versioned_by(cls), "exclude_properties": {"opened_xid"}}

    case_code: Mapped[str] = mapped_column(
        unique=True, server_default=FetchedValue(), comment="a trigger makes C-000042 of the id when none is given"
    )
    title: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    status_id: Mapped[int] = mapped_column(
        ForeignKey("case_statuses.id", ondelete="RESTRICT"),
        server_default=text("public.code_id('case_statuses', 'active')"),
    )
    priority_id: Mapped[int] = mapped_column(
        ForeignKey("case_priorities.id", ondelete="RESTRICT"),
        server_default=text("public.code_id('case_priorities', 'medium')"),
    )
    opened_by_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"), server_default=ACTOR)
    closed_at: Mapped[datetime | None]
    active_holds: Mapped[int] = mapped_column(
        server_default="0", server_onupdate=FetchedValue(), comment="legal holds not yet released; counted by a trigger"
    )

    status: Mapped[CaseStatus] = relationship(lazy="joined", innerjoin=True)
    priority: Mapped[CasePriority] = relationship(lazy="joined", innerjoin=True)
    opened_by: Mapped[User] = relationship(lazy="raise_on_sql")
    participants: Mapped[list[CaseParticipant]] = relationship(
        back_populates="case", lazy="raise_on_sql", passive_deletes=True, cascade="save-update, merge, delete"
    )
    audio_files: Mapped[list[AudioFile]] = relationship(
        back_populates="case", lazy="raise_on_sql", passive_deletes=True, cascade="save-update, merge, delete"
    )
    notes: Mapped[list[CaseNote]] = relationship(
        back_populates="case", lazy="raise_on_sql", passive_deletes=True, cascade="save-update, merge, delete"
    )
    holds: Mapped[list[LegalHold]] = relationship(
        back_populates="case", lazy="raise_on_sql", passive_deletes=True, cascade="save-update, merge, delete"
    )


class CaseParticipant(Versioned, Record):
    """A user in a case: the role there, permissions added or denied, until when."""

    __tablename__ = "case_participants"
    __table_args__ = (
        UniqueConstraint("case_id", "user_id"),
        one_of("role", *PARTICIPANT_VERBS),
        CheckConstraint("public.participation_known(permissions)", name="permissions_known"),
        CheckConstraint("octet_length(permissions::text) <= 16384", name="permissions_size"),
        Index("case_participants_user_id_idx", "user_id", postgresql_include=["case_id", "role", "expires_at"]),
        Index("case_participants_added_by_id_idx", "added_by_id"),
    )

    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    role: Mapped[str] = mapped_column(comment="owner, editor or viewer")
    permissions: Mapped[dict[str, Any]] = mapped_column(
        JSONB, server_default=text("'{}'::jsonb"), comment='{"allow": [verb, …], "deny": [verb, …]}'
    )
    expires_at: Mapped[datetime | None]
    added_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"), server_default=ACTOR)

    case: Mapped[Case] = relationship(back_populates="participants", lazy="raise_on_sql")
    user: Mapped[User] = relationship(
        back_populates="participations", foreign_keys="CaseParticipant.user_id", lazy="raise_on_sql"
    )


class CaseNote(Versioned, Record):
    """What somebody wrote down about a case."""

    __tablename__ = "case_notes"
    __table_args__ = (
        length_limit("body", 100_000, least=1),
        Index("case_notes_case_id_idx", "case_id", "created_at"),
        Index("case_notes_author_id_idx", "author_id"),
        Index("case_notes_search_idx", text("search_vector('simple', body)"), postgresql_using="gin"),
    )

    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"), server_default=ACTOR)
    body: Mapped[str]

    case: Mapped[Case] = relationship(back_populates="notes", lazy="raise_on_sql")
    author: Mapped[User] = relationship(lazy="raise_on_sql")


class LegalHold(Versioned, Record):
    """Why nothing in a case may be deleted, from when it is placed until it is released."""

    __tablename__ = "legal_holds"
    __table_args__ = (
        length_limit("reason", 2000, least=1),
        length_limit("release_reason", 2000, least=1),
        CheckConstraint(
            "(released_at IS NULL) = (released_by_id IS NULL) AND (released_at IS NULL) = (release_reason IS NULL)",
            name="released_whole",
        ),
        Index("legal_holds_case_id_idx", "case_id"),
        Index("legal_holds_placed_by_id_idx", "placed_by_id"),
        Index("legal_holds_released_by_id_idx", "released_by_id"),
    )

    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"))
    reason: Mapped[str]
    placed_by_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"), server_default=ACTOR)
    released_at: Mapped[datetime | None]
    released_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    release_reason: Mapped[str | None]

    case: Mapped[Case] = relationship(back_populates="holds", lazy="raise_on_sql")
