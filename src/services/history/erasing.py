"""Erasure: what entries say goes, that they were written stays."""

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
    """Erase what the log says about a case, or about a user's own row; return how many entries were emptied.

    Their hashes, times, actors and kinds stay, so the seals still verify; the erasure is logged with the numbers of the
    entries. A deleted case is given by its id. Months that left for the archive are erased by `maintenance`. For
    administrators: raises Forbidden for anybody else, Conflict while a legal hold is active in the case.
    """
    actor_of(session)
    if (case is None) == (user is None):
        raise InvalidInput("Erase what is said about a case or about a user: give one of the two.")
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidInput("Erasing needs a reason.")
    of_case = cast(case.id if isinstance(case, Case) else case, BigInteger)
    of_user = cast(user.id if user is not None else None, BigInteger)
    erased = 0
    with with_reason(session, reason):
        while emptied := session.scalar(select(func.public.erase_payloads(of_case, of_user, cast(AT_ONCE, Integer)))):
            erased += len(emptied)
    return erased
