"""Sessions that hold up all others: by locks of tables that no service takes, by so many locks that the server has none
left, or by a transaction that stays open for too long.

PostgreSQL lets a role that may delete from a table lock it in every mode, lets every role take advisory locks without
end, and lets sessions raise their own timeouts. So such sessions are found here and ended, by a connection of their own
login, which every server permits; and the log states it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import URL, Connection, text
from sqlalchemy.orm import Session

from src.database.connection.engine import PoolOptions, make_engine

LONGEST_TRANSACTION = timedelta(days=1)
"""How long a transaction of a session may be open: as long as the longest lease of a job.

One that has written keeps the log from being sealed, any other keeps vacuum from removing dead rows; each takes a
connection.
"""

LONGEST_BLOCKING = timedelta(hours=1)
"""How long a transaction of a session may be open when another session waits for it."""

# Modes that no statement of a session takes. Requests count too: all others queue behind them. The functions that seal
# and verify lock their own tables, on which no session has a privilege.
_LOCKS = """
  FROM pg_locks l
  JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
  JOIN pg_stat_activity a ON a.pid = l.pid
  JOIN pg_class c ON c.oid = l.relation AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
 WHERE l.locktype = 'relation'
   AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                  'AccessExclusiveLock')
   AND c.relname NOT IN ('activity_seals', 'activity_archives') AND NOT pg_has_role(a.usesysid, c.relowner, 'MEMBER')
"""
_FOUND = (
    "SELECT a.pid, a.usename::text AS login, a.application_name, string_agg(DISTINCT c.relname, ', ') AS tables,"
    " 0 AS locks, 0 AS waiting"
)
_GROUPED = " GROUP BY a.pid, a.usename, a.application_name ORDER BY a.pid"
_OPEN = """
    SELECT a.pid, a.usename::text AS login, a.application_name, NULL AS tables, 0 AS locks, 0 AS waiting
      FROM pg_stat_activity a
     WHERE a.usename = session_user AND a.datname = current_database() AND a.pid <> pg_backend_pid()
       AND a.xact_start < clock_timestamp() - CAST(:longest AS interval)
"""
# All databases of a server share one table of locks. While half of it is free, no number of locks is too many.
_CROWDING = """
    SELECT a.pid, a.usename::text AS login, a.application_name, NULL AS tables, c.locks, 0 AS waiting
      FROM (SELECT l.pid, count(*) AS locks, sum(count(*)) OVER () AS taken
              FROM pg_locks l WHERE NOT l.fastpath GROUP BY l.pid) c
      JOIN pg_stat_activity a ON a.pid = c.pid AND a.datname = current_database()
     WHERE c.locks > current_setting('max_locks_per_transaction')::bigint
       AND c.taken > current_setting('max_locks_per_transaction')::bigint / 2 *
           (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)
"""
# Those that wait can be sessions of other logins, which this one sees in pg_locks only. Who waits too is not the cause.
_BLOCKING = """
    SELECT a.pid, a.usename::text AS login, a.application_name, NULL AS tables, 0 AS locks, count(*) AS waiting
      FROM (SELECT DISTINCT l.pid FROM pg_locks l WHERE NOT l.granted) w, unnest(pg_blocking_pids(w.pid)) b (pid)
      JOIN pg_stat_activity a ON a.pid = b.pid
     WHERE a.usename = session_user AND a.datname = current_database() AND a.pid <> pg_backend_pid()
       AND a.xact_start < clock_timestamp() - CAST(:blocking AS interval) AND pg_blocking_pids(a.pid) = '{}'
     GROUP BY a.pid, a.usename, a.application_name
"""
# Materialised: the planner could otherwise end a session before it has checked the conditions.
_END = "WITH h AS MATERIALIZED ({}) SELECT h.* FROM h WHERE pg_terminate_backend(h.pid)"
_TABLE_LOCKS = text(_FOUND + _LOCKS + _GROUPED)
_END_LOCKS = text(_END.format(f"{_FOUND} {_LOCKS} AND a.usename = session_user {_GROUPED}"))
_CROWDS = text(f"{_CROWDING} ORDER BY a.pid")
_END_CROWDS = text(_END.format(f"{_CROWDING} AND a.usename = session_user"))
_END_BLOCKING = text(_END.format(_BLOCKING))
_END_TRANSACTIONS = text(_END.format(_OPEN))
_LOG = text("""
    SELECT public.append_activity('access.refused', 'event', NULL, public.actor_name(), NULL, NULL, NULL, NULL,
                                  CAST(:detail AS jsonb), NULL)
""")


@dataclass(frozen=True, slots=True)
class Holder:
    """A session that holds up others: by locks of `tables`, by the number of its `locks`, since sessions are `waiting`
    for it, or without any of these by a transaction that is open for too long.
    """

    backend: int
    login: str
    application: str
    tables: str | None
    locks: int = 0
    waiting: int = 0

    def __str__(self) -> str:
        session = f"backend {self.backend} (login {self.login}, application {self.application!r})"
        if self.tables is not None:
            return f"{session} locks tables that all sessions use: {self.tables}"
        if self.locks:
            return f"{session} holds {self.locks} locks, and the server has few left"
        if self.waiting:
            return f"{session} keeps {self.waiting} other sessions waiting by a transaction that it leaves open"
        return f"{session} keeps a transaction open"


def table_locks(connection: Connection) -> list[Holder]:
    """Return the sessions that lock tables as no service does, or wait to do so."""
    return [Holder(*found) for found in connection.execute(_TABLE_LOCKS)]


def lock_crowds(connection: Connection) -> list[Holder]:
    """Return the sessions with so many locks that the server has few left: without any, nobody can connect."""
    return [Holder(*found) for found in connection.execute(_CROWDS)]


def end_holders(
    session: Session,
    serving_url: URL,
    *,
    longest: timedelta = LONGEST_TRANSACTION,
    blocking: timedelta = LONGEST_BLOCKING,
) -> list[Holder]:
    """End the sessions of the serving login that hold up others.

    That is those that lock tables, or take most locks of the server, at once; those whose transaction is open for
    `blocking` while another session waits for it; and those whose transaction is open for `longest`.
    `session` is the owner's: it logs each of them, and commits. Returns what was ended.
    """
    engine = make_engine(serving_url, PoolOptions(size=1, application_name="history"))
    try:
        with engine.connect() as connection:
            # A session that was ended may still be listed: the first reason counts.
            ended: dict[int, Holder] = {}
            for statement, limits in (
                (_END_CROWDS, {}),
                (_END_LOCKS, {}),
                (_END_BLOCKING, {"blocking": blocking}),
                (_END_TRANSACTIONS, {"longest": longest}),
            ):
                for found in connection.execute(statement, limits):
                    ended.setdefault(found.pid, Holder(*found))
    finally:
        engine.dispose()
    for holder in ended.values():
        with session.begin():
            detail = {"refused": f"{holder}; its session was ended", "backend": holder.backend, "login": holder.login}
            session.execute(_LOG, {"detail": json.dumps({**detail, "application": holder.application})})
    return list(ended.values())
