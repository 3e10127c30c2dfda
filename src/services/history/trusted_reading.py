"""Read without trusting the database: names resolve in `pg_catalog` only, and values arrive as text.

Whatever lies in `public` or in a schema with the name of the login (overloads with better matching arguments,
operators, tables) is not found. Hashes are computed in Python from the text that built-in output functions give.

No function of `public` is called, and the transaction is read-only: nothing that a table causes to run can repair it
for the time of the verification. The only exception are the policies of administrators, which call `actor_may`.

Tables are read sequentially. An index over a function of the owner, or a CHECK on a partition that calls one, contains
what the function returned when it was built; replaced since, it would hide rows from the planner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

# Temporary objects come last: without the second name they would be found first. The text form of values must not
# depend on settings of the session.
_SETTINGS = {
    "search_path": "pg_catalog, pg_temp",
    "transaction_read_only": "on",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "constraint_exclusion": "off",
    "enable_partition_pruning": "off",
}
_BY_INDEX = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")


def _set(settings: Mapping[str, str]) -> str:
    return ", ".join(f"pg_catalog.set_config('{name}', '{value}', true)" for name, value in settings.items())


_PINNED = text(f"SELECT {_set(_SETTINGS)}")
_SEQUENTIAL = text(f"SELECT {_set(dict.fromkeys(_BY_INDEX, 'off'))}")
_WITH_INDEXES = text(f"SELECT {_set(dict.fromkeys(_BY_INDEX, 'on'))}")
# Row security applies to the owner only when it is forced, and then a query raises an error instead of hiding rows.
_WITHOUT_ROW_SECURITY = text("SELECT pg_catalog.set_config('row_security', 'off', true)")
_ROWS_AT_ONCE = 5_000


def begin_reading(session: Session) -> None:
    """Set the session up for trusted reading until the end of the savepoint."""
    session.execute(_PINNED)
    session.execute(_SEQUENTIAL)


def read_without_row_security(session: Session) -> None:
    """Let queries fail that a row policy would narrow: for the owner, to whom no policy applies."""
    session.execute(_WITHOUT_ROW_SECURITY)


@contextmanager
def with_indexes(session: Session, *, allowed: bool) -> Iterator[None]:
    """Allow the statements of this block to read by indexes, when those of their tables were checked."""
    if not allowed:
        yield
        return
    session.execute(_WITH_INDEXES)
    yield
    session.execute(_SEQUENTIAL)


def as_text(column: str) -> str:
    """Return the SQL of a column's text: by its output function, since a cast could be replaced with CREATE CAST."""
    return f"CASE WHEN {column} IS NOT NULL THEN pg_catalog.format('%s', {column}) END"


def stream(session: Session, query: str, parameters: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """Yield the rows of a query in portions.

    The settings are set before each query again: the function of a policy could have changed them in the one before.
    """
    session.execute(_PINNED)
    return iter(session.execute(text(query).execution_options(yield_per=_ROWS_AT_ONCE), parameters or {}))


def rows(session: Session, query: str, parameters: Mapping[str, Any] | None = None) -> list[Any]:
    """Return all rows of a query."""
    session.execute(_PINNED)
    return list(session.execute(text(query), parameters or {}))


def values(session: Session, query: str, parameters: Mapping[str, Any] | None = None) -> list[Any]:
    """Return the first column of all rows of a query."""
    return [row[0] for row in rows(session, query, parameters)]


def identifier(name: str) -> str:
    """Return a name quoted for SQL; colons are escaped, which `text` would read as parameters."""
    return '"' + name.replace('"', '""').replace(":", "\\:") + '"'
