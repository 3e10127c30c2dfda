"""Read without trusting the database: names resolve in `pg_catalog` only, and values arrive as text.

Whatever lies in `public` or in a schema with the name of the login (overloads with better matching arguments,
operators, tables) is not found. Hashes are computed in Python from the text that built-in output functions give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

# Temporary objects come last: without the second name they would be found first. The text form of values must not
# depend on settings of the session.
PINNED = text("""
    SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
           pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true),
           pg_catalog.set_config('IntervalStyle', 'postgres', true), pg_catalog.set_config('bytea_output', 'hex', true),
           pg_catalog.set_config('extra_float_digits', '1', true)
""")
_ROWS_AT_ONCE = 5_000


def as_text(column: str) -> str:
    """Return the SQL of a column's text: by its output function, since a cast could be replaced with CREATE CAST."""
    return f"CASE WHEN {column} IS NOT NULL THEN pg_catalog.format('%s', {column}) END"


def stream(session: Session, query: str, parameters: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """Yield the rows of a query in portions; the settings must be those of `PINNED`."""
    return iter(session.execute(text(query).execution_options(yield_per=_ROWS_AT_ONCE), parameters or {}))


def identifier(name: str) -> str:
    """Return a name quoted for SQL; colons are escaped, which `text` would read as parameters."""
    return '"' + name.replace('"', '""').replace(":", "\\:") + '"'
