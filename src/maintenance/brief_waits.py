"""Locks that maintenance waits for only briefly: a member may keep the rows of a case locked without end.

A lock that is not free after that is an error of the driver. A round over many rows keeps such a row back and
continues; a command for one thing fails, with the sentence of the timeout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2.errors import LockNotAvailable
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

BRIEFLY = text("SET LOCAL lock_timeout = '2s'")


@contextmanager
def brief_transaction(session: Session) -> Iterator[None]:
    """Begin a transaction that waits only briefly for each lock; commit it."""
    with session.begin():
        session.execute(BRIEFLY)
        yield


def is_locked(error: DBAPIError) -> bool:
    """Return whether the error says that another transaction kept a lock for too long."""
    return isinstance(error.orig, LockNotAvailable)
