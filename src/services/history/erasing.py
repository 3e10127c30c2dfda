"""Erasure: remove the payloads of log entries, keep the entries and their hashes."""

from __future__ import annotations

from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.orm import Session
from sqlalchemy.types import Integer

from src.database.connection.session import actor_of
from src.database.models import Case, User
from src.errors import InvalidInput
from src.services.history.reverting import with_reason

AT_ONCE = 5_000


def erase(session: Session, *, case: Case | int | None = None, user: User | None = None, reason: str) -> int:
    """Erase the log payloads of a case, or of a user's own row; return the number of erased entries.

    Hashes, times, actors and types stay, so the seals still verify; the erasure is logged with the ids of the entries.
    A deleted case is given by its id. Archived months are erased by `maintenance`. Administrators only: raises
    Forbidden for other actors, Conflict while a legal hold is active in the case.
    """
    actor_of(session)
    if (case is None) == (user is None):
        raise InvalidInput("Give either case or user.", field="case")
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidInput("reason: empty; erasing needs a reason.", field="reason")
    of_case = cast(case.id if isinstance(case, Case) else case, BigInteger)
    of_user = cast(user.id if user is not None else None, BigInteger)
    erased = 0
    with with_reason(session, reason):
        while emptied := session.scalar(select(func.public.erase_payloads(of_case, of_user, cast(AT_ONCE, Integer)))):
            erased += len(emptied)
    return erased
