"""Subjects of permissions that services registered, such as `report` with the verb `read`."""

from __future__ import annotations

from sqlalchemy import ARRAY, CheckConstraint
from sqlalchemy.orm import Mapped
from sqlalchemy.types import Text

from src.database.base import Record, administered
from src.database.schema import Trigger
from src.database.schema.declaration import KNOWN_ACTOR, Protected


class PermissionSubject(Record):
    """A subject and its verbs: roles and participants may have them, and `actor_may_on(case, verb, subject)` asks."""

    __tablename__ = "permission_subjects"
    __protection__ = Protected(
        case=None,
        members=KNOWN_ACTOR,
        in_snapshot=False,
        triggers=(Trigger("keep_granted", "BEFORE UPDATE OR DELETE", "keep_granted_verbs"),),
    )
    __table_args__ = (CheckConstraint("public.permission_subject_form_2(subject, verbs)", name="subject_form"),)
    __plain__ = frozenset({"subject", "verbs"})

    subject: Mapped[str] = administered(most=63, least=1, unique=True)
    verbs: Mapped[list[str]] = administered(ARRAY(Text))
