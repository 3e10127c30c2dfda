"""How long a transaction may take that waits for bytes or stores hours of speech: longer than a session's queries."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

LONGEST_STATEMENT = "1h"


def disable_idle_timeout(session: Session) -> None:
    """Let this transaction idle as long as it takes: bytes travel slowly, recognisers work for hours."""
    session.execute(select(func.set_config("idle_in_transaction_session_timeout", "0", True)))


def extend_statement_timeout(session: Session) -> None:
    """Let the statements of this transaction take as long as what they store may."""
    session.execute(select(func.set_config("statement_timeout", LONGEST_STATEMENT, True)))
