"""Migrate a database to the revision of this code, one process at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine, text

from src import errors
from src.database.connection.inspection import OLDEST_SERVER
from src.database.provisioning.operator_locks import require_operator
from src.database.provisioning.restored import require_own_tables
from src.database.provisioning.surroundings import require_surroundings
from src.database.schema import SESSION_ROLES, head, migrations_folder
from src.database.schema.revisions import BASELINE

LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "15min"
LOCK_WAIT_SECONDS = 600
# An arbitrary constant; all versions of this code must use the same.
_LOCK_KEY = 7_311_860_219


@contextmanager
def migration_lock(engine: Engine, *, wait_seconds: float = LOCK_WAIT_SECONDS) -> Iterator[None]:
    """Hold the migration lock of this database, on a separate connection.

    Polls instead of blocking: a blocked statement holds a snapshot, for which CREATE INDEX CONCURRENTLY of the lock
    holder would wait. Raises Conflict, which names the holder, after `wait_seconds`, and at once for a holder that may
    not migrate.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        deadline = time.monotonic() + wait_seconds
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK_KEY}):
            holder = require_operator(connection, _LOCK_KEY)
            if time.monotonic() > deadline:
                pid, login = (holder.pid, holder.login) if holder is not None else (None, None)
                raise errors.Conflict(
                    f"Another migration has been running for {wait_seconds:.0f} s (backend {pid}, login {login})."
                    f" Wait for it, or end it with: SELECT pg_terminate_backend({pid})"
                )
            time.sleep(0.2)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})


def require_server(connection: Connection) -> None:
    """Raise a subclass of Unavailable when the schema cannot be installed in this database; nothing is changed."""
    version = connection.connection.dbapi_connection.server_version  # type: ignore[union-attr] # psycopg2's own attribute
    if version < OLDEST_SERVER:
        raise errors.ServerTooOld(
            f"The server is PostgreSQL {version // 10_000}; this layer needs version 15 or newer."
        )
    require_surroundings(connection)
    row = connection.execute(
        text(
            "SELECT rolsuper OR rolcreaterole, current_user, to_regprocedure('public.schema_revision()') IS NOT NULL,"
            " ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname = ANY (:roles))"
            " FROM pg_roles WHERE rolname = current_user"
        ),
        {"roles": list(SESSION_ROLES)},
    ).one()
    may_create_roles, user, has_schema, present = row
    revision = connection.scalar(text("SELECT public.schema_revision()")) if has_schema else None
    connection.rollback()
    if revision is not None and (revision > head() or revision < BASELINE):
        # The error of Alembic would only be that it cannot locate the revision.
        raise errors.SchemaMismatch(
            f"The database is at revision {revision}, unknown to this code ({BASELINE} to {head()})."
            + (" It is from before the first release and cannot be upgraded; create a new one with init_db."
               if revision < BASELINE else " Install the newer version of this package.")
        )  # fmt: skip
    require_own_tables(connection)
    connection.rollback()
    missing = [role for role in SESSION_ROLES if role not in present]
    if missing and not may_create_roles:
        statements = "; ".join(f"CREATE ROLE {role} NOLOGIN" for role in missing)
        raise errors.RightMissing(
            f"{user} may not create roles. Ask the administrator of the server to run: {statements};"
        )


def upgrade(url: URL, revision: str = "head") -> None:
    """Run the migrations up to `revision` as the owner in `url`; waits for concurrent migrations."""
    _run("upgrade", url, revision)


def downgrade(url: URL, revision: str) -> None:
    """Run the migrations down to `revision`; the data of later revisions is lost."""
    _run("downgrade", url, revision)


def _run(command: str, url: URL, revision: str) -> None:
    from alembic import command as commands  # noqa: PLC0415 - Alembic is only needed to migrate
    from alembic.config import Config  # noqa: PLC0415 - Alembic is only needed to migrate

    config = Config()
    config.set_main_option("script_location", os.fspath(migrations_folder()).replace("%", "%%"))
    config.attributes["url"] = url
    config.attributes["configure_logging"] = False
    getattr(commands, command)(config, revision)
