"""Changing data in a revision: in batches that commit, so that nobody waits long and an interruption loses nothing.

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

# A row that somebody holds is waited for as long as the migration's lock_timeout says, so many times.
_ATTEMPTS = 12
_PASSES = 20
_LOCK_NOT_AVAILABLE = "55P03"


def update_in_batches(op: Any, revision: str, table: str, *, set_: str, where: str, rows: int = 5_000) -> int:
    """Change the rows of a table that `where` selects, `rows` at a time in the order of their ids; return how many.

    `op` is Alembic's; `set_` and `where` are SQL over the table's columns. `where` must not hold any more for a row
    that was changed: so a revision that was interrupted goes on where it was when it is run again, and rows that older
    code adds meanwhile are changed too. Each batch is a transaction; what the revision did before is committed first.
    Entries of the log have the actor `migration:REVISION`. With `--sql` it is one statement.

    Raises InvalidInput when changed rows are still selected, Conflict when rows stay locked or new ones keep coming.
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
    raise Conflict(f"{table}: new rows to change keep coming. Run the upgrade again when less is written.")


def _pass(connection: Connection, table: str, set_: str, where: str, rows: int) -> int:
    """Go once to the end of the table; return how many rows were changed."""
    # A colon in the SQL of the revision would be taken for a bound parameter.
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
            raise InvalidInput(f"{table}: rows that were changed are still selected by: {where}")
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
                    f"Rows of {table} are locked by a long transaction. End it (pg_stat_activity) and upgrade again."
                ) from error
        attempt += 1
        time.sleep(0.5)


def _print(op: Any, revision: str, statement: str) -> None:
    for sql in (f"SELECT set_config('sti.migration', '{revision}', false)", statement,
                "SELECT set_config('sti.migration', '', false)"):  # fmt: skip
        op.execute(text(sql.replace(":", r"\:")))
