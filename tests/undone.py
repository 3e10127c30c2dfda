"""Sessions of tests whose changes are rolled back, so that the next test finds the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy.orm import Session

from src.database import Database


class UndoneError(Exception):
    """Leaves the block of a session."""


@contextmanager
def undone(db: Database, **options: str) -> Iterator[Session]:
    """Open a session with these options of `db.session`, and roll it back."""
    with suppress(UndoneError), db.session(**options) as session:
        yield session
        raise UndoneError
