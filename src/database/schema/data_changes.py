"""Data migrations in batches with separate commits: locks are short, and an interrupted revision can be resumed.

def upgrade() -> None:
    op.add_column("case_notes", sa.Column("language", sa.Text))
    update_in_batches(op, revision, "case_notes", set_="language = 'en'", where="language IS NULL")
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from src.errors import Conflict, InvalidInput

# How often to wait for a locked row, each time for the lock_timeout of the migration.
_ATTEMPTS = 12
_PASSES = 20
_LOCK_NOT_AVAILABLE = "55P03"


def update_in_batches(op: Any, revision: str, table: str, *, set_: str, where: str, rows: int = 5_000) -> int:
    """Update the rows of a table that match `where`, `rows` per batch in the order of their ids; return their number.

    `op` is Alembic's; `set_` and `where` are SQL over the columns of the table. An updated row must no longer match
    `where`: then an interrupted revision continues when it is run again, and rows that older code inserts meanwhile are
    updated too. Each batch is a transaction; earlier changes of the revision are committed first. Entries of the log
    have the actor `migration:REVISION`. With `--sql` it is a single statement.

    Raises InvalidInput when updated rows still match, Conflict when rows stay locked or matching rows keep arriving.
    """
    if op.get_context().as_sql:
        _print(op, revision, f"UPDATE public.{table} SET {set_} WHERE {where}")
        return 0
    changed = 0
    with op.get_context().autocommit_block():
        connection: Connection = op.get_bind()
        # For the session, since each batch commits.
        connection.execute(text("SELECT set_config('sti.migration', :revision, false)"), {"revision": revision})
        try:
            for _ in range(_PASSES):
                done = _pass(connection, table, set_, where, rows)
                changed += done
                if not done:
                    return changed
        finally:
            connection.execute(text("SELECT set_config('sti.migration', '', false)"))
    raise Conflict(f"{table}: new rows to update keep arriving. Run the upgrade again under less load.")


def _pass(connection: Connection, table: str, set_: str, where: str, rows: int) -> int:
    """Update the matching rows once, up to the end of the table; return their number."""
    # SQLAlchemy would parse a colon in the SQL of the revision as a bound parameter.
    set_, selected = set_.replace(":", r"\:"), where.replace(":", r"\:")
    statement = text(
        f"WITH chosen AS (SELECT id FROM public.{table} WHERE id > :last AND ({selected}) ORDER BY id LIMIT :rows"
        f" FOR NO KEY UPDATE), done AS (UPDATE public.{table} SET {set_} WHERE id IN (SELECT id FROM chosen)"
        " RETURNING id) SELECT coalesce(max(id), 0), count(*) FROM done"
    )
    left = text(f"SELECT count(*) FROM public.{table} WHERE id > :low AND id <= :high AND ({selected})")
    changed = last = 0
    while True:
        highest, count = _execute(connection, statement, {"last": last, "rows": rows}, table)
        if not count:
            return changed
        if _execute(connection, left, {"low": last, "high": highest}, table)[0]:
            raise InvalidInput(f"{table}: updated rows still match the condition: {where}")
        changed, last = changed + count, highest


def _execute(connection: Connection, statement: Any, values: dict[str, int], table: str) -> Any:
    attempt = 1
    while True:
        try:
            return connection.execute(statement, values).one()
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
                raise
            if attempt == _ATTEMPTS:
                raise Conflict(
                    f"Rows of {table} are locked by a long transaction. End it (pg_stat_activity) and run the upgrade"
                    " again."
                ) from error
        attempt += 1
        time.sleep(0.5)


def _print(op: Any, revision: str, statement: str) -> None:
    for sql in (f"SELECT set_config('sti.migration', '{revision}', false)", statement,
                "SELECT set_config('sti.migration', '', false)"):  # fmt: skip
        op.execute(text(sql.replace(":", r"\:")))
