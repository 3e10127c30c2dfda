"""Cases: open and close, participants, notes, legal holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from sqlalchemy import BigInteger, Text, cast, func, select
from sqlalchemy.orm import Session

from src.database.connection.session import actor_of
from src.database.models import Case, CaseNote, CaseParticipant, CasePriority, CaseStatus, LegalHold, User
from src.database.models.cases import PriorityCode, StatusCode
from src.database.schema.moments import require_moment
from src.database.schema.permissions import CASE_VERBS, CaseRole, CaseVerb, require_participation
from src.errors import Conflict, InvalidInput, NotFound
from src.services import activity
from src.services.accounts import registered_subjects, user_of
from src.services.parameters import by_code, id_of, in_session, require_choice, row_of, validate_text
from src.services.sensitivity import mark, unmark

_Keeps = Callable[[CaseStatus], bool]

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
        priority=by_code(session, CasePriority, priority, "priority"),
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
    return _moved(session, case, "closed", unless=lambda status: status.is_closed)


def reopen(session: Session, case: Case | int) -> Case:
    """Make a closed case active again, which clears `closed_at`. Reopening an open case changes nothing."""
    return _moved(session, case, "active", unless=lambda status: not status.is_closed)


def set_status(session: Session, case: Case | int, status: StatusCode | CaseStatus) -> Case:
    """Give a case another status: active, pending, closed, or one that operators added.

    A status that closes sets `closed_at`, any other clears it. Giving it the status that it has changes nothing. Raises
    InvalidInput for an unknown status, Conflict, which names the allowed ones, for a move that is not in the table
    `case_status_moves`.
    """
    return _moved(session, case, status, unless=lambda _: False)


def set_priority(session: Session, case: Case | int, priority: PriorityCode | CasePriority) -> Case:
    """Give a case another priority: high, medium, low, or one that operators added.

    Raises InvalidInput for an unknown one. Giving it the priority that it has changes nothing.
    """
    case = row_of(Case, case)
    actor_of(session)
    wanted = by_code(session, CasePriority, priority, "priority")
    case = in_session(session, case)
    before = case.priority
    if before.id != wanted.id:
        case.priority = wanted
        session.flush()  # raises here, not at commit, if the actor may not change it
        detail = {"title": case.title, "from": before.code, "to": wanted.code}
        activity.record(session, "case.prioritised", case=case, entity=case, detail=detail)
    return case


def mark_sensitive(session: Session, case: Case | int, *, reason: str) -> Case:
    """Mark a case as sensitive: exports from it then need the permission to manage it.

    Every user who may write in the case may mark it; the reason is stored and logged. Raises InvalidInput without a
    reason, Forbidden for another reason when the actor may not manage the case.
    """
    return mark(session, in_session(session, row_of(Case, case)), reason)


def unmark_sensitive(session: Session, case: Case | int) -> Case:
    """Remove the mark of `mark_sensitive`. Raises Forbidden when the actor may not manage the case."""
    return unmark(session, in_session(session, row_of(Case, case)))


def add_participant(
    session: Session,
    case: Case | int,
    user: User | str | int,
    *,
    role: CaseRole = "viewer",
    expires_at: datetime | None = None,
    allow: Iterable[CaseVerb] = (),
    deny: Iterable[CaseVerb] = (),
    subjects: Mapping[str, Iterable[str]] | None = None,
) -> CaseParticipant:
    """Add a user to a case as owner, editor or viewer, from the next transaction on, until `expires_at`.

    `allow` adds verbs to those of the role (`read`, `write`, `delete`, `manage`), `deny` removes verbs and overrides
    `allow`. `subjects` are verbs of subjects that services registered: `{"report": ["read"]}`. For a user who is
    already a participant, role, expiry and verbs are replaced. Raises NotFound for an unknown user, InvalidInput for an
    unknown role, subject or verb or a time without a time zone, Conflict when the case would lose its last owner,
    Forbidden when the actor may not manage the case, does not hold a verb that is granted, removed or denied, would
    grant one for longer than the own participation, or would change an owner without being an owner for at least as
    long.
    """
    case = row_of(Case, case)
    actor_of(session)
    require_choice(role, CaseRole, "role")
    if expires_at is not None:
        require_moment(expires_at, "expires_at")
    named: dict[str, Iterable[str]] = {**(subjects or {}), "allow": allow, "deny": deny}
    permissions = {key: list(verbs) for key, verbs in named.items() if verbs}
    require_participation(permissions, registered_subjects(session) if subjects else {})
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


def may(session: Session, case: Case | int, verb: str, *, subject: str = "case") -> bool:
    """Return whether the actor may do this in a case; with `subject`, a verb of a subject that a service registered.

    A participant has such a verb by `subjects` of `add_participant` or as an owner, any user by the role in the cases
    that the user may read. False also for a case that the actor may not see. Raises InvalidInput for an unknown name.
    """
    actor_of(session)
    known = {"case": CASE_VERBS, **registered_subjects(session)}
    if verb not in known.get(subject, ()):
        raise InvalidInput(
            f"{subject} {verb}: not a permission; the subjects are {', '.join(known)}.", field="verb", value=verb
        )
    asked = func.public.actor_may_on(cast(id_of(Case, case), BigInteger), cast(verb, Text), cast(subject, Text))
    return bool(session.scalar(select(asked)))


def _moved(session: Session, case: Case | int, to: StatusCode | CaseStatus, *, unless: _Keeps) -> Case:
    """Move a case to a status, unless its present one is to be kept; the database decides whether the move exists."""
    case = row_of(Case, case)
    actor_of(session)
    wanted = by_code(session, CaseStatus, to, "status")
    case = in_session(session, case)
    before = case.status
    if before.id == wanted.id or unless(before):
        return case
    case.status = wanted
    session.flush()  # raises LostUpdate before the event is logged
    changed = "case.closed" if wanted.is_closed else "case.reopened"
    kind = "case.moved" if before.is_closed == wanted.is_closed else changed
    detail = {"title": case.title, "from": before.code, "to": wanted.code}
    activity.record(session, kind, case=case, entity=case, detail=detail)
    return case


def now(session: Session) -> datetime:
    """Return the start of the transaction by the server's clock, with which all its rows are stamped."""
    moment: datetime = session.scalars(select(func.now())).one()
    return moment


def _participation(session: Session, case: Case, user: User | str | int) -> tuple[User, CaseParticipant | None]:
    person = user_of(session, user)
    query = select(CaseParticipant).where(CaseParticipant.case_id == case.id, CaseParticipant.user_id == person.id)
    return person, session.scalars(query).one_or_none()
