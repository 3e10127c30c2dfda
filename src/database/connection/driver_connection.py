"""The driver's connection and cursor: which error ended the transaction, and no COMMIT or ROLLBACK as text.

Every statement goes through this cursor, also those of SQLAlchemy and of raw cursors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from psycopg2 import Error, extensions

from src.database.connection.transaction_rules import BY_HAND, DATE_STYLE_AFTERWARDS, FAILED_TRANSACTION
from src.errors import SessionMisused

_BLANK = r"(?:\s|;|--[^\n]*\n|/\*.*?\*/)*"
_ENDS_TRANSACTION = re.compile(
    rf"{_BLANK}(commit|end|abort|begin|start\s+transaction|prepare\s+transaction"
    r"|rollback(?!(?:\s+(?:work|transaction))?\s+to\b))\b",
    re.IGNORECASE | re.DOTALL,
)


class DriverConnection(extensions.connection):  # type: ignore[misc]  # the driver has no types
    """A connection of the driver that knows the error that ended its transaction."""

    failure: BaseException | None = None
    """The error after which the server rejects every statement of the transaction."""
    in_block: bool = False
    """Whether the transaction belongs to a session whose block is open: nothing else may end it."""

    pins_slow: bool = False
    """Whether its transactions also pin the setting that is slow to set: see pinned_settings.py."""

    def note(self, error: BaseException) -> None:
        """Remember this error of a statement, unless an earlier one has ended the transaction already."""
        # With an SQLSTATE it comes from the server; without one it matters when the connection is lost.
        state = getattr(error, "pgcode", None)
        if state != FAILED_TRANSACTION and (state is not None or self.closed):
            self.failure = error

    def is_aborted(self) -> bool:
        """Return whether an error has ended the transaction, so that the server rejects every statement."""
        return bool(self.get_transaction_status() == extensions.TRANSACTION_STATUS_INERROR)

    def is_lost(self) -> bool:
        """Return whether the connection is closed."""
        return bool(self.get_transaction_status() == extensions.TRANSACTION_STATUS_UNKNOWN)

    def is_replaced(self) -> bool:
        """Return whether the transaction of a session ended, and another one may have begun."""
        ended = self.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE
        return bool(ended or self.get_parameter_status("DateStyle") == DATE_STYLE_AFTERWARDS)


class DriverCursor(extensions.cursor):  # type: ignore[misc]  # the driver has no types
    """A cursor that reports errors to its connection, and sends no command that would end the transaction of a block.

    Several commands in one text are not read; what they do is noticed when the block ends.
    """

    def _sent(self, send: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return send(*arguments, **options)
        except Error as error:
            connection: Any = self.connection
            if isinstance(connection, DriverConnection):
                connection.note(error)
            raise

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - the driver's name
        connection: Any = self.connection
        if isinstance(connection, DriverConnection) and connection.in_block:
            text = query.decode("utf-8", "replace") if isinstance(query, bytes) else query
            found = _ENDS_TRANSACTION.match(text) if isinstance(text, str) else None
            if found is not None:
                raise SessionMisused(BY_HAND.format(what=f"the command {found[1].upper()}"))
        try:
            super().execute(query, vars)
        except Error as error:
            if isinstance(connection, DriverConnection):
                connection.note(error)
            raise

    def executemany(self, query: Any, vars_list: Any) -> None:
        self._sent(super().executemany, query, vars_list)

    def callproc(self, procname: Any, parameters: Any = None) -> Any:
        return self._sent(super().callproc, procname, parameters)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        self._sent(super().copy_expert, sql, file, size)

    def copy_from(self, *arguments: Any, **options: Any) -> None:
        self._sent(super().copy_from, *arguments, **options)

    def copy_to(self, *arguments: Any, **options: Any) -> None:
        self._sent(super().copy_to, *arguments, **options)
