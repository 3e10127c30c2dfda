"""What a command prints for an exception that reaches its end: one sentence, and an exit code."""

from __future__ import annotations

import configparser
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from src.database.connection.driver_errors import first_line, translate
from src.errors import SpeechError, Unavailable

REJECTED, UNAVAILABLE = 1, 3
_DEBUG = "Run the command again with --debug for the traceback"


def explain(error: BaseException, *, debug: str = _DEBUG) -> tuple[str, int]:
    """Return the sentence and the exit code for an exception; the sentence contains no SQL and no values of rows.

    `debug` says how to see the traceback of an unexpected error.
    """
    if isinstance(error, SQLAlchemyError) or hasattr(error, "pgcode"):
        error = translate(error) or error
    if isinstance(error, SpeechError):
        return str(error), UNAVAILABLE if isinstance(error, Unavailable) else REJECTED
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return f"The operating system rejects an operation: {error.strerror or error}{where}.", UNAVAILABLE
    if isinstance(error, configparser.Error):
        reason = "correct it; a percent sign is written as %%"
        return f"alembic.ini cannot be read: {_one_line(error)}; {reason}.", UNAVAILABLE
    return f"{_rejection(error)}. {debug}.", REJECTED


@contextmanager
def exit_on_error(program: str) -> Iterator[None]:
    """End the program with one sentence on stderr and an exit code when the surroundings are wrong.

    For the start of a service: a misspelt `.env`, a server that does not answer, a missing key file. Only errors of
    this layer and of the database end the program in this way; an error of the program itself shows its traceback.
    """
    try:
        yield
    except (SpeechError, SQLAlchemyError) as error:
        sentence, code = explain(error, debug="It is an error of the program")
        visible = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in sentence)
        sys.stderr.write(f"{program}: {visible}\n")
        raise SystemExit(code) from None


def _rejection(error: BaseException) -> str:
    if isinstance(error, DBAPIError) or hasattr(error, "pgcode"):
        # The text of SQLAlchemy's exception would contain the statement.
        original: Any = error.orig if isinstance(error, DBAPIError) else error
        state = getattr(original, "pgcode", None)
        said = f"SQLSTATE {state}" if state else type(original).__name__
        return f"The database rejects an operation ({said}): {first_line(original)}"
    if isinstance(error, UnicodeError):
        return f"A file or an input is not {getattr(error, 'encoding', 'utf-8')} text"
    if isinstance(error, SQLAlchemyError):
        return f"Unexpected error: {type(error).__name__}: {_one_line(str(error.args[0] if error.args else ''))}"
    if _is_of_alembic(error):
        return f"Alembic: {_one_line(error)}"
    return f"Unexpected error: {type(error).__name__}: {_one_line(error)}"


def _is_of_alembic(error: BaseException) -> bool:
    # Not imported: sessions need no Alembic.
    return any(kind.__module__.startswith("alembic.") for kind in type(error).__mro__)


def _one_line(error: BaseException | str) -> str:
    return " ".join(str(error).split()).rstrip(".") or "no reason given"
