"""Engines from plain arguments: the URL, the pool, and the statement that begins every transaction."""

from __future__ import annotations

import logging
import os
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from src import errors
from src.database.actor import TOKEN_SECONDS, Actor, SigningKey
from src.database.failures import first_line, translate_connect, unstorable
from src.database.schema import HEAD

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

logger = logging.getLogger(__name__)

OLDEST_SERVER = 150_000
NOBODY = Actor()

# One round trip. What an earlier user of the connection left behind goes first: settings, cursors held over a commit
# and temporary tables would show or do the next one somebody else's things (no dearer within the noise). Then every
# setting is local to the transaction, so a pooler in transaction mode is as good as none. Two are what the driver said
# when it connected, which behind a pooler RESET ALL does not bring back: with another encoding than the driver's, text
# would be stored as rubbish. pg_temp stands last, so that not even a temporary table of this transaction hides one of
# ours.
_BEGIN = """
RESET ROLE; RESET ALL; CLOSE ALL; DISCARD TEMP; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all();
SELECT pg_catalog.set_config('client_encoding', 'UTF8', false),
       pg_catalog.set_config('application_name', %s, false),
       pg_catalog.set_config('search_path', 'public, pg_temp', true),
       pg_catalog.set_config('DateStyle', 'ISO', true),
       pg_catalog.set_config('statement_timeout', %s, true),
       pg_catalog.set_config('idle_in_transaction_session_timeout', %s, true),
       pg_catalog.set_config('role', b.database_role, true),
       pg_catalog.pg_backend_pid(), extract(epoch FROM pg_catalog.now()), b.actor
  FROM public.begin_actor(%s, %s, %s) AS b
"""

# Behind a pooler only the transaction knows its backend, so it is asked first: one round trip more.
_ASK = "SELECT pg_catalog.pg_backend_pid(), extract(epoch FROM pg_catalog.now())"

# Where a server shows more than this of a statement, its administrator has chosen so.
LONGEST_VEIL = 16_384

_GREET = """
SELECT pg_catalog.pg_backend_pid(), extract(epoch FROM pg_catalog.clock_timestamp()),
       pg_catalog.to_regprocedure('public.schema_revision()') IS NOT NULL,
       (SELECT s.setting::int FROM pg_catalog.pg_settings s WHERE s.name = 'track_activity_query_size'),
       pg_catalog.concat_ws(' ',
           -- What --check names too: these few leave somebody's rows open, so nobody is served until they are mended.
           (SELECT pg_catalog.string_agg(
                       pg_catalog.format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY;', c.relname), ' ')
              FROM pg_catalog.pg_class c, pg_catalog.pg_roles g
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
               AND NOT c.relrowsecurity AND g.rolname = 'sti_app' AND t.owner IS NOT NULL
               AND pg_catalog.has_table_privilege(g.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE')),
           (SELECT pg_catalog.string_agg(pg_catalog.format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER %I;',
                                                           c.relname, g.tgname), ' ' ORDER BY c.relname, g.tgname)
              FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
             WHERE c.relnamespace = 'public'::regnamespace AND NOT g.tgisinternal AND g.tgenabled IN ('D', 'R')),
           CASE WHEN r.rolsuper THEN pg_catalog.format('ALTER ROLE %I NOSUPERUSER;', r.rolname) END,
           CASE WHEN r.rolbypassrls THEN pg_catalog.format('ALTER ROLE %I NOBYPASSRLS;', r.rolname) END,
           -- Of whoever is unbound by himself, or owns the tables, one SET ROLE makes everybody unbound.
           (SELECT pg_catalog.string_agg(pg_catalog.format('REVOKE %I FROM %I;', m.rolname, r.rolname), ' ')
              FROM pg_catalog.pg_roles m
             WHERE m.oid <> r.oid AND NOT r.rolsuper AND pg_catalog.pg_has_role(r.oid, m.oid, 'MEMBER')
               AND (m.rolsuper OR m.rolbypassrls OR m.oid = t.owner)),
           CASE WHEN r.oid = t.owner THEN
               pg_catalog.format('-- %I owns the tables: connect as the login that init_db makes;', r.rolname) END)
  FROM (SELECT (SELECT c.relowner FROM pg_catalog.pg_class c
                 WHERE c.oid = pg_catalog.to_regclass('public.cases')) AS owner) AS t,
       pg_catalog.pg_roles r WHERE r.rolname = session_user
"""


