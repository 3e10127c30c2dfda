"""Erasing what the log and its archives say about a case or a user, as the owner."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.database.models import User
from src.errors import InvalidInput
from src.maintenance.brief_waits import brief_transaction
from src.maintenance.retention import erase_archived, forget_replaced
from src.storage import StorageBackend

ERASED_AT_ONCE = 5_000


def erase_everywhere(
    session: Session, storage: StorageBackend, *, case_id: int | None, username: str | None, reason: str
) -> int:
    """Erase the payloads about a case, deleted or not, or about a user's own row; return how many entries it were.

    Commits. That the entries existed remains, and stays provable. Raises InvalidInput for an unknown user, or unless
    exactly one of the two is given; Conflict while a legal hold is active in the case. A session that keeps the case
    locked is waited for briefly: then the error of the timeout.
    """
    with brief_transaction(session):
        session.execute(select(func.set_config("sti.reason", reason, True)))
        user_id = None
        if username is not None:
            user_id = session.scalars(select(User.id).where(User.username == username)).one_or_none()
            if user_id is None:
                raise InvalidInput(f"user: {username!r} does not exist.")
        if (case_id is None) == (user_id is None):
            raise InvalidInput("Name a case with --case or a user with --user.")
        erased = 0
        while found := session.scalar(select(func.public.erase_payloads(case_id, user_id, ERASED_AT_ONCE))):
            erased += len(found)
        erased += erase_archived(session, storage, case_id=case_id, user_id=user_id)
    with session.begin():
        forget_replaced(session, storage)
    return erased
