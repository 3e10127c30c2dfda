"""Engines from plain arguments: the URL, the pool, and the statement that begins every transaction."""

from __future__ import annotations

import logging
import os
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidatePoolError

from src import errors
from src.database.connection.actor_tokens import Actor, SigningKey
from src.database.connection.actor_transaction import ActorTransaction
from src.database.connection.driver_errors import translate_connect, unstorable
from src.database.connection.inspection import inspect_connection

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

logger = logging.getLogger(__name__)

NOBODY = Actor()

PAUSE_SECONDS = 1.0
_suspected: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()


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
        pool_use_lifo=True,
        hide_parameters=True,
        connect_args=connect_arguments(options),
    )
    _translate_driver_errors(engine)
    _ping_after_a_pause(engine)
    _leave_connections_to_the_parent(engine)
    return engine


def serve_sessions(engine: Engine, key: SigningKey, options: PoolOptions | None = None) -> None:
    """Make every transaction of this engine begin with its actor, and refuse connections that row security cannot bind.

    The actor is the execution option `actor`; without it a transaction belongs to nobody and sees no rows.
    """
    options = options or PoolOptions()
    door = ActorTransaction(
        key,
        application_name=options.application_name,
        statement_timeout=f"{int(options.statement_timeout_seconds * 1000)}ms",
        idle_timeout=f"{int(options.idle_transaction_timeout_seconds * 1000)}ms",
    )

    @event.listens_for(engine, "connect")
    def inspect(connection: DBAPIConnection, record: Any) -> None:
        record.info.update(inspect_connection(connection))

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        door.enter(connection, connection.get_execution_options().get("actor", NOBODY))


def _translate_driver_errors(engine: Engine) -> None:
    @event.listens_for(engine, "handle_error")
    def explain(context: Any) -> None:
        # Errors of making a connection, and those that are none of the driver's own: what the server says about a
        # statement is translated at the door.
        if context.connection is None and isinstance(context.sqlalchemy_exception, DBAPIError):
            raise translate_connect(context.original_exception, engine.url) from context.original_exception
        refused = unstorable(context.original_exception)
        if refused is not None:
            raise refused from context.original_exception


def mark_for_ping(engine: Engine) -> None:
    """Have every connection that is in the pool now asked whether it is alive before it is used again."""
    _suspected[engine.pool] = time.monotonic()


def _ping_after_a_pause(engine: Engine) -> None:
    # SQLAlchemy's own pre-ping asks each time, which is a tenth of the door's time. A connection that was used a moment
    # ago is hardly ever dead; when one is, its transaction fails to begin, and all that were used before are asked.
    @event.listens_for(engine, "checkin")
    def note(connection: DBAPIConnection | None, record: Any) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        record.info["returned"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: DBAPIConnection, record: Any, proxy: Any) -> None:  # noqa: ARG001 - the same
        returned = record.info.get("returned")
        if returned is None or returned > max(time.monotonic() - PAUSE_SECONDS, _suspected.get(engine.pool, 0.0)):
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError("the server ended the connection") from error


def _leave_connections_to_the_parent(engine: Engine) -> None:
    # A forked worker must not speak on its parent's sockets. `close=False` only forgets them.
    reference = weakref.ref(engine)

    def forget() -> None:
        alive = reference()
        if alive is not None:
            alive.dispose(close=False)

    os.register_at_fork(after_in_child=forget)
