"""What the driver says, in our words: the one place where PostgreSQL's errors become errors of our tree."""

from __future__ import annotations

import re
import shlex
from typing import Any

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from src import errors
from src.errors import SpeechError

# Before a connection stands the driver gives no SQLSTATE, so these few are told apart by their text.
_REFUSED = (
    "The server at {where} refuses the login {user}: the password is wrong or the login does not exist."
    " Correct POSTGRES_USER and POSTGRES_PASSWORD."
)
_NO_DATABASE = "The server at {where} has no database {database}. Create it with: createdb {database}"
_NO_HOST = "There is no host {host}. Correct POSTGRES_HOST or DATABASE_URL."
_NOT_LET_IN = "The server at {where} lets nobody in from here as {user}. Ask its administrator for a pg_hba.conf line."
_WRONG_OPTION = "The connection to {where} cannot be tried: {said}. Correct DATABASE_URL or POSTGRES_SSLMODE."
_FULL = "The server at {where} has no connection left. Raise max_connections or lower POSTGRES_POOL_SIZE."
_SILENT = "No PostgreSQL answers at {where}. Start it, or correct POSTGRES_HOST and POSTGRES_PORT."
_CONNECT_FAILURES: tuple[tuple[str, type[SpeechError], str], ...] = (
    (r"authentication failed|no password supplied|role \".*\" does not exist", errors.LoginRefused, _REFUSED),
    (r"database \".*\" does not exist", errors.DatabaseMissing, _NO_DATABASE),
    (r"could not translate host name|Name or service not known", errors.ServerUnreachable, _NO_HOST),
    (
        r"invalid dsn|invalid (\w+ )+value|invalid connection option|invalid port",
        errors.ConfigurationError,
        _WRONG_OPTION,
    ),
    (r"no pg_hba.conf entry", errors.LoginRefused, _NOT_LET_IN),
    (r"too many connections|remaining connection slots|too many clients", errors.ServerUnreachable, _FULL),
    (
        r"timeout expired|Connection refused|No such file|could not connect|starting up",
        errors.ServerUnreachable,
        _SILENT,
    ),
)

_CONTRADICTIONS = {
    "23505": "this value is taken already",
    "23503": "it refers to something that is not there, or something still refers to it",
    "23001": "something still refers to it",  # what PostgreSQL 18 says for ON DELETE RESTRICT
    "23P01": "it overlaps with something that is there already",
}
# Wrong by themselves, whatever else is in the database.
_WRONG_VALUES = {
    "23502": "a required value is missing",
    "23514": "a value is out of its limits",
}


def translate_connect(error: BaseException, url: URL) -> SpeechError:
    """Return the error of our tree for a connection that could not be made; the password is never in it."""
    said = str(getattr(error, "orig", None) or error)
    facts = {
        "host": url.host or url.query.get("host") or "(local socket)",
        "where": f"{url.host or url.query.get('host') or 'the local socket'}, port {url.port or 5432}",
        "user": url.username or "(none)",
        "database": shlex.quote(url.database or "(none)"),
    }
    facts["said"] = first_line(said)
    for pattern, kind, message in _CONNECT_FAILURES:
        if re.search(pattern, said):
            return kind(message.format(**facts))
    return errors.ServerUnreachable(f"Cannot connect to {facts['where']}: {facts['said']}.")


