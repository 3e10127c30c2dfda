"""Cases: opening and closing them, who takes part, what is noted, what must not be deleted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.database.connection.session import actor_of
from src.database.models import Case, CaseNote, CaseParticipant, CasePriority, CaseStatus, LegalHold, User
from src.database.schema.permissions import PARTICIPANT_ROLES, require_participation
from src.errors import Conflict, InvalidInput, NotFound
from src.services import activity
from src.services.accounts import find_user
from src.services.lookup import by_code, in_session, validate_text


def open_case(
    session: Session, *, title: str, description: str = "", priority: str = "medium", case_code: str | None = None
) -> Case:
    """Open a case; the actor becomes its owner.

    Without `case_code` the case is given one, such as C-000042. Raises InvalidInput for an empty title or an unknown
    priority, Forbidden when nobody acts or the actor's role may not open cases.
    """
    actor_of(session)
    if not validate_text(title, "title").strip():
        raise InvalidInput("A case needs a title.")
    case = Case(
        title=title,
        description=validate_text(description, "description"),
        priority=by_code(session, CasePriority, priority),
    )
    if case_code is not None:
        case.case_code = validate_text(case_code, "case_code")
    session.add(case)
    session.flush()  # the id is needed below and by whatever the caller puts into the case next
    # The status is the server's default; a caller may want to read it when the session is closed.
    session.refresh(case, ["status"])
    activity.record(session, "case.opened", case=case, entity=case, detail={"title": title})
    return case


def get_case(session: Session, code: str) -> Case:
    """Return the case of this code. Raises NotFound when there is none, or none that the actor may see."""
    case = session.scalars(select(Case).where(Case.case_code == code)).one_or_none()
    if case is None:
        raise NotFound(f"There is no case {code!r}, or it is not yours to see.")
    return case


def close(session: Session, case: Case) -> Case:
    """Close a case: nothing is deleted, it is only finished. Closing a closed case changes nothing."""
    actor_of(session)
    case = in_session(session, case)
    if case.closed_at is None:
        case.closed_at = now(session)
        case.status = by_code(session, CaseStatus, "closed")
        session.flush()  # so that a lost update is refused before the closing is recorded
        activity.record(session, "case.closed", case=case, entity=case, detail={"title": case.title})
    return case


def add_participant(
    session: Session,
    case: Case,
    user: User | str,
    *,
    role: str = "viewer",
    expires_at: datetime | None = None,
    allow: Iterable[str] = (),
    deny: Iterable[str] = (),
) -> CaseParticipant:
    """Let a user take part as owner, editor or viewer, from the next transaction on, until `expires_at`.

    `allow` adds verbs to those of the role (`read`, `write`, `delete`, `manage`), `deny` takes some away; denied wins.
    A user who takes part already is given the new part in place of the old one. Raises NotFound for an unknown user,
    InvalidInput for an unknown role or verb, Conflict when the case would lose its last owner, Forbidden when the
    actor is no owner of the case or does not hold what he gives.
    """
    actor_of(session)
    if role not in PARTICIPANT_ROLES:
        raise InvalidInput(f"There is no role {role!r} in a case; there are: {', '.join(PARTICIPANT_ROLES)}.")
    permissions = {key: list(verbs) for key, verbs in (("allow", allow), ("deny", deny)) if verbs}
    require_participation(permissions)
    person, participant = _part_of(session, case, user)
    if participant is None:
        participant = CaseParticipant(case_id=case.id, user_id=person.id)
        session.add(participant)
    participant.role, participant.expires_at, participant.permissions = role, expires_at, permissions
    session.flush()  # refused here rather than at the end, when it is not the actor's to give
    detail = {"user": person.username, "role": role, **permissions}
    activity.record(session, "participant.added", case=case, entity=participant, detail=detail)
    return participant


def remove_participant(session: Session, case: Case, user: User | str) -> None:
    """End a user's part in a case, from the next transaction on; under a legal hold it expires instead of going.

    Raises NotFound when there is none to end, Conflict for the last owner, Forbidden when the actor is no owner.
    """
    actor_of(session)
    person, participant = _part_of(session, case, user)
    if participant is None:
        raise NotFound(f"{person.username} does not take part in this case.")
    if session.scalar(select(Case.active_holds).where(Case.id == case.id)):
        # Nothing is deleted under a legal hold, but nobody has to be let in for that.
        participant.expires_at = now(session)
    else:
        session.delete(participant)
    session.flush()  # refused here rather than at the end, when it is not the actor's to take
    activity.record(session, "participant.removed", case=case, detail={"user": person.username})


def add_note(session: Session, case: Case, body: str) -> CaseNote:
    """Write down something about a case. Raises InvalidInput for an empty note."""
    actor_of(session)
    if not validate_text(body, "body").strip():
        raise InvalidInput("A note needs a text.")
    note = CaseNote(case_id=case.id, body=body)
    session.add(note)
    session.flush()  # the caller gets a note with its id
    return note


def place_hold(session: Session, case: Case, *, reason: str) -> LegalHold:
    """Forbid every deletion in a case until the hold is released; several may be active at a time.

    Raises InvalidInput without a reason, Forbidden when the actor is no owner of the case.
    """
    actor_of(session)
    if not validate_text(reason, "reason").strip():
        raise InvalidInput("A legal hold needs a reason.")
    hold = LegalHold(case_id=case.id, reason=reason)
    session.add(hold)
    session.flush()  # the caller gets a hold with its id
    activity.record(session, "hold.placed", case=case, entity=hold, detail={"reason": reason})
    return hold


def release_hold(session: Session, hold: LegalHold, *, reason: str) -> LegalHold:
    """End a legal hold, with the reason. Raises Conflict when it was released before."""
    actor, moment = actor_of(session), now(session)
    hold = in_session(session, hold)
    if hold.released_at is not None:
        raise Conflict("This hold was released before; there is nothing to release.")
    if not validate_text(reason, "reason").strip():
        raise InvalidInput("Releasing a legal hold needs a reason.")
    hold.released_at, hold.released_by_id, hold.release_reason = moment, actor, reason
    session.flush()  # refused here rather than at the end, when it is not the actor's to release
    activity.record(session, "hold.released", case_id=hold.case_id, entity=hold, detail={"reason": reason})
    return hold


def now(session: Session) -> datetime:
    """Return the time of the transaction by the server's clock: the one that all rows are stamped with."""
    moment: datetime = session.scalars(select(func.now())).one()
    return moment


def _part_of(session: Session, case: Case, user: User | str) -> tuple[User, CaseParticipant | None]:
    person = find_user(session, user) if isinstance(user, str) else user
    query = select(CaseParticipant).where(CaseParticipant.case_id == case.id, CaseParticipant.user_id == person.id)
    return person, session.scalars(query).one_or_none()
