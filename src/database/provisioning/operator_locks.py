"""Locks among operators: migrations and initialisations take turns.

Advisory locks, since there is no table before the first migration. Every session of the database can take them too, so
a holder that may not migrate is named at once instead of waited for.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, text

from src.errors import Conflict

# Advisory locks are local to a database; pg_locks shows those of the whole server.
_HOLDER = text("""
    SELECT l.pid, a.usename AS login, a.application_name AS application,
           pg_has_role(a.usesysid, current_user, 'MEMBER') AS may_migrate
      FROM pg_locks l JOIN pg_database d ON d.oid = l.database JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted
       AND (l.classid::bigint << 32) + l.objid::bigint = :key
     ORDER BY may_migrate, l.pid LIMIT 1
""")


def require_operator(connection: Connection, key: int) -> Row[Any] | None:
    """Return the backend that holds an operators' lock; None when it was just released.

    Raises Conflict for a holder that is not an operator.
    """
    holder = connection.execute(_HOLDER, {"key": key}).one_or_none()
    if holder is not None and not holder.may_migrate:
        raise Conflict(
            f"The login {holder.login} ({holder.application}) holds the lock of the operators, but is not one."
            f" End its session with: SELECT pg_terminate_backend({holder.pid})"
        )
    return holder


def hold_in_transaction(connection: Connection, key: int) -> None:
    """Wait for other operators, and hold the lock until the transaction ends. Raises Conflict as above."""
    while not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}):
        if require_operator(connection, key) is not None:
            # Bounded, since a session may have queued for the lock before this one.
            connection.execute(text("SET LOCAL lock_timeout = '10min'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            return
