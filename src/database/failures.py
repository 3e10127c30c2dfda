"""What the driver says, in our words: the one place where PostgreSQL's errors become errors of our tree."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError

from src import errors
from src.errors import SpeechError

# Before a connection stands the driver gives no SQLSTATE, so these few are told apart by their text.
_CONNECT_FAILURES: tuple[tuple[str, type[SpeechError], str], ...] = (
    (r"password authentication failed|no password supplied|role \"[^\"]*\" does not exist|authentication failed",
     errors.LoginRefused,
     "The server at {where} refuses the login {user}: the password is wrong or the login does not exist."
     " Correct {variables}."),
    (r"database \"[^\"]*\" does not exist", errors.DatabaseMissing,
     "The server at {where} has no database {database}. Create it with: createdb {database}"),
    (r"could not translate host name|Name or service not known|nodename nor servname", errors.ServerUnreachable,
     "There is no host {host}. Correct POSTGRES_HOST or DATABASE_URL."),
    (r"no pg_hba.conf entry", errors.LoginRefused,
     "The server at {where} lets nobody in from here as {user}. Ask its administrator for a line in pg_hba.conf."),
    (r"too many connections|remaining connection slots|too many clients", errors.ServerUnreachable,
     "The server at {where} has no connection left. Raise max_connections or lower POSTGRES_POOL_SIZE."),
    (r"timeout expired|Connection refused|No such file or directory|could not connect|connection to server|starting up",
     errors.ServerUnreachable,
     "No PostgreSQL answers at {where}. Start it, or correct POSTGRES_HOST and POSTGRES_PORT."),
)  # fmt: skip

_CONSTRAINT_KINDS = {
    "23505": "this value is taken already",
    "23503": "it refers to something that is not there, or something still refers to it",
    "23502": "a required value is missing",
    "23514": "a value is out of its limits",
    "23P01": "it overlaps with something that is there already",
}


def translate_connect(error: BaseException, url: URL) -> SpeechError:
    """Return the error of our tree for a connection that could not be made; the password is never in it."""
    said = str(getattr(error, "orig", None) or error)
    facts = {
        "host": url.host or url.query.get("host") or "(local socket)",
        "where": f"{url.host or url.query.get('host') or 'the local socket'}, port {url.port or 5432}",
        "user": url.username or "(none)",
        "database": url.database or "(none)",
        "variables": "POSTGRES_USER and POSTGRES_PASSWORD",
    }
    for pattern, kind, message in _CONNECT_FAILURES:
        if re.search(pattern, said):
            return kind(message.format(**facts))
    return errors.ServerUnreachable(f"Cannot connect to {facts['where']}: {first_line(said)}.")


def translate(error: BaseException) -> SpeechError | None:
    """Return the error of our tree that says what this driver or ORM error means; None where it is not ours to judge.

    The caller raises it `from` the original. Values are left out: PostgreSQL's DETAIL lines may hold sensitive ones.
    """
    if isinstance(error, StaleDataError):
        return errors.LostUpdate(
            "The row was changed or removed by somebody else since it was read, or it is not yours to change;"
            " read it again and repeat the change."
        )
    if isinstance(error, PoolTimeout):
        return errors.ServerUnreachable(
            "Every connection of the pool was in use for too long; close sessions sooner or raise POSTGRES_POOL_SIZE."
        )
    original: Any = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(original, "pgcode", None)
    if state is None:
        return None
    said = first_line(original)
    constraint = getattr(getattr(original, "diag", None), "constraint_name", None)
    if state in _CONSTRAINT_KINDS:
        table = original.diag.table_name
        column = original.diag.column_name
        place = constraint or f"{table}.{column}"
        return errors.Conflict(
            f"{table or 'The row'} cannot be stored so ({place}): {_CONSTRAINT_KINDS[state]}.", constraint=constraint
        )
    if state == "STI01":
        return errors.LeaseLost(f"{said[0].upper()}{said[1:]}.")
    if state == "42501":
        return errors.Forbidden(f"The actor of this session may not do that: {said}.")
    if state == "P0002":
        return errors.NotFound("There is no such thing, or it is not yours to see.")
    if state in {"40001", "40P01"}:
        return errors.Conflict(f"Two transactions were in each other's way: {said}. Repeat the whole transaction.")
    if state in {"57014", "55P03", "25P03"}:
        return errors.Conflict(f"It took too long: {said}. Repeat it, or raise the timeout.")
    if state in {"22021", "22P05", "22P02", "22001", "22003", "22007", "22008", "22023"}:
        return errors.InvalidInput(f"A value cannot be stored: {said}.")
    if state == "42P01" and "alembic_version" not in said:
        return errors.SchemaMismatch(f"The database lacks a table ({said}). Run: alembic upgrade head")
    if state in {"0A000", "58P01"} and "extension" in said:
        return errors.ExtensionMissing(f"{said}. Install it on the server (Debian: postgresql-contrib).")
    if state in {"57P01", "57P02", "57P03", "08006", "08003", "08001", "53300"}:
        return errors.ServerUnreachable(f"The server ended the connection: {said}. Try again.")
    if state == "53100":
        return errors.ServerUnreachable(f"The server's disk is full: {said}. Make room and repeat.")
    return None


def first_line(error: BaseException | str) -> str:
    """Return what the server said without its DETAIL, which may repeat values."""
    said = str(error).strip()
    line = said.splitlines()[0] if said else "no reason given"
    return line.removeprefix("FATAL:").strip().rstrip(".")
