"""Sensitive cases and recordings: the mark, and the permission that exports of what is marked need."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.orm import Session

from src.database.connection.session import actor_of
from src.database.models import AudioFile, Case
from src.errors import Forbidden, InvalidInput, NotFound
from src.services import activity
from src.services.parameters import validate_text

T = TypeVar("T", Case, AudioFile)


def mark(session: Session, marked: T, reason: str) -> T:
    """Mark a case or a recording of this session as sensitive. Raises InvalidInput without a reason."""
    actor_of(session)
    if not validate_text(reason, "reason").strip():
        raise InvalidInput("reason: empty; marking as sensitive needs a reason.", field="reason")
    if not marked.is_sensitive or marked.sensitive_reason != reason:
        marked.is_sensitive, marked.sensitive_reason = True, reason
        session.flush()  # raises here, not at commit, if the actor may not mark it
        _record(session, "sensitive.marked", marked, reason)
    return marked


def unmark(session: Session, marked: T) -> T:
    """Remove the mark; removing a missing one changes nothing."""
    actor_of(session)
    if marked.is_sensitive:
        reason = marked.sensitive_reason or ""
        marked.is_sensitive, marked.sensitive_reason = False, None
        session.flush()  # raises here, not at commit, if the actor may not remove it
        _record(session, "sensitive.unmarked", marked, reason)
    return marked


def require_exportable(session: Session, case_id: int, audio_id: int | None = None) -> None:
    """Raise Forbidden unless the actor may export from this case, or from this recording of it.

    A sensitive case restricts all exports from it, a sensitive recording those of itself and of the whole case. Raises
    NotFound when the actor may not read the case.
    """
    allowed = session.scalar(
        select(func.public.actor_may_export(cast(case_id, BigInteger), cast(audio_id, BigInteger)))
    )
    if allowed is None:
        raise NotFound(f"Case {case_id} does not exist, or you may not see it.")
    if not allowed:
        what = f"recording {audio_id}" if audio_id is not None else f"case {case_id}"
        raise Forbidden(
            f"Exporting {what}: it or its case is marked as sensitive, so exports need the permission to manage case"
            f" {case_id}; ask an owner of the case."
        )


def _record(session: Session, type: str, marked: Case | AudioFile, reason: str) -> None:  # noqa: A002 - the column's name
    case_id = marked.id if isinstance(marked, Case) else marked.case_id
    name = marked.title if isinstance(marked, Case) else marked.name
    activity.record(session, type, case=case_id, entity=marked, detail={"name": name, "reason": reason})
