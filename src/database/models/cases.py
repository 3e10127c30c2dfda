"""Cases, their participants, notes and legal holds."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import (
    CheckConstraint,
    Column,
    FetchedValue,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

from src.database.base import (
    ACTOR,
    Record,
    TransactionId,
    Versioned,
    acting_user,
    administered,
    case_key,
    children,
    moment,
    one_of,
    user_text,
    versioned_by,
    written,
)
from src.database.models.lookups import Lookup
from src.database.schema import Protected, Trigger
from src.database.schema.permissions import CaseRole

if TYPE_CHECKING:
    from src.database.models.audio_files import AudioFile
    from src.database.models.users import User


PriorityCode = Literal["high", "medium", "low"]
"""The seeded priorities; operators may add rows to `case_priorities`."""


class CaseStatus(Lookup):
    """Status of a case: active, closed, pending."""

    __tablename__ = "case_statuses"


class CasePriority(Lookup):
    """Urgency of a case: high, medium, low; a higher weight is more urgent."""

    __tablename__ = "case_priorities"

    weight: Mapped[int] = administered(comment="sorts the levels; higher is more urgent")


class Case(Versioned, Record):
    """A case: recordings, participants, notes and legal holds belong to it. Opening one makes the actor its owner."""

    __tablename__ = "cases"
    __protection__ = Protected(
        case="id",
        # A case is visible to the transaction that opened it before its owner is a participant: INSERT … RETURNING
        # checks the SELECT policy first and fires the AFTER trigger that adds the owner last.
        also_visible="(opened_by_id = (SELECT public.actor_id()) AND opened_xid = pg_current_xact_id_if_assigned())",
        insert_rule="opened_by_id = (SELECT public.actor_id()) AND (SELECT public.actor_may('case', 'open'))",
        not_captured=("opened_xid", "active_holds"),
        triggers=(
            # Placing a hold does not count as a change: an editor of the case must not get a LostUpdate from it.
            Trigger(
                "touch",
                "BEFORE UPDATE",
                "touch_versioned_row",
                when="OLD.active_holds IS NOT DISTINCT FROM NEW.active_holds",
                always=False,
            ),
            Trigger("prepare", "BEFORE INSERT", "prepare_case", always=False),
            # One statement for all owners, so that the log gets their entries in one statement too.
            Trigger("own", "AFTER INSERT", "own_case", each="STATEMENT", transition="new_cases", always=False),
            Trigger("count_holds", "BEFORE INSERT OR UPDATE OF active_holds", "count_holds"),
        ),
    )
    __table_args__ = (
        # Read by the SELECT policy only, for new cases. Not mapped: merge() would try to write it back.
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
        comment="when none is given, a trigger derives C-000042 from the id",
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
    closed_at: Mapped[datetime | None] = moment()
    active_holds: Mapped[int] = mapped_column(
        server_default="0", server_onupdate=FetchedValue(), comment="unreleased legal holds; counted by a trigger"
    )

    status: Mapped[CaseStatus] = relationship(lazy="joined", innerjoin=True)
    priority: Mapped[CasePriority] = relationship(lazy="joined", innerjoin=True)
    opened_by: Mapped[User] = relationship(lazy="raise_on_sql")
    participants: Mapped[list[CaseParticipant]] = children("case")
    audio_files: Mapped[list[AudioFile]] = children("case")
    notes: Mapped[list[CaseNote]] = children("case")
    holds: Mapped[list[LegalHold]] = children("case")


class CaseParticipant(Versioned, Record):
    """A user in a case: role, permissions added or denied, expiry."""

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
        one_of("role", CaseRole),
        CheckConstraint("public.participation_known_1(permissions)", name="permissions_known"),
        CheckConstraint("octet_length(permissions::text) <= 16384", name="permissions_size"),
        Index("case_participants_user_id_idx", "user_id", postgresql_include=["case_id", "role", "expires_at"]),
        Index("case_participants_added_by_id_idx", "added_by_id"),
    )

    case_id: Mapped[int] = case_key()
    user_id: Mapped[int] = written(ForeignKey("users.id", ondelete="RESTRICT"), once=True)
    role: Mapped[CaseRole] = written(Text, comment="owner, editor or viewer")
    permissions: Mapped[dict[str, Any]] = written(
        JSONB, server_default=text("'{}'::jsonb"), comment='{"allow": [verb, …], "deny": [verb, …]}'
    )
    expires_at: Mapped[datetime | None] = written()
    added_by_id: Mapped[int | None] = acting_user()

    case: Mapped[Case] = relationship(back_populates="participants", lazy="raise_on_sql")
    user: Mapped[User] = relationship(
        back_populates="participations", foreign_keys="CaseParticipant.user_id", lazy="raise_on_sql"
    )


class CaseNote(Versioned, Record):
    """A note of a user about a case."""

    __tablename__ = "case_notes"
    __protection__ = Protected()
    __table_args__ = (
        Index("case_notes_case_id_idx", "case_id", "created_at"),
        Index("case_notes_author_id_idx", "author_id"),
        Index("case_notes_search_idx", text("search_vector_1('simple', body)"), postgresql_using="gin"),
    )

    case_id: Mapped[int] = case_key()
    author_id: Mapped[int] = acting_user()
    body: Mapped[str] = user_text(100_000, least=1)

    case: Mapped[Case] = relationship(back_populates="notes", lazy="raise_on_sql")
    author: Mapped[User] = relationship(lazy="raise_on_sql")


class LegalHold(Versioned, Record):
    """A legal hold: nothing in the case can be deleted from its placement until its release."""

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

    case_id: Mapped[int] = case_key()
    reason: Mapped[str] = user_text(2000, least=1, once=True)
    placed_by_id: Mapped[int] = acting_user()
    released_at: Mapped[datetime | None] = moment()
    released_by_id: Mapped[int | None] = acting_user(once=False)
    release_reason: Mapped[str | None] = user_text(2000, least=1)

    case: Mapped[Case] = relationship(back_populates="holds", lazy="raise_on_sql")
