"""Apply the differences of functions, triggers, policies and grants, one table at a time, without downtime.

A statement that needs a strong lock waits at most `LOCK_TIMEOUT` for it and is repeated; writers wait no longer than
that. A function and its grants change in one transaction, so that callers never see one without the other.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from src import errors
from src.database.connection.driver_errors import first_line
from src.database.provisioning.compare_rights import Roles
from src.database.provisioning.comparison import compare
from src.database.provisioning.differences import Difference, Kind
from src.database.schema import functions, head, require_revision, sql_files
from src.database.schema.creation import ROW_TYPES_IN_LOG, code_build, execute, recorded

logger = logging.getLogger(__name__)

LOCK_TIMEOUT = "300ms"
# With pauses of up to a second, about as long as other transactions may reasonably hold a lock.
ATTEMPTS = 120
# A repair can reveal the next difference: a policy cannot be compared before its function exists.
ROUNDS = 4
# Repairs that are logged line by line: after a restore there are about a thousand, which would hide everything else.
MOST_LISTED = 20
_LOCKED = {"55P03", "40P01"}
# Missing tables and columns, and functions that use them: only a revision or a backup restores them.
_UNDEFINED = {"42P01", "42703", "42883", "42704"}


def applied_by_newer(connection: Connection) -> str | None:
    """Return a message when the functions were last applied by newer code; this code then applies nothing."""
    applied = _applied(connection)
    if applied is None or applied <= (head(), code_build()):
        return None
    revision, build = applied
    return (
        f"the functions were applied by newer code (revision {revision}, build {build}; this code: revision {head()},"
        f" build {code_build()}); this code applied nothing"
    )


def _applied(connection: Connection) -> tuple[str, int] | None:
    """Return the revision and build of the code that last applied its functions; None before the first time."""
    if connection.scalar(text("SELECT to_regprocedure('public.schema_build()') IS NULL")):
        return None
    revision, build = connection.execute(text("SELECT public.schema_revision(), public.schema_build()")).one()
    return revision, build


def require_served(connection: Connection) -> None:
    """Raise SchemaMismatch unless this code can serve the database: see `require_revision`."""

    def constant(name: str) -> str | None:
        if connection.scalar(text(f"SELECT to_regprocedure('public.{name}()') IS NULL")):
            return None
        value: str | None = connection.scalar(text(f"SELECT public.{name}()"))
        return value

    require_revision(constant("schema_revision"), constant("schema_oldest_code"))


def create_missing_functions(connection: Connection) -> None:
    """Create missing roles and functions before the tables change: defaults and CHECKs call them."""
    execute(connection, sql_files.roles())
    present = set(
        connection.scalars(text("SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"))
    )
    missing = [function.create() for function in functions() if function.name not in present]
    # Bodies may use tables that are created later.
    execute(connection, "\n\n".join(["SET LOCAL check_function_bodies = off;", *missing]))


def apply(engine: Engine, logins: Roles | None = None) -> list[Difference]:
    """Repair the differences between the catalog and this code, as far as possible; return the remaining ones.

    With `logins`, those that serve sessions, their roles and privileges are compared too.

    Repairs are written to the activity log. If this build had applied everything before, the database was changed by
    other means since, so each repair is also logged as a warning. Does nothing when the functions were applied by newer
    code. Raises Conflict when a lock was not available.
    """
    with engine.connect() as connection:
        newer = applied_by_newer(connection)
        level = logging.WARNING if _applied(connection) == (head(), code_build()) else logging.INFO
        if newer is not None:
            return [Difference(Kind.REVISION, "public", newer, left="install the newer version", foreign=True)]
    done: list[Difference] = []
    failed: dict[str, str] = {}
    for _ in range(ROUNDS):
        with engine.connect() as connection:
            todo = [difference for difference in compare(connection, logins) if difference.mend]
        if not todo or (failed and {difference.sentence for difference in todo} <= failed.keys()):
            break
        failed.clear()
        for group in _grouped(todo):
            error = _run(engine, group)
            if error is None:
                done += group
            else:
                failed.update((difference.sentence, error) for difference in group)
    _report(done, level)
    _record(engine, done)
    with engine.connect() as connection:
        return [
            replace(each, left=f"the repair failed: {failed[each.sentence]}") if each.sentence in failed else each
            for each in compare(connection, logins)
        ]


def _report(done: list[Difference], level: int) -> None:
    """Log what was repaired: line by line when it is little, and otherwise how much of each kind, at `level`."""
    few = len(done) <= MOST_LISTED
    for difference in done:
        logger.log(level if few else logging.INFO, "repaired: %s", difference.sentence)
    if not few:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in Counter(each.kind for each in done).most_common())
        logger.log(
            level, "repaired: %d differences: %s (init_db --verbose lists them, and so does the log)", len(done), kinds
        )


def _grouped(differences: Iterable[Difference]) -> list[list[Difference]]:
    """Group the differences: functions first, since triggers and policies call them, then one group for each table."""
    order = {Kind.FUNCTION: 0, Kind.SCHEMA: 1}

    def rank(difference: Difference) -> tuple[int, str]:
        is_of_function = difference.kind is Kind.GRANT and "(" in difference.place
        return (0 if is_of_function else order.get(difference.kind, 2), difference.place)

    return [list(group) for _, group in groupby(sorted(differences, key=rank), key=rank)]


def _run(engine: Engine, group: list[Difference]) -> str | None:
    """Repair a group in one transaction; return the message of the server when a required object is missing."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _mend(engine, group)
            break
        except DBAPIError as error:
            code = getattr(error.orig, "pgcode", None)
            if code in _UNDEFINED:
                return first_line(str(error.orig))
            if code not in _LOCKED:
                raise
            if attempt == ATTEMPTS:
                raise errors.Conflict(
                    f"{group[0].place} is locked by long transactions: {group[0].sentence}, and the lock to repair it"
                    f" was not available in {ATTEMPTS} attempts. End them (pg_stat_activity) and run init_db again."
                ) from error
            time.sleep(random.uniform(0.1, 1.0))  # noqa: S311 - jitter between concurrent processes
    return None


def _mend(engine: Engine, group: list[Difference]) -> None:
    with engine.begin() as connection:
        # With this path, no object of another schema takes part in what the statements create.
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL search_path = pg_catalog")
        for difference in group:
            for statement in difference.mend:
                execute(connection, statement)


def _record(engine: Engine, done: list[Difference]) -> None:
    """Write the repairs to the activity log, and record the revision and build of this code in the database."""
    with engine.begin() as connection:
        if connection.scalar(text("SELECT to_regclass('public.activity_logs') IS NULL")):
            return  # stamped without tables, which the comparison reports
        revision, build = head(), code_build()
        is_new = _applied(connection) != (revision, build)
        if is_new:
            execute(connection, recorded(head()))
        if any(difference.kind is Kind.ROW_TYPE for difference in done):
            execute(connection, ROW_TYPES_IN_LOG)
        if done or is_new:
            detail = {"revision": revision, "build": build, "mended": [difference.sentence for difference in done]}
            connection.execute(
                text(
                    "SELECT public.append_activity('schema.applied', 'event', NULL, public.actor_name(), NULL, NULL,"
                    " NULL, NULL, CAST(:detail AS jsonb), NULL)"
                ),
                {"detail": json.dumps(detail)},
            )
