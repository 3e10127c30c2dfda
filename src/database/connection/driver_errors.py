"""Translate the errors of the driver and of PostgreSQL into the errors of `src.errors`."""

from __future__ import annotations

import re
import shlex
from typing import Any

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from src import errors
from src.errors import SpeechError

# A failed connection has no SQLSTATE, so these errors are recognised by their text.
_LOGIN_REJECTED = (
    "The server at {where} rejects the login {user}: unknown login or wrong password."
    " Correct POSTGRES_USER and POSTGRES_PASSWORD."
)
_NO_DATABASE = "The server at {where} has no database {database}. Create it with: createdb {database}"
_NO_HOST = "Unknown host {host}. Correct POSTGRES_HOST or DATABASE_URL."
_NO_HBA_ENTRY = (
    "pg_hba.conf on the server at {where} allows no connection from this host as {user}."
    " Ask its administrator for an entry."
)
_WRONG_OPTION = "Invalid options for the connection to {where}: {text}. Correct DATABASE_URL or POSTGRES_SSLMODE."
_NO_SLOT = "The server at {where} has no free connection slot. Raise max_connections or lower POSTGRES_POOL_SIZE."
_NO_ANSWER = "No PostgreSQL server answers at {where}. Start it, or correct POSTGRES_HOST and POSTGRES_PORT."
_CONNECT_FAILURES: tuple[tuple[str, type[SpeechError], str], ...] = (
    (r"authentication failed|no password supplied|role \".*\" does not exist", errors.LoginRefused, _LOGIN_REJECTED),
    (r"database \".*\" does not exist", errors.DatabaseMissing, _NO_DATABASE),
    (r"could not translate host name|Name or service not known", errors.ServerUnreachable, _NO_HOST),
    (
        r"invalid dsn|invalid (\w+ )+value|invalid connection option|invalid port",
        errors.ConfigurationError,
        _WRONG_OPTION,
    ),
    (r"no pg_hba.conf entry", errors.LoginRefused, _NO_HBA_ENTRY),
    (r"too many connections|remaining connection slots|too many clients", errors.ServerUnreachable, _NO_SLOT),
    (
        r"timeout expired|Connection refused|No such file|could not connect|starting up",
        errors.ServerUnreachable,
        _NO_ANSWER,
    ),
)

# Constraints between rows, by SQLSTATE.
_CONFLICTS = {
    "23505": "a row with this value already exists",
    "23503": "the row that it refers to does not exist, or other rows still refer to it",
    "23001": "other rows still refer to it",  # PostgreSQL 18, for ON DELETE RESTRICT
    "23P01": "a row with this value, or one that overlaps it, already exists",
}
# Constraints of a single row.
_INVALID_VALUES = {
    "23502": "a required value is missing",
    "23514": "a value is outside its limits",
}


def translate_connect(error: BaseException, url: URL) -> SpeechError:
    """Return the error of `src.errors` for a failed connection; it never contains the password."""
    text = str(getattr(error, "orig", None) or error)
    details = {
        "host": url.host or url.query.get("host") or "(local socket)",
        "where": f"{url.host or url.query.get('host') or 'the local socket'}, port {url.port or 5432}",
        "user": url.username or "(none)",
        "database": shlex.quote(url.database or "(none)"),
    }
    details["text"] = first_line(text)
    for pattern, kind, message in _CONNECT_FAILURES:
        if re.search(pattern, text):
            return kind(message.format(**details))
    return errors.ServerUnreachable(f"Cannot connect to {details['where']}: {details['text']}.")


