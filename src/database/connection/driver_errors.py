"""Translate the errors of the driver and of PostgreSQL into the errors of `src.errors`."""

from __future__ import annotations

import re
import shlex
from typing import Any

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from src import errors
from src.database.connection.constraint_fields import column_of, limit_of
from src.database.connection.missing_values import missing_value
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
_TLS_ONLY = (
    "pg_hba.conf on the server at {where} allows no connection without TLS from this host as {user}."
    " Set POSTGRES_SSLMODE=require, or ask its administrator for an entry."
)
_PEER = (
    "The server at {where} identifies {user} by the user of the operating system, not by a password. Set"
    " POSTGRES_HOST=127.0.0.1, ask its administrator for an entry with scram-sha-256 in pg_hba.conf, or run as that"
    " user with POSTGRES_LOGIN_PASSWORDS=false."
)
_NO_CONNECT = (
    "{user} may not connect to the database {database}. Its owner grants CONNECT on it to {user}; init_db does so for"
    " the logins that serve sessions."
)
_NOLOGIN = "The role {user} may not log in. An administrator of the server runs: ALTER ROLE … LOGIN."
_NO_SLOT_OF_ROLE = (
    "The login {user} has reached its connection limit. An administrator of the server runs: ALTER ROLE … CONNECTION"
    " LIMIT -1, or lower POSTGRES_POOL_SIZE."
)
_NO_TLS = "The server at {where} does not offer TLS. Correct POSTGRES_SSLMODE, or have its administrator enable ssl."
_WRONG_OPTION = "Invalid options for the connection to {where}: {text}. Correct DATABASE_URL or POSTGRES_SSLMODE."
_NO_SLOT = "The server at {where} has no free connection slot. Raise max_connections or lower POSTGRES_POOL_SIZE."
_NO_LOCKS = (
    "The server at {where} has no lock left, since a session takes them without end, so nobody can connect. There, end"
    " the process of that session: kill the idle ones of the login of the services, or restart PostgreSQL"
    " (docs/security.md)."
)
_NO_ANSWER = "No PostgreSQL server answers at {where}. Start it, or correct POSTGRES_HOST and POSTGRES_PORT."
_CONNECT_FAILURES: tuple[tuple[str, type[SpeechError], str], ...] = (
    (r"(?i)(peer|ident) authentication failed", errors.LoginRefused, _PEER),
    (r"authentication failed|no password supplied|role \".*\" does not exist", errors.LoginRefused, _LOGIN_REJECTED),
    (r"database \".*\" does not exist", errors.DatabaseMissing, _NO_DATABASE),
    (r"could not translate host name|Name or service not known", errors.ServerUnreachable, _NO_HOST),
    (
        r"invalid dsn|invalid (\w+ )+value|invalid connection option|invalid port",
        errors.ConfigurationError,
        _WRONG_OPTION,
    ),
    (r"server does not support SSL", errors.ConfigurationError, _NO_TLS),
    (r"permission denied for database", errors.LoginRefused, _NO_CONNECT),
    (r"is not permitted to log in", errors.LoginRefused, _NOLOGIN),
    (r"too many connections for role", errors.Busy, _NO_SLOT_OF_ROLE),
    (
        # Not for a socket, and not where the attempt with TLS was refused as well.
        r"(?s)^(?!.*(SSL encryption|SSL on|\[local\])).*pg_hba.conf.*(no encryption|SSL off)",
        errors.LoginRefused,
        _TLS_ONLY,
    ),
    (r"no pg_hba.conf entry|pg_hba.conf rejects", errors.LoginRefused, _NO_HBA_ENTRY),
    (r"too many connections|remaining connection slots|too many clients", errors.Busy, _NO_SLOT),
    (r"out of shared memory", errors.Busy, _NO_LOCKS),
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


# Of a BEGIN that asks for a transaction that can write: "during recovery".
STANDBY = {"0A000", "25006"}
# They stay until somebody corrects something.
_LASTING = {"25006", "53100"}

# SQLSTATE → (error, message); `{text}` is the first line of the server's message, which names objects but no values.
_Translation = tuple[type[SpeechError], str]
_TIMEOUT: _Translation = (errors.Busy, "Timeout: {text}. Repeat the transaction, or raise the timeout.")
_SERIALIZATION: _Translation = (
    errors.Busy,
    "Conflict with a concurrent transaction: {text}. Repeat the whole transaction.",
)
_VALUE: _Translation = (errors.InvalidInput, "A value cannot be stored: {text}.")
_ENDED: _Translation = (errors.ServerUnreachable, "The server ended the connection: {text}. Try again.")
_TRANSLATIONS: dict[str, _Translation] = {
    "STI04": (errors.ConfigurationError, "Nothing was stored: {text}."),
    "STI03": (errors.Quarantined, "The database is in quarantine: {text}."),
    "STI02": (errors.Conflict, "Rejected by a database rule: {text}."),
    "STI01": (errors.LeaseLost, "The lease is lost: {text}."),
    "42501": (errors.Forbidden, "The actor of this session may not do that: {text}."),
    "P0002": (errors.NotFound, "The row does not exist, or you may not see it."),
    "42P01": (errors.SchemaMismatch, "A table is missing from the database ({text}). Run: alembic upgrade head"),
    "25006": (errors.ServerUnreachable, "The server is read-only: {text}. Connect to the primary server."),
    "54001": (errors.InvalidInput, "A value is nested too deeply: {text}. Flatten it."),
    "53200": (errors.Busy, "The server has no memory or lock left: {text}. Run: history seal"),
    "53100": (errors.ServerUnreachable, "The server's disk is full: {text}. Free space and repeat."),
    **dict.fromkeys(("40001", "40P01"), _SERIALIZATION),
    **dict.fromkeys(("57014", "55P03", "25P03", "25P04", "57P05"), _TIMEOUT),
    "53300": (errors.Busy, "The server has too much to do: {text}. Try again later."),
    **dict.fromkeys(("22021", "22P05", "22P02", "22001", "22003", "22007", "22008", "22009", "22023"), _VALUE),
    **dict.fromkeys(("57P01", "57P02", "57P03", "08006", "08003", "08001", "08007", "08P01"), _ENDED),
}
_POOL_EMPTY = "No connection of the pool became free in time; close sessions sooner or raise POSTGRES_POOL_SIZE."


def translate(error: BaseException) -> SpeechError | None:
    """Return the error of `src.errors` for an error of the driver or the ORM; None for an error without a translation.

    The caller raises it `from` the original. Values are omitted: PostgreSQL's DETAIL lines may contain sensitive ones.
    """
    if isinstance(error, PoolTimeout):
        return errors.Busy(_POOL_EMPTY)
    return _translate_driver_error(error)


def _translate_driver_error(error: BaseException) -> SpeechError | None:
    original: Any = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(original, "pgcode", None)
    if state in _CONFLICTS:
        name = original.diag.constraint_name
        return errors.Conflict(_constraint_message(original.diag, _CONFLICTS[state]), constraint=name)
    if state in _INVALID_VALUES:
        return _invalid_value(original.diag, _INVALID_VALUES[state])
    missing = missing_value(error) if state == "42501" and isinstance(error, DBAPIError) else None
    if missing is not None:
        return missing
    if state in _TRANSLATIONS:
        kind, message = _TRANSLATIONS[state]
        line = first_line(original)
        # Messages of data exceptions quote the value, and no name of an object.
        line = re.sub(r'".*', "(value left out)", line) if state.startswith("22") else line
        translated = kind(message.format(text=line))
        return _final(translated) if state in _LASTING else translated
    if state is None and isinstance(error, DBAPIError) and error.connection_invalidated:
        # The server or the network closed the connection without an error message.
        return errors.ServerUnreachable(_ENDED[1].format(text=first_line(original)))
    return None


def translate_begin(error: BaseException) -> SpeechError:
    """Return the error of `src.errors` for a transaction that could not begin."""
    state, text = getattr(error, "pgcode", None), first_line(error)
    if state in STANDBY:
        return _final(errors.ServerUnreachable(f"The server is a standby: {text}. Connect to the primary server."))
    kind, _ = _TRANSLATIONS.get(state or "", _ENDED)
    kind = errors.Busy if kind is errors.Busy else errors.ServerUnreachable
    return kind(f"A transaction could not begin: {text}. Try again.")


def translate_aborted(failure: BaseException | None) -> errors.TransactionAborted:
    """Return the error for a transaction that `failure` has ended, although the block went on."""
    first = failure if isinstance(failure, SpeechError) else translate(failure) if failure is not None else None
    original = getattr(failure, "orig", None) or failure
    if first is not None:
        reason = str(first).rstrip(".")
    else:
        reason = "unknown" if original is None else f"{type(original).__name__}: {first_line(original)}"
    error = errors.TransactionAborted(
        "Nothing of this transaction was saved, since an error inside the block was caught after it had ended the"
        f" transaction ({reason}). Let errors leave the block, or catch them around session.begin_nested()."
    )
    error.retryable = first is not None and first.retryable
    error.__cause__ = failure
    return error


def translate_commit(error: BaseException) -> SpeechError | None:
    """Return the error of `src.errors` for a COMMIT that failed."""
    original = getattr(error, "orig", None) or error
    if getattr(original, "pgcode", None) is None:
        # With an SQLSTATE the server had not committed. Without one its answer is lost.
        return errors.OutcomeUnknown(
            f"The connection ended during COMMIT ({first_line(original)}): whether the transaction is stored is"
            " unknown. Check that before repeating it."
        )
    return translate(error)


def _final(error: SpeechError) -> SpeechError:
    """Return the error, marked as one that a repetition does not remove."""
    error.retryable = False
    return error


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


def _invalid_value(diagnostics: Any, reason: str) -> errors.InvalidInput:
    table, constraint = diagnostics.table_name, diagnostics.constraint_name
    limit = limit_of(table, constraint)
    bound = "" if limit is None else f"; at most {limit}"
    return errors.InvalidInput(
        _constraint_message(diagnostics, f"{reason}{bound}"),
        field=diagnostics.column_name or column_of(table, constraint),
        limit=limit,
    )


def _constraint_message(diagnostics: Any, reason: str) -> str:
    constraint = diagnostics.constraint_name or f"{diagnostics.table_name}.{diagnostics.column_name}"
    return f"{diagnostics.table_name}: {reason} (constraint {constraint})."


def first_line(error: BaseException | str) -> str:
    """Return the first line of the server's message without values: no DETAIL, no quoted value at the end."""
    text = str(error).strip()
    line = text.splitlines()[0] if text else "no reason given"
    return re.sub(r"(invalid [^:\"]*): \".*", r"\1", line.removeprefix("FATAL:").strip()).rstrip(".")
