"""Timeouts of transactions that wait for bytes or store hours of speech: longer than those of other sessions."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

LONGEST_STATEMENT = "1h"


def disable_idle_timeout(session: Session) -> None:
    """Disable the idle timeout of this transaction: uploads are slow, and recognisers run for hours."""
    session.execute(select(func.set_config("idle_in_transaction_session_timeout", "0", True)))


def extend_statement_timeout(session: Session) -> None:
    """Raise the statement timeout of this transaction to `LONGEST_STATEMENT`."""
    session.execute(select(func.set_config("statement_timeout", LONGEST_STATEMENT, True)))