@dataclass(frozen=True)
class PoolOptions:
    """How an engine keeps its connections. The defaults suit a few worker processes on one server."""

    size: int = 5
    max_overflow: int = 2
    timeout_seconds: float = 10
    recycle_seconds: int = 1800
    connect_timeout_seconds: int = 5
    statement_timeout_seconds: float = 60
    idle_transaction_timeout_seconds: float = 300
    application_name: str = "speech-to-information"


def normalise_url(url: str | URL) -> URL:
    """Return the URL with the driver named: `postgresql://` alone means another driver on SQLAlchemy 2.1.

    Raises ConfigurationError for anything that is not PostgreSQL; the message does not repeat the URL, which may hold
    a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not chained: what could not be parsed may be a part of the password.
        raise errors.ConfigurationError(
            "DATABASE_URL is not a database URL; it reads postgresql://user:password@host:5432/name"
        ) from None
    if parsed.drivername.partition("+")[0] not in {"postgresql", "postgres"}:
        raise errors.ConfigurationError(
            f"DATABASE_URL names {parsed.drivername}; this layer needs PostgreSQL: postgresql://user:password@host/name"
        )
    if "@" in (parsed.host or ""):
        raise errors.ConfigurationError("The password in DATABASE_URL holds an '@'; write %40 in its place.")
    return parsed.set(drivername="postgresql+psycopg2")


def connect_arguments(options: PoolOptions) -> dict[str, Any]:
    return {
        "connect_timeout": options.connect_timeout_seconds,
        # Whatever PGCLIENTENCODING or the server's settings say: the driver looks once, when it connects.
        "client_encoding": "utf8",
        "application_name": options.application_name,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }


def make_engine(url: str | URL, options: PoolOptions | None = None) -> Engine:
    """Return an engine with a small pool that survives a restart of the server and a fork of the process."""
    options = options or PoolOptions()
    normalised = normalise_url(url)
    engine = create_engine(
        normalised,
        pool_size=options.size,
        max_overflow=options.max_overflow,
        pool_timeout=options.timeout_seconds,
        pool_recycle=options.recycle_seconds,
        pool_pre_ping=True,
        pool_use_lifo=True,
        hide_parameters=True,
        connect_args=connect_arguments(options),
    )
    _translate_driver_errors(engine)
    _leave_connections_to_the_parent(engine)
    return engine


def serve_sessions(engine: Engine, key: SigningKey, options: PoolOptions | None = None) -> None:
    """Make every transaction of this engine begin with its actor, and refuse connections that row security cannot bind.

    The actor is the execution option `actor`; without it a transaction belongs to nobody and sees no rows.
    """
    options = options or PoolOptions()
    statement_timeout = f"{int(options.statement_timeout_seconds * 1000)}ms"
    idle_timeout = f"{int(options.idle_transaction_timeout_seconds * 1000)}ms"

    @event.listens_for(engine, "connect")
    def greet(connection: DBAPIConnection, record: Any) -> None:
        record.info.update(_greet(connection))

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        actor: Actor = connection.get_execution_options().get("actor", NOBODY)
        info = connection.info
        cursor = _driver_connection(connection).cursor()

        def enter(token: str | None) -> int | None:
            settings = (options.application_name, statement_timeout, idle_timeout)
            cursor.execute(info["veil"] + _BEGIN, (*settings, token, actor.reason, actor.request_id))
            entered: int | None
            *_, info["backend_pid"], info["started"], entered = cursor.fetchone()
            return entered

        try:
            token = None
            if actor.name is not None and info["behind_pooler"]:
                cursor.execute(_ASK)
                info["backend_pid"], info["started"] = cursor.fetchone()
                token = sign(connection, key, "session", actor.name)
            elif actor.name is not None:
                now = time.time() + info["clock_offset"]
                token = key.token("session", actor.name, backend_pid=info["backend_pid"], server_time=now)
            signed_for = info["backend_pid"]
            actor_id = enter(token)
            if actor.name is not None and actor_id is None:
                # Nobody acts so far. A pooler that greeted with the number of a backend, by chance or on purpose, or a
                # token that came too late; once more with what the transaction says about itself.
                info["behind_pooler"] = info["behind_pooler"] or info["backend_pid"] != signed_for
                info["clock_offset"] = float(info["started"]) - time.time()
                actor_id = enter(sign(connection, key, "session", actor.name))
        except connection.dialect.loaded_dbapi.Error as error:
            # The plain cursor saves a tenth of the door's time; the price is to say here what SQLAlchemy would say.
            connection.invalidate(error)
            raise errors.ServerUnreachable(f"A transaction could not begin: {first_line(error)}. Try again.") from error
        finally:
            cursor.close()
        connection.info["actor_id"] = actor_id
        if actor.name is not None and actor_id is None:
            logger.warning(
                "No active user is named %r, or the key file is another database's: this session sees nothing.",
                actor.name,
            )


def sign(connection: Connection, key: SigningKey, purpose: str, subject: str) -> str:
    """Return a token of this key for this connection's transaction, for one purpose and subject.

    Another transaction takes it only on the same backend, and only if it begins within the same second: behind a pooler
    anybody may be the next one there.
    """
    info = connection.info
    only_now = float(info["started"]) + 1 - TOKEN_SECONDS
    return key.token(purpose, subject, backend_pid=info["backend_pid"], server_time=only_now)


def _greet(connection: Any) -> dict[str, Any]:
    if connection.server_version < OLDEST_SERVER:
        raise errors.ServerTooOld(
            f"The server is PostgreSQL {connection.server_version // 10_000}; this layer needs 15 or newer."
        )
    cursor = connection.cursor()
    try:
        cursor.execute(_GREET)
        pid, server_time, has_schema, shown, remedy = cursor.fetchone()
        revision = None
        if has_schema:
            cursor.execute("SELECT public.schema_revision()")
            (revision,) = cursor.fetchone()
    finally:
        cursor.close()
        connection.rollback()
    if remedy:
        raise errors.UnsafeConnection(
            f"Row security does not bind the login {connection.info.user}, or the tables lost a part of what protects"
            " them. Serve sessions with the login that init_db makes (POSTGRES_APP_USER); what an administrator can do:"
            f" {remedy}"
        )
    require_revision(revision)
    return {
        "backend_pid": connection.info.backend_pid,
        "behind_pooler": connection.info.backend_pid != pid,
        "clock_offset": float(server_time) - time.time(),
        # pg_stat_activity shows the beginning of a statement to everybody of the same login: not as far as the token.
        "veil": f"/*{' ' * min(shown, LONGEST_VEIL)}*/",
    }


def require_revision(revision: str | None) -> None:
    """Raise SchemaMismatch unless the database is at the revision that this code was written for."""
    if revision is None:
        raise errors.SchemaMismatch("The database has no schema yet. Run: alembic upgrade head")
    if revision != HEAD:
        direction = "behind" if revision < HEAD else "ahead of"
        remedy = "Run: alembic upgrade head" if revision < HEAD else "Install the newer version of this package"
        raise errors.SchemaMismatch(
            f"The database is {direction} this code: it is at revision {revision}, the code expects {HEAD}. {remedy}."
        )


def _driver_connection(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _translate_driver_errors(engine: Engine) -> None:
    @event.listens_for(engine, "handle_error")
    def explain(context: Any) -> None:
        # Errors of making a connection, and those that are none of the driver's own: what the server says about a
        # statement is translated at the door. A ping that fails must fail as it is, so that the pool connects again.
        if context.is_pre_ping:
            return
        if context.connection is None and isinstance(context.sqlalchemy_exception, DBAPIError):
            raise translate_connect(context.original_exception, engine.url) from context.original_exception
        refused = unstorable(context.original_exception)
        if refused is not None:
            raise refused from context.original_exception


def _leave_connections_to_the_parent(engine: Engine) -> None:
    # A forked worker must not speak on its parent's sockets. `close=False` only forgets them.
    reference = weakref.ref(engine)

    def forget() -> None:
        alive = reference()
        if alive is not None:
            alive.dispose(close=False)

    os.register_at_fork(after_in_child=forget)
