"""The transaction of the block of a session: how it begins, and what must hold for it to commit."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InvalidRequestError, PendingRollbackError
from sqlalchemy.orm import Session, SessionTransaction

from src.database.connection.actor_session import ActorSession, end
from src.database.connection.commits import ended_by_hand, lost, require_transaction
from src.database.connection.driver_errors import translate, translate_aborted, translate_commit
from src.database.connection.engine import mark_for_ping
from src.database.connection.transaction_rules import FAILED_TRANSACTION
from src.errors import ServerUnreachable, SessionMisused, SpeechError

if TYPE_CHECKING:
    from src.database.connection.driver_connection import DriverConnection

logger = logging.getLogger(__name__)

_FORKED = (
    "This process was forked inside the block of a session, which belongs to process {process}: nothing was sent to the"
    " server. Open a session in the new process."
)


@dataclass
class Block:
    """An open transaction of a session, and the process that may end it."""

    session: ActorSession
    transaction: SessionTransaction
    connection: Connection
    driver: DriverConnection
    process: int
    is_committing: bool = False

    @classmethod
    def begun(cls, session: ActorSession, engine: Engine) -> Self:
        """Begin the transaction immediately; a dead connection of the pool is replaced."""
        session.bind = engine
        transaction = Session.begin(session)
        try:
            connection = session.connection()
        except ServerUnreachable:
            # No statement was executed, so one retry is safe; connections are pinged first.
            mark_for_ping(engine)
            transaction.rollback()
            transaction = Session.begin(session)
            connection = session.connection()
        driver: Any = connection.connection.dbapi_connection
        driver.in_block = True
        return cls(session, transaction, connection, driver, os.getpid())

    def commit(self) -> None:
        """Flush and commit. Raises a SpeechError where the server would not store everything."""
        if os.getpid() != self.process:
            raise SessionMisused(_FORKED.format(process=self.process))
        if not self.transaction.is_active:
            raise self._inactive()
        self.session.flush()  # before the checks, since it may fail and be caught by a listener
        require_transaction(self.driver)
        self.is_committing, self.driver.in_block = True, False
        Session.commit(self.session)
        self.is_committing = False

    def end(self) -> None:
        """Roll back what was not committed, and close the session permanently."""
        self.driver.in_block = False
        try:
            if os.getpid() != self.process:
                Session.invalidate(self.session)  # its socket is replaced: see forks.py
            elif self.session.get_transaction() is not None:
                Session.rollback(self.session)
        except DBAPIError:
            # The server rolls back itself when a connection ends.
            logger.debug("the connection ended before ROLLBACK", exc_info=True)
            Session.invalidate(self.session)
        finally:
            end(self.session, self.connection)

    def translate(self, error: BaseException) -> SpeechError | None:
        """Return the error of `src.errors` for one that left the block; None without a translation."""
        if self.is_committing:
            return translate_commit(error)
        original = getattr(error, "orig", None)
        if getattr(original, "pgcode", None) == FAILED_TRANSACTION and self.driver.failure is not None:
            return translate_aborted(self.driver.failure)
        if isinstance(error, PendingRollbackError) and self._failure is not None:
            return translate_aborted(self._failure)
        if isinstance(error, InvalidRequestError):
            return None
        translated = translate(error)
        return lost(error) if translated is None and self.driver.is_lost() else translated

    @property
    def _failure(self) -> BaseException | None:
        return self.driver.failure or self.session.info.get("failure")

    def _inactive(self) -> SpeechError:
        """Return the error for a session whose transaction has ended: by a failed flush, or by hand."""
        failure = self.session.info.get("failure")
        is_ours = self.session.get_transaction() is self.transaction
        return translate_aborted(failure) if failure is not None and is_ours else ended_by_hand()
