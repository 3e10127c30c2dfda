"""Cases and who takes part in them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    FetchedValue,
    ForeignKey,
    Identity,
    Index,
    Integer,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

from src.database.base import Record, TransactionId, Versioned, administered, one_of, user_text, versioned_by, written
from src.database.models.lookups import Lookup
from src.database.models.users import User
from src.database.schema import Protected, Trigger
from src.database.schema.permissions import PARTICIPANT_ROLES

if TYPE_CHECKING:
    from src.database.models.audio_files import AudioFile

ACTOR = text("public.actor_id()")


class CaseStatus(Lookup):
    """Where a case stands: active, closed, pending."""

    __tablename__ = "case_statuses"


class CasePriority(Lookup):
    """How urgent a case is: high, medium, low; the heavier, the sooner."""

    __tablename__ = "case_priorities"

    weight: Mapped[int] = administered(comment="sorts the levels; heavier is more urgent")


class Case(Versioned, Record):
    """What recordings, people, notes and holds belong to. Opening one makes the actor its owner."""

    __tablename__ = "cases"
    __protection__ = Protected(
        case="id",
        # A case is visible to the transaction that opened it before its owner stands in the participants: INSERT …
        # RETURNING checks the SELECT policy first and fires the AFTER trigger that adds the owner last.
        also_visible="(opened_by_id = (SELECT public.actor_id()) AND opened_xid = pg_current_xact_id_if_assigned())",
        insert_rule="opened_by_id = (SELECT public.actor_id()) AND (SELECT public.actor_may('case', 'open'))",
        not_captured=("opened_xid", "active_holds"),
        triggers=(
            # A hold that is placed meanwhile is no change that an editor of the case could lose.
            Trigger(
                "touch",
                "BEFORE UPDATE",
                "touch_versioned_row",
                when="OLD.active_holds IS NOT DISTINCT FROM NEW.active_holds",
                always=False,
            ),
            Trigger("prepare", "BEFORE INSERT", "prepare_case", always=False),
            # All owners at once: the log then takes their entries at once too.
            Trigger("own", "AFTER INSERT", "own_case", each="STATEMENT", transition="new_cases", always=False),
            Trigger("count_holds", "BEFORE INSERT OR UPDATE OF active_holds", "count_holds"),
        ),
    )
    __table_args__ = (
        # By it the row policy shows a new case to the transaction that opened it, before its owner is a participant.
        # Not mapped: nobody but the policy reads it, and merge() would try to write it back.
        Column(
            "opened_xid", TransactionId, server_default=FetchedValue(), comment="the transaction that opened the case"
        ),
        CheckConstraint("closed_at >= created_at", name="closed_after_created"),
        Index("cases_status_id_idx", "status_id"),
        Index("cases_priority_id_idx", "priority_id"),
        Index("cases_opened_by_id_idx", "opened_by_id"),
        Index("cases_opened_xid_idx", "opened_xid"),
        Index("cases_created_at_idx", "created_at"),
        Index(
            "cases_title_lower_idx",
            func.lower(text("title")).label("lowered"),
            postgresql_ops={"lowered": "text_pattern_ops"},
        ),
    )

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 - declared_attr calls it with the class
        return {**versioned_by(cls), "exclude_properties": {"opened_xid"}}

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True, sort_order=-100)
    case_code: Mapped[str] = user_text(
        64,
        least=1,
        unique=True,
        server_default=FetchedValue(),
        comment="a trigger makes C-000042 of the id when none is given",
    )
    title: Mapped[str] = user_text(300, least=1)
    description: Mapped[str] = user_text(20_000, server_default="")
    status_id: Mapped[int] = written(
        ForeignKey("case_statuses.id", ondelete="RESTRICT"),
        server_default=text("public.code_id('case_statuses', 'active')"),
    )
    priority_id: Mapped[int] = written(
        ForeignKey("case_priorities.id", ondelete="RESTRICT"),
        server_default=text("public.code_id('case_priorities', 'medium')"),
    )
    opened_by_id: Mapped[int] = written(ForeignKey("users.id", ondelete="RESTRICT"), once=True, server_default=ACTOR)
    closed_at: Mapped[datetime | None] = written()
    active_holds: Mapped[int] = mapped_column(
        server_default="0", server_onupdate=FetchedValue(), comment="number of active legal holds; counted by a trigger"
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
    __protection__ = Protected(
        insert="manage",
        update="manage",
        delete="manage",
        restorable="manage",
        triggers=(
            Trigger("guard_grant", "BEFORE INSERT OR UPDATE", "guard_grant"),
            Trigger("guard_owners", "AFTER DELETE", "guard_owners", when="OLD.role = 'owner'"),
            Trigger(
                "guard_owners_update",
                "AFTER UPDATE",
                "guard_owners",
                when="OLD.role = 'owner'"
                " AND (NEW.role <> 'owner' OR NEW.expires_at IS NOT NULL OR NEW.case_id <> OLD.case_id)",
            ),
        ),
    )
    __table_args__ = (
        UniqueConstraint("case_id", "user_id"),
        one_of("role", *PARTICIPANT_ROLES),
        CheckConstraint("public.participation_known_1(permissions)", name="permissions_known"),
        CheckConstraint("octet_length(permissions::text) <= 16384", name="permissions_size"),
        Index("case_participants_user_id_idx", "user_id", postgresql_include=["case_id", "role", "expires_at"]),
        Index("case_participants_added_by_id_idx", "added_by_id"),
    )

    case_id: Mapped[int] = written(Integer, ForeignKey("cases.id", ondelete="CASCADE"), once=True)
    user_id: Mapped[int] = written(ForeignKey("users.id", ondelete="RESTRICT"), once=True)
    role: Mapped[str] = written(comment="owner, editor or viewer")
    permissions: Mapped[dict[str, Any]] = written(
        JSONB, server_default=text("'{}'::jsonb"), comment='{"allow": [verb, …], "deny": [verb, …]}'
    )
    expires_at: Mapped[datetime | None] = written()
    added_by_id: Mapped[int | None] = written(
        ForeignKey("users.id", ondelete="RESTRICT"), once=True, signed=True, server_default=ACTOR
    )

    case: Mapped[Case] = relationship(back_populates="participants", lazy="raise_on_sql")
    user: Mapped[User] = relationship(
        back_populates="participations", foreign_keys="CaseParticipant.user_id", lazy="raise_on_sql"
    )


class CaseNote(Versioned, Record):
    """What somebody wrote down about a case."""

    __tablename__ = "case_notes"
    __protection__ = Protected()
    __table_args__ = (
        Index("case_notes_case_id_idx", "case_id", "created_at"),
        Index("case_notes_author_id_idx", "author_id"),
        Index("case_notes_search_idx", text("search_vector_1('simple', body)"), postgresql_using="gin"),
    )

    case_id: Mapped[int] = written(Integer, ForeignKey("cases.id", ondelete="CASCADE"), once=True)
    author_id: Mapped[int] = written(
        ForeignKey("users.id", ondelete="RESTRICT"), once=True, signed=True, server_default=ACTOR
    )
    body: Mapped[str] = user_text(100_000, least=1)

    case: Mapped[Case] = relationship(back_populates="notes", lazy="raise_on_sql")
    author: Mapped[User] = relationship(lazy="raise_on_sql")


class LegalHold(Versioned, Record):
    """Why nothing in a case may be deleted, from when it is placed until it is released."""

    __tablename__ = "legal_holds"
    __protection__ = Protected(
        insert="manage",
        update="manage",
        delete=None,
        restorable="manage",
        triggers=(Trigger("announce_hold", "AFTER INSERT OR UPDATE", "announce_hold"),),
    )
    __table_args__ = (
        CheckConstraint(
            "(released_at IS NULL) = (released_by_id IS NULL) AND (released_at IS NULL) = (release_reason IS NULL)",
            name="released_whole",
        ),
        Index("legal_holds_case_id_idx", "case_id"),
        Index("legal_holds_placed_by_id_idx", "placed_by_id"),
        Index("legal_holds_released_by_id_idx", "released_by_id"),
    )

    case_id: Mapped[int] = written(Integer, ForeignKey("cases.id", ondelete="CASCADE"), once=True)
    reason: Mapped[str] = user_text(2000, least=1, once=True)
    placed_by_id: Mapped[int] = written(
        ForeignKey("users.id", ondelete="RESTRICT"), once=True, signed=True, server_default=ACTOR
    )
    released_at: Mapped[datetime | None] = written()
    released_by_id: Mapped[int | None] = written(ForeignKey("users.id", ondelete="RESTRICT"), signed=True)
    release_reason: Mapped[str | None] = user_text(2000, least=1)

    case: Mapped[Case] = relationship(back_populates="holds", lazy="raise_on_sql")
