"""Cases: open and close, participants, notes, legal holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.database.connection.session import actor_of
from src.database.models import Case, CaseNote, CaseParticipant, CasePriority, CaseStatus, LegalHold, User
from src.database.models.cases import PriorityCode
from src.database.schema.moments import require_moment
from src.database.schema.permissions import CaseRole, CaseVerb, require_participation
from src.errors import Conflict, InvalidInput, NotFound
from src.services import activity
from src.services.accounts import user_of
from src.services.parameters import by_code, in_session, require_choice, row_of, validate_text

# The CHECK of the table refuses the same forms (`src/database/models/cases.py`).
_GENERATED_CODE = re.compile(r"\s*[cс]\s*[-‐-―−]\s*[0-9]{6,}\s*\Z", re.IGNORECASE)


def open_case(
    session: Session,
    *,
    title: str,
    description: str = "",
    priority: PriorityCode | CasePriority = "medium",
    case_code: str | None = None,
) -> Case:
    """Open a case; the actor becomes its owner.

    Without `case_code` the case gets one, such as C-000042. Raises InvalidInput for an empty title, an unknown
    priority, and a code in the form of the generated ones, Forbidden without an actor or when the actor's role may not
    open cases.
    """
    actor_of(session)
    if not validate_text(title, "title").strip():
        raise InvalidInput("title: empty; give the case a title.", field="title")
    case = Case(
        title=title,
        description=validate_text(description, "description"),
        priority=by_code(session, CasePriority, priority),
    )
    if case_code is not None:
        case.case_code = validate_text(case_code, "case_code")
        if _GENERATED_CODE.match(unicodedata.normalize("NFKC", case_code)):
            raise InvalidInput(
                f"case_code: {case_code!r} has the form that the database gives to cases without a code; choose"
                " another one, or give none.",
                field="case_code",
                value=case_code,
            )
    session.add(case)
    session.flush()  # the id is needed below and by the caller
    # The status is a server default; load it, so that a caller can read it after the session is closed.
    session.refresh(case, ["status"])
    activity.record(session, "case.opened", case=case, entity=case, detail={"title": title})
    return case


def get_case(session: Session, code: str) -> Case:
    """Return the case with this code. Raises NotFound when it does not exist or the actor may not see it."""
    case = session.scalars(select(Case).where(Case.case_code == code)).one_or_none()
    if case is None:
        raise NotFound(f"Case {code!r} does not exist, or you may not see it.")
    return case


def close(session: Session, case: Case | int) -> Case:
    """Mark a case as closed; nothing is deleted. Closing a closed case changes nothing."""
    case = row_of(Case, case)
    actor_of(session)
    case = in_session(session, case)
    if case.closed_at is None:
        case.closed_at = now(session)
        case.status = by_code(session, CaseStatus, "closed")
        session.flush()  # raises LostUpdate before the event is logged
        activity.record(session, "case.closed", case=case, entity=case, detail={"title": case.title})
    return case


def add_participant(
    session: Session,
    case: Case | int,
    user: User | str | int,
    *,
    role: CaseRole = "viewer",
    expires_at: datetime | None = None,
    allow: Iterable[CaseVerb] = (),
    deny: Iterable[CaseVerb] = (),
) -> CaseParticipant:
    """Add a user to a case as owner, editor or viewer, from the next transaction on, until `expires_at`.

    `allow` adds verbs to those of the role (`read`, `write`, `delete`, `manage`), `deny` removes verbs and overrides
    `allow`. For a user who is already a participant, role, expiry and verbs are replaced. Raises NotFound for an
    unknown user, InvalidInput for an unknown role or verb or a time without a time zone, Conflict when the case would
    lose its last owner, Forbidden when the actor may not manage the case, does not hold a verb that is granted, removed
    or denied, would grant one for longer than the own participation, or would change an owner without being an owner
    for at least as long.
    """
    case = row_of(Case, case)
    actor_of(session)
    require_choice(role, CaseRole, "role")
    if expires_at is not None:
        require_moment(expires_at, "expires_at")
    permissions = {key: list(verbs) for key, verbs in (("allow", allow), ("deny", deny)) if verbs}
    require_participation(permissions)
    person, participant = _participation(session, case, user)
    if participant is None:
        participant = CaseParticipant(case_id=case.id, user_id=person.id)
        session.add(participant)
    participant.role, participant.expires_at, participant.permissions = role, expires_at, permissions
    session.flush()  # raises here, not at commit, if the actor may not grant it
    detail = {"user": person.username, "role": role, **permissions}
    activity.record(session, "participant.added", case=case, entity=participant, detail=detail)
    return participant


def remove_participant(session: Session, case: Case | int, user: User | str | int) -> None:
    """Remove a user from a case, from the next transaction on; under a legal hold the row expires instead.

    Raises NotFound when the user is not a participant, Conflict for the last owner, Forbidden when the actor may not
    manage the case, does not hold a verb of the participant, or is not an owner for as long as the one to be removed.
    """
    case = row_of(Case, case)
    actor_of(session)
    person, participant = _participation(session, case, user)
    if participant is None:
        raise NotFound(f"User {person.username!r} is not a participant of this case.")
    if session.scalar(select(Case.active_holds).where(Case.id == case.id)):
        # A legal hold forbids deleting the row, but not expiring it.
        participant.expires_at = now(session)
    else:
        session.delete(participant)
    session.flush()  # raises here, not at commit, if the actor may not remove it
    activity.record(session, "participant.removed", case=case, detail={"user": person.username})


def add_note(session: Session, case: Case | int, body: str) -> CaseNote:
    """Add a note to a case. Raises InvalidInput for an empty note."""
    case = row_of(Case, case)
    actor_of(session)
    if not validate_text(body, "body").strip():
        raise InvalidInput("body: empty; give the note a text.", field="body")
    note = CaseNote(case_id=case.id, body=body)
    session.add(note)
    session.flush()  # the caller needs the id
    return note


def place_hold(session: Session, case: Case | int, *, reason: str) -> LegalHold:
    """Forbid every deletion in a case until the hold is released; several may be active at a time.

    Raises InvalidInput without a reason, Forbidden when the actor is not an owner of the case.
    """
    case = row_of(Case, case)
    actor_of(session)
    if not validate_text(reason, "reason").strip():
        raise InvalidInput("reason: empty; a legal hold needs a reason.", field="reason")
    hold = LegalHold(case_id=case.id, reason=reason)
    session.add(hold)
    session.flush()  # the caller needs the id
    activity.record(session, "hold.placed", case=case, entity=hold, detail={"reason": reason})
    return hold


def release_hold(session: Session, hold: LegalHold | int, *, reason: str) -> LegalHold:
    """Release a legal hold, with a reason. Raises Conflict when it is already released."""
    hold = row_of(LegalHold, hold)
    actor, moment = actor_of(session), now(session)
    hold = in_session(session, hold)
    if hold.released_at is not None:
        raise Conflict(f"Legal hold {hold.id} is already released.")
    if not validate_text(reason, "reason").strip():
        raise InvalidInput("reason: empty; releasing a legal hold needs a reason.", field="reason")
    hold.released_at, hold.released_by_id, hold.release_reason = moment, actor, reason
    session.flush()  # raises here, not at commit, if the actor may not release it
    activity.record(session, "hold.released", case=hold.case_id, entity=hold, detail={"reason": reason})
    return hold


def now(session: Session) -> datetime:
    """Return the start of the transaction by the server's clock, with which all its rows are stamped."""
    moment: datetime = session.scalars(select(func.now())).one()
    return moment


def _participation(session: Session, case: Case, user: User | str | int) -> tuple[User, CaseParticipant | None]:
    person = user_of(session, user)
    query = select(CaseParticipant).where(CaseParticipant.case_id == case.id, CaseParticipant.user_id == person.id)
    return person, session.scalars(query).one_or_none()