# SQLSTATE → (error, sentence); `{said}` is the server's first line, which names things but no values.
_Meaning = tuple[type[SpeechError], str]
_LOCKED: _Meaning = (errors.Conflict, "It took too long: {said}. Repeat it, or raise the timeout.")
_RACED: _Meaning = (errors.Conflict, "Two transactions were in each other's way: {said}. Repeat the whole transaction.")
_VALUE: _Meaning = (errors.InvalidInput, "A value cannot be stored: {said}.")
_ENDED: _Meaning = (errors.ServerUnreachable, "The server ended the connection: {said}. Try again.")
_MEANINGS: dict[str, _Meaning] = {
    "STI02": (errors.Conflict, "It cannot be done so: {said}."),
    "STI01": (errors.LeaseLost, "The lease is lost: {said}."),
    "42501": (errors.Forbidden, "The actor of this session may not do that: {said}."),
    "P0002": (errors.NotFound, "There is no such thing, or it is not yours to see."),
    "42P01": (errors.SchemaMismatch, "The database lacks a table ({said}). Run: alembic upgrade head"),
    "25006": (errors.ServerUnreachable, "The server takes no changes now: {said}. Connect to the one that does."),
    "54001": (errors.InvalidInput, "A value is nested too deeply: {said}. Flatten it."),
    "53100": (errors.ServerUnreachable, "The server's disk is full: {said}. Make room and repeat."),
    **dict.fromkeys(("40001", "40P01"), _RACED),
    **dict.fromkeys(("57014", "55P03", "25P03"), _LOCKED),
    **dict.fromkeys(("22021", "22P05", "22P02", "22001", "22003", "22007", "22008", "22009", "22023"), _VALUE),
    **dict.fromkeys(("57P01", "57P02", "57P03", "08006", "08003", "08001", "53300"), _ENDED),
}
_POOL_EMPTY = "Every connection of the pool was in use for too long; close sessions sooner or raise POSTGRES_POOL_SIZE."


def translate(error: BaseException) -> SpeechError | None:
    """Return the error of our tree that says what this driver or ORM error means; None where it is not ours to judge.

    The caller raises it `from` the original. Values are left out: PostgreSQL's DETAIL lines may hold sensitive ones.
    """
    if isinstance(error, PoolTimeout):
        return errors.ServerUnreachable(_POOL_EMPTY)
    return _translate_driver_error(error)


def _translate_driver_error(error: BaseException) -> SpeechError | None:
    original: Any = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(original, "pgcode", None)
    if state in _CONTRADICTIONS:
        name = original.diag.constraint_name
        return errors.Conflict(_broken_constraint(original.diag, _CONTRADICTIONS[state]), constraint=name)
    if state in _WRONG_VALUES:
        return errors.InvalidInput(_broken_constraint(original.diag, _WRONG_VALUES[state]))
    if state in _MEANINGS:
        kind, sentence = _MEANINGS[state]
        return kind(sentence.format(said=first_line(original)))
    if state is None and isinstance(error, DBAPIError) and error.connection_invalidated:
        # The server, or what lies between, hung up without a word of why.
        return errors.ServerUnreachable(_ENDED[1].format(said=first_line(original)))
    return None


def unstorable(error: BaseException) -> errors.InvalidInput | None:
    """Return the error for a value that the driver would not even send; None for any other error."""
    if isinstance(error, RecursionError):
        return errors.InvalidInput("A value is nested too deeply to be stored as JSON; flatten it.")
    if isinstance(error, TypeError) and "JSON serializable" in str(error):
        return errors.InvalidInput(f"A value cannot be stored as JSON: {error}. Turn it into text or a number first.")
    if isinstance(error, UnicodeEncodeError) or (isinstance(error, ValueError) and "NUL (0x00)" in str(error)):
        return errors.InvalidInput("A text holds a NUL or half a character, which no database stores; remove it.")
    return None


def _broken_constraint(diagnosis: Any, meaning: str) -> str:
    place = diagnosis.constraint_name or f"{diagnosis.table_name}.{diagnosis.column_name}"
    return f"{diagnosis.table_name} cannot be stored so ({place}): {meaning}."


def first_line(error: BaseException | str) -> str:
    """Return what the server said without what repeats values: its DETAIL, and what it quotes at the end of a line."""
    said = str(error).strip()
    line = said.splitlines()[0] if said else "no reason given"
    return re.sub(r"(invalid [^:\"]*): \".*", r"\1", line.removeprefix("FATAL:").strip()).rstrip(".")