# SQLSTATE → (error, message); `{text}` is the first line of the server's message, which names objects but no values.
_Translation = tuple[type[SpeechError], str]
_TIMEOUT: _Translation = (errors.Conflict, "Timeout: {text}. Repeat the transaction, or raise the timeout.")
_SERIALIZATION: _Translation = (
    errors.Conflict,
    "Conflict with a concurrent transaction: {text}. Repeat the whole transaction.",
)
_VALUE: _Translation = (errors.InvalidInput, "A value cannot be stored: {text}.")
_ENDED: _Translation = (errors.ServerUnreachable, "The server ended the connection: {text}. Try again.")
_TRANSLATIONS: dict[str, _Translation] = {
    "STI02": (errors.Conflict, "Rejected by a database rule: {text}."),
    "STI01": (errors.LeaseLost, "The lease is lost: {text}."),
    "42501": (errors.Forbidden, "The actor of this session may not do that: {text}."),
    "P0002": (errors.NotFound, "The row does not exist, or you may not see it."),
    "42P01": (errors.SchemaMismatch, "A table is missing from the database ({text}). Run: alembic upgrade head"),
    "25006": (errors.ServerUnreachable, "The server is read-only: {text}. Connect to the primary server."),
    "54001": (errors.InvalidInput, "A value is nested too deeply: {text}. Flatten it."),
    "53100": (errors.ServerUnreachable, "The server's disk is full: {text}. Free space and repeat."),
    **dict.fromkeys(("40001", "40P01"), _SERIALIZATION),
    **dict.fromkeys(("57014", "55P03", "25P03"), _TIMEOUT),
    **dict.fromkeys(("22021", "22P05", "22P02", "22001", "22003", "22007", "22008", "22009", "22023"), _VALUE),
    **dict.fromkeys(("57P01", "57P02", "57P03", "08006", "08003", "08001", "53300"), _ENDED),
}
_POOL_EMPTY = "No connection of the pool became free in time; close sessions sooner or raise POSTGRES_POOL_SIZE."


def translate(error: BaseException) -> SpeechError | None:
    """Return the error of `src.errors` for an error of the driver or the ORM; None for an error without a translation.

    The caller raises it `from` the original. Values are omitted: PostgreSQL's DETAIL lines may contain sensitive ones.
    """
    if isinstance(error, PoolTimeout):
        return errors.ServerUnreachable(_POOL_EMPTY)
    return _translate_driver_error(error)


def _translate_driver_error(error: BaseException) -> SpeechError | None:
    original: Any = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(original, "pgcode", None)
    if state in _CONFLICTS:
        name = original.diag.constraint_name
        return errors.Conflict(_constraint_message(original.diag, _CONFLICTS[state]), constraint=name)
    if state in _INVALID_VALUES:
        return errors.InvalidInput(_constraint_message(original.diag, _INVALID_VALUES[state]))
    if state in _TRANSLATIONS:
        kind, message = _TRANSLATIONS[state]
        line = first_line(original)
        # Messages of data exceptions quote the value, and no name of an object.
        line = re.sub(r'".*', "(value left out)", line) if state.startswith("22") else line
        return kind(message.format(text=line))
    if state is None and isinstance(error, DBAPIError) and error.connection_invalidated:
        # The server or the network closed the connection without an error message.
        return errors.ServerUnreachable(_ENDED[1].format(text=first_line(original)))
    return None


def unstorable(error: BaseException) -> errors.InvalidInput | None:
    """Return the error for a value that the driver cannot send; None for any other error."""
    if isinstance(error, RecursionError):
        return errors.InvalidInput("A value is nested too deeply to be stored as JSON; flatten it.")
    if isinstance(error, TypeError) and "JSON serializable" in str(error):
        return errors.InvalidInput(f"A value cannot be stored as JSON: {error}. Turn it into text or a number first.")
    if isinstance(error, UnicodeEncodeError) or (isinstance(error, ValueError) and "NUL (0x00)" in str(error)):
        return errors.InvalidInput(
            "A text contains a NUL or an unpaired surrogate, which PostgreSQL cannot store; remove it."
        )
    return None


def _constraint_message(diagnostics: Any, reason: str) -> str:
    constraint = diagnostics.constraint_name or f"{diagnostics.table_name}.{diagnostics.column_name}"
    return f"{diagnostics.table_name}: {reason} (constraint {constraint})."


def first_line(error: BaseException | str) -> str:
    """Return the first line of the server's message without values: no DETAIL, no quoted value at the end."""
    text = str(error).strip()
    line = text.splitlines()[0] if text else "no reason given"
    return re.sub(r"(invalid [^:\"]*): \".*", r"\1", line.removeprefix("FATAL:").strip()).rstrip(".")
