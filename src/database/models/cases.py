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
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

from src.database.base import (
    ACTOR,
    ReadAs,
    Record,
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
from src.database.schema import LOOKUP, Protected, Trigger, declaration
from src.database.schema.permissions import CaseRole
from src.database.schema.sensitivity import sensitive_has_reason, sensitive_mark

if TYPE_CHECKING:
    from src.database.models.audio_files import AudioFile
    from src.database.models.users import User


StatusCode = Literal["active", "pending", "closed"]
"""The seeded statuses; operators may add rows to `case_statuses`."""
PriorityCode = Literal["high", "medium", "low"]
"""The seeded priorities; operators may add rows to `case_priorities`."""


# The columns of a participant that decide what the user may do.
_ACCESS = ("case_id", "user_id", "role", "permissions", "expires_at")
# The generated code of each id belongs to that case: a case opened earlier with the code of a later id would make the
# opening of that one fail. Look-alikes are reserved too: other widths, dashes, blanks, lower case, the Cyrillic letter.
GENERATED_CODE = "case_code = 'C-' || lpad(id::text, greatest(6, length(id::text)), '0')"
FREE_CODE = (
    r"normalize(case_code, NFKC) !~* "
    r"'^[[:space:]]*[c\u0421\u0441][[:space:]]*[-\u2010-\u2015\u2212][[:space:]]*[0-9]{6,}[[:space:]]*$'"
)


class CaseStatus(Lookup):
    """Status of a case: active, closed, pending. `closed_at` of the case follows it, by a trigger."""

    __tablename__ = "case_statuses"

    is_closed: Mapped[bool] = administered(
        server_default=text("false"), comment="cases with this status are closed: they have closed_at"
    )


class CaseStatusMove(Record):
    """A move between statuses that cases may make, seeded by init_db; operators add rows, or make one inactive."""

    __tablename__ = "case_status_moves"
    __protection__ = LOOKUP
    __table_args__ = (
        UniqueConstraint("from_status_id", "to_status_id"),
        CheckConstraint("from_status_id <> to_status_id", name="statuses_differ"),
        Index("case_status_moves_to_status_id_idx", "to_status_id"),
    )

    from_status_id: Mapped[int] = administered(ForeignKey("case_statuses.id", ondelete="RESTRICT"))
    to_status_id: Mapped[int] = administered(ForeignKey("case_statuses.id", ondelete="RESTRICT"))
    is_active: Mapped[bool] = administered(server_default=text("true"), comment="false: the move is not allowed")


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
        also_visible="((SELECT public.actor_opening()))[opened_mark] IS NOT NULL",
        also_indexed="opened_mark || '' = (SELECT public.actor_opening_mark())",
        insert_rule="opened_by_id = (SELECT public.actor_id()) AND (SELECT public.actor_may('case', 'open'))",
        not_captured=("opened_mark", "active_holds"),
        triggers=(
            # Before `stamp_…` and `touch`: triggers fire in the order of their names.
            Trigger("follow_status", "BEFORE INSERT OR UPDATE OF status_id, closed_at", "follow_case_status"),
            *sensitive_mark(),
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
        # Read by the policy for SELECT only. Not mapped: merge() would try to write it back.
        Column(
            "opened_mark",
            Text,
            server_default=FetchedValue(),
            comment="actor and transaction that opened the case; read by the policy for SELECT",
            info={declaration.UNSAMPLED: True},
        ),
        # Unique without regard to case. A unique key on the readable column would show whether a guess is right: by its
        # index, and as the target of ON CONFLICT DO UPDATE.
        ExcludeConstraint((text("lower(case_code)"), "="), using="btree", name="cases_case_code_excl"),
        CheckConstraint("closed_at >= created_at", name="closed_after_created"),
        sensitive_has_reason(),
        Index("cases_opened_mark_idx", text("(opened_mark || '')")),
        CheckConstraint(f"{GENERATED_CODE} OR {FREE_CODE}", name="case_code_reserved"),
        Index(
            "cases_title_lower_idx",
            func.lower(text("title")).label("lowered"),
            postgresql_ops={"lowered": "text_pattern_ops"},
        ),
    )

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 - declared_attr calls it with the class
        return {**versioned_by(cls), "exclude_properties": {"opened_mark"}}

    __plain__ = frozenset({"case_code", "opened_mark"})

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True, sort_order=-100)
    case_code: Mapped[str] = user_text(
        64,
        least=1,
        server_default=FetchedValue(),
        info={declaration.PERSONAL: False},
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
    closed_at: Mapped[datetime | None] = moment(server_default=FetchedValue(), server_onupdate=FetchedValue())
    active_holds: Mapped[int] = mapped_column(
        server_default="0", server_onupdate=FetchedValue(), comment="unreleased legal holds; counted by a trigger"
    )
    is_sensitive: Mapped[bool] = written(server_default=text("false"), comment="exports need the permission to manage")
    sensitive_reason: Mapped[str | None] = user_text(2000, least=1)

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
            Trigger("check_permissions", "BEFORE INSERT OR UPDATE OF permissions", "check_permissions", ("case",)),
            Trigger("guard_grant", "BEFORE INSERT OR UPDATE OR DELETE", "guard_grant"),
            # An update that changes neither the user nor the permissions changes no access.
            Trigger("note_access", "AFTER INSERT OR DELETE", "note_case_access"),
            Trigger(
                "note_access_update",
                "AFTER UPDATE",
                "note_case_access",
                when=" OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in _ACCESS),
            ),
            Trigger("guard_owners", "AFTER DELETE", "guard_owners", when="OLD.role = 'owner'"),
            Trigger(
                "guard_owners_update",
                "AFTER UPDATE",
                "guard_owners",
                when="OLD.role = 'owner'"
                " AND (NEW.role <> 'owner' OR NEW.expires_at IS NOT NULL OR NEW.permissions <> OLD.permissions"
                " OR NEW.case_id <> OLD.case_id OR NEW.user_id <> OLD.user_id)",
            ),
        ),
    )
    __table_args__ = (
        UniqueConstraint("case_id", "user_id"),
        one_of("role", CaseRole),
        CheckConstraint("public.permissions_form_2(permissions)", name="permissions_form"),
        Index("case_participants_user_id_idx", text("(user_id + 0)")),
    )
    __plain__ = frozenset({"role", "permissions"})

    case_id: Mapped[int] = case_key()
    user_id: Mapped[int] = written(ForeignKey("users.id", ondelete="RESTRICT"), once=True)
    role: Mapped[CaseRole] = written(Text, comment="owner, editor or viewer")
    permissions: Mapped[dict[str, Any]] = written(
        JSONB,
        size=16 << 10,
        server_default=text("'{}'::jsonb"),
        comment='{"allow": [verb, …], "deny": [verb, …], subject of a service: [verb, …]}',
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
    __read_as__ = ReadAs("note.read", "case_notes")
    __table_args__ = (
        Index("case_notes_case_id_idx", "case_id", "created_at"),
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
    )

    case_id: Mapped[int] = case_key()
    reason: Mapped[str] = user_text(2000, least=1, once=True)
    placed_by_id: Mapped[int] = acting_user()
    released_at: Mapped[datetime | None] = moment()
    released_by_id: Mapped[int | None] = acting_user(once=False)
    release_reason: Mapped[str | None] = user_text(2000, least=1)

    case: Mapped[Case] = relationship(back_populates="holds", lazy="raise_on_sql")
