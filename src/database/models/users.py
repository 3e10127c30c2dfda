"""Users and their roles, failed sign-ins, and the keys that sign actor tokens."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, Column, FetchedValue, ForeignKey, Index, Integer, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

from src.database.base import PRIVATE, SECRET, UNREADABLE, Record, Versioned, administered, versioned_by, written
from src.database.schema import CLOSED, Protected, Trigger, declaration
from src.database.schema.declaration import KNOWN_ACTOR
from src.database.schema.private_columns import PrivateMoment, PrivateText

if TYPE_CHECKING:
    from src.database.models.audio_files import AudioFile
    from src.database.models.cases import Case, CaseParticipant


class UserRole(Versioned, Record):
    """A named set of permissions: those of the parent role and its own."""

    __tablename__ = "user_roles"
    __protection__ = Protected(
        case=None,
        members=KNOWN_ACTOR,
        in_snapshot=False,
        triggers=(
            Trigger("check_permissions", "BEFORE INSERT OR UPDATE OF permissions", "check_permissions", ("role",)),
            Trigger("guard_hierarchy", "BEFORE INSERT OR UPDATE OF parent_id, id", "guard_hierarchy"),
            Trigger("guard_administrators", "AFTER UPDATE OF parent_id, permissions", "guard_administrators"),
        ),
    )
    __table_args__ = (
        CheckConstraint("public.permissions_form_2(permissions)", name="permissions_form"),
        CheckConstraint("parent_id <> id", name="parent_other"),
    )

    __plain__ = frozenset({"code", "name", "description", "permissions", "seed_fingerprint"})

    code: Mapped[str] = administered(most=64, least=1, unique=True, comment="admin, user, service, …")
    name: Mapped[str] = administered(most=200, least=1)
    description: Mapped[str] = administered(most=2000, server_default="")
    parent_id: Mapped[int | None] = administered(ForeignKey("user_roles.id", ondelete="RESTRICT"), index=True)
    permissions: Mapped[dict[str, Any]] = administered(
        JSONB, size=16 << 10, server_default=text("'{}'::jsonb"), comment='{"subject": ["verb", …]}; "*" is all'
    )
    seed_fingerprint: Mapped[str | None] = mapped_column(
        deferred=True, comment="hash of the seed; null: not a seed of init_db"
    )

    parent: Mapped[UserRole | None] = relationship(remote_side="UserRole.id", lazy="raise_on_sql")


class User(Versioned, Record):
    """A person or a program that signs in; `password_hash` is readable through `accounts.authenticate` only."""

    __tablename__ = "users"
    # Every actor may read the names of users, and change their own address and name. Address and last sign-in are the
    # user's own and the administrators': members read them by functions (src/database/schema/private_columns.py).
    __protection__ = Protected(
        case=None,
        members=KNOWN_ACTOR,
        member_update="id = (SELECT public.actor_id())",
        in_snapshot=False,
        # The log has what raises it.
        not_captured=("sign_in_epoch",),
        triggers=(
            Trigger(
                "raise_sign_in_epoch",
                "BEFORE UPDATE",
                "raise_sign_in_epoch",
                # A hash that changes with a sign-in is that of the same password, renewed.
                when="OLD.is_active AND NOT NEW.is_active OR OLD.password_hash IS DISTINCT FROM NEW.password_hash"
                " AND OLD.last_login IS NOT DISTINCT FROM NEW.last_login",
            ),
            Trigger(
                "guard_administrators",
                "AFTER UPDATE",
                "guard_administrators",
                when="OLD.is_active AND (NOT NEW.is_active OR OLD.role_id <> NEW.role_id)",
            ),
            Trigger("guard_address", "BEFORE INSERT OR UPDATE OF email", "guard_address"),
            Trigger("prepare_case_access", "AFTER INSERT", "prepare_case_access"),
            Trigger("guard_administrators_delete", "AFTER DELETE", "guard_administrators", when="OLD.is_active"),
        ),
    )
    __table_args__ = (
        # Not mapped: no session may read or write it except through functions (src/services/accounts.py).
        Column(
            "password_hash",
            Text,
            comment="bcrypt with a scheme prefix; null: cannot sign in",
            info={**UNREADABLE, declaration.ASSIGNED: True, declaration.LENGTH: (0, 255)},
        ),
        # Not mapped either: the function `sign_in_epoch` returns it to the user and to administrators.
        Column(
            "sign_in_epoch",
            Integer,
            nullable=False,
            server_default="0",
            comment="raised by a new password and by deactivation: what services handed out before is void",
            info={declaration.UNREADABLE: True, declaration.ASSIGNED: True},
        ),
        CheckConstraint("username !~ '[[:cntrl:]|]' AND username = btrim(username)", name="username_form"),
        CheckConstraint("email LIKE '%_@_%'", name="email_form"),
        Index("users_username_lower_key", func.lower(text("username")), unique=True),
        # Not unique: a unique key would show members whether an address is taken. `guard_address` refuses a second one
        # for administrators.
        Index("users_email_lower_idx", func.lower(text("email"))),
    )

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 - declared_attr calls it with the class
        return {**versioned_by(cls), "exclude_properties": {"password_hash", "sign_in_epoch"}}

    __plain__ = frozenset({"username", "full_name"})

    username: Mapped[str] = administered(most=64, least=1)
    email: Mapped[str | None] = written(PrivateText("user_email"), most=254, least=3, info=SECRET | PRIVATE)
    full_name: Mapped[str] = written(most=200, server_default="")
    is_active: Mapped[bool] = administered(server_default=text("true"))
    last_login: Mapped[datetime | None] = mapped_column(
        PrivateMoment("user_last_login"), server_default=FetchedValue(), info=PRIVATE
    )
    role_id: Mapped[int] = administered(
        ForeignKey("user_roles.id", ondelete="RESTRICT"), server_default=text("public.code_id('user_roles', 'user')")
    )

    role: Mapped[UserRole] = relationship(lazy="joined", innerjoin=True)
    participations: Mapped[list[CaseParticipant]] = relationship(
        back_populates="user", foreign_keys="CaseParticipant.user_id", lazy="raise_on_sql", passive_deletes="all"
    )
    cases: Mapped[list[Case]] = relationship(
        secondary="case_participants",
        primaryjoin="User.id == CaseParticipant.user_id",
        secondaryjoin="Case.id == CaseParticipant.case_id",
        viewonly=True,
        lazy="raise_on_sql",
    )
    audio_files: Mapped[list[AudioFile]] = relationship(
        back_populates="uploaded_by", lazy="raise_on_sql", passive_deletes="all"
    )


Index("users_role_id_idx", User.role_id)


class LoginThrottle(Record):
    """Consecutive failed sign-ins of a user. Sessions cannot read it."""

    __tablename__ = "login_throttles"
    __protection__ = CLOSED
    __table_args__ = (CheckConstraint("failures >= 1", name="failures_positive"),)

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)
    failures: Mapped[int]
    last_failed_at: Mapped[datetime]


class ActorKey(Record):
    """A key that signs actor tokens. Sessions cannot read it; several keys may be valid during a rotation.

    HMAC-SHA256 by the server's own `sha256()`, since pgcrypto may be missing: the two padded forms of the key are
    stored, so that a verification takes two hashes.
    """

    __tablename__ = "actor_keys"
    __protection__ = CLOSED
    __table_args__ = (
        CheckConstraint("octet_length(inner_pad) = 64 AND octet_length(outer_pad) = 64", name="pad_length"),
    )

    inner_pad: Mapped[bytes] = mapped_column(deferred=True, info=SECRET)
    outer_pad: Mapped[bytes] = mapped_column(deferred=True, info=SECRET)
    retired_at: Mapped[datetime | None] = mapped_column(comment="tokens of this key are rejected from then on")
