"""What must hold before a COMMIT: PostgreSQL answers one in an aborted transaction with a silent ROLLBACK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from src.database.connection.driver_errors import first_line, translate, translate_aborted
from src.database.connection.transaction_rules import BY_HAND
from src.errors import ServerUnreachable, SessionMisused, SpeechError

if TYPE_CHECKING:
    from src.database.connection.driver_connection import DriverConnection

_ENDED_BY_HAND = (
    "The transaction of this session was ended inside its block: what was written before may be stored or lost, what"
    " was written after it is lost. " + BY_HAND.format(what="the COMMIT or ROLLBACK")
)


def require_commit(connection: Connection) -> None:
    """Raise unless the COMMIT that is about to be sent would store the transaction. Without a round trip."""
    driver: Any = connection.connection.dbapi_connection
    if driver.autocommit:
        return
    if driver.in_block:
        raise SessionMisused(BY_HAND.format(what="connection.commit()"))
    if driver.is_aborted():
        raise translate_aborted(driver.failure)


def require_transaction(driver: DriverConnection) -> None:
    """Raise unless the transaction of a session is still the one that its block began, and usable."""
    if driver.is_aborted():
        raise translate_aborted(driver.failure)
    if driver.is_lost():
        raise lost(driver.failure) from driver.failure
    if driver.is_replaced():
        raise SessionMisused(_ENDED_BY_HAND)


def ended_by_hand() -> SpeechError:
    """Return the error for a transaction that ended inside the block of its session."""
    return SessionMisused(_ENDED_BY_HAND)


def lost(failure: BaseException | None) -> SpeechError:
    """Return the error for a connection that ended inside the block, with the error that said so."""
    translated = translate(failure) if failure is not None else None
    if translated is not None:
        return translated
    reason = "no reason given" if failure is None else first_line(getattr(failure, "orig", None) or failure)
    return ServerUnreachable(f"The connection ended inside the block, and nothing was saved: {reason}. Try again.")
