"""Engines from plain arguments: the URL, the pool, and the events that begin every transaction."""

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
from src.database.connection.commits import require_commit
from src.database.connection.driver_errors import STANDBY, translate_begin, translate_connect, unstorable
from src.database.connection.forks import leave_connections_to_the_parent
from src.database.connection.inspection import inspect_connection
from src.database.connection.libpq_environment import require_plain
from src.database.connection.pinned_settings import ISOLATION, pin
from src.database.connection.string_literals import quote_texts_as_the_server_reads_them

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

logger = logging.getLogger(__name__)

NOBODY = Actor()

PAUSE_SECONDS = 1.0
_suspected: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class PoolOptions:
    """Options of the connection pool. The defaults suit a few worker processes on one server."""

    size: int = 5
    max_overflow: int = 2
    timeout_seconds: float = 10
    recycle_seconds: int = 1800
    connect_timeout_seconds: int = 5
    statement_timeout_seconds: float = 60
    idle_transaction_timeout_seconds: float = 300
    application_name: str = "speech-to-information"


def normalise_url(url: str | URL) -> URL:
    """Return the URL with the driver psycopg2: the default driver of `postgresql://` differs on SQLAlchemy 2.1.

    Raises ConfigurationError for a URL that is not PostgreSQL's; the message omits the URL, which may contain a
    password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not chained: the part that cannot be parsed may contain the password.
        raise errors.ConfigurationError(
            "DATABASE_URL is not a database URL; its form is postgresql://user:password@host:5432/name."
        ) from None
    if parsed.drivername.partition("+")[0] not in {"postgresql", "postgres"}:
        raise errors.ConfigurationError(
            f"DATABASE_URL is for {parsed.drivername}; this layer needs PostgreSQL: postgresql://user:password@host/name"
        )
    if "@" in (parsed.host or ""):
        raise errors.ConfigurationError("The password in DATABASE_URL contains '@'; write it as %40.")
    return parsed.set(drivername="postgresql+psycopg2")


def connect_arguments(options: PoolOptions) -> dict[str, Any]:
    from src.database.connection.driver_connection import (  # noqa: PLC0415 - loads the driver
        DriverConnection,
        DriverCursor,
    )

    return {
        "connect_timeout": options.connect_timeout_seconds,
        # Overrides PGCLIENTENCODING and the settings of the server; the driver reads the encoding only on connect.
        "client_encoding": "utf8",
        "application_name": options.application_name,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "connection_factory": DriverConnection,
        "cursor_factory": DriverCursor,
    }


def make_engine(url: str | URL, options: PoolOptions | None = None) -> Engine:
    """Return an engine with a small pool; it survives a restart of the server and a fork of the process.

    Its transactions are READ COMMITTED and can write, with the settings of `pinned_settings`. A commit raises
    TransactionAborted where PostgreSQL would only roll back, since an error in the transaction was caught.

    Raises ConfigurationError for a wrong URL, and when an environment variable of libpq would redirect its connections.
    """
    options = options or PoolOptions()
    normalised = normalise_url(url)
    require_plain(normalised, os.environ)
    engine = create_engine(
        normalised,
        pool_size=options.size,
        max_overflow=options.max_overflow,
        pool_timeout=options.timeout_seconds,
        pool_recycle=options.recycle_seconds,
        pool_use_lifo=True,
        hide_parameters=True,
        isolation_level=ISOLATION,
        connect_args=connect_arguments(options),
    )
    from src.database.connection.sent_times import refuse_times_without_zones  # noqa: PLC0415 - loads the driver

    refuse_times_without_zones(engine)
    quote_texts_as_the_server_reads_them(engine)
    _pin_settings(engine)
    _translate_driver_errors(engine)
    _ping_after_a_pause(engine)
    leave_connections_to_the_parent(engine)
    event.listen(engine, "commit", require_commit)
    return engine


def serve_sessions(engine: Engine, key: SigningKey, options: PoolOptions | None = None) -> None:
    """Begin every transaction of this engine with its actor, and reject connections that bypass row security.

    The actor is the execution option `actor`; a transaction without it sees no rows.
    """
    options = options or PoolOptions()
    transaction = ActorTransaction(
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
        transaction.enter(connection, connection.get_execution_options().get("actor", NOBODY))


def _pin_settings(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def pin_settings(connection: DBAPIConnection, record: Any) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        try:
            pin(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            if getattr(error, "pgcode", None) in STANDBY:
                raise translate_begin(error) from error
            raise translate_connect(error, engine.url) from error


def _translate_driver_errors(engine: Engine) -> None:
    @event.listens_for(engine, "handle_error")
    def explain(context: Any) -> None:
        # Errors of connecting and errors that the driver does not raise itself; errors of statements are translated by
        # db.session.
        original = context.original_exception
        if context.connection is None and isinstance(context.sqlalchemy_exception, DBAPIError):
            raise translate_connect(original, engine.url) from original
        if isinstance(original, errors.InvalidInput):
            from src.database.connection.sent_times import with_field  # noqa: PLC0415 - loads the driver

            raise with_field(original, context)  # SQLAlchemy would wrap it
        if isinstance(original, errors.SpeechError):
            raise original  # a column type refused a value; SQLAlchemy would wrap it
        invalid = unstorable(original)
        if invalid is not None:
            raise invalid from original
        _note_failure(context)


def _note_failure(context: Any) -> None:
    """Keep the exception that the caller gets in place of the driver's, as the failure of its connection."""
    connection = context.connection
    if connection is None or connection.closed or connection.invalidated:
        return
    driver: Any = connection.connection.dbapi_connection
    if driver.failure is context.original_exception:
        driver.failure = context.sqlalchemy_exception


def mark_for_ping(engine: Engine) -> None:
    """Ping every connection that is now in the pool before its next use."""
    _suspected[engine.pool] = time.monotonic()


def _ping_after_a_pause(engine: Engine) -> None:
    # SQLAlchemy's pre-ping pings on every checkout, a tenth of the time to open a session. A recently used connection
    # is rarely dead; if it is, its transaction fails to begin, and all connections used before then are pinged.
    @event.listens_for(engine, "checkin")
    def note(connection: DBAPIConnection | None, record: Any) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        record.info["returned"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: DBAPIConnection, record: Any, proxy: Any) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        returned = record.info.get("returned")
        if returned is None or returned > max(time.monotonic() - PAUSE_SECONDS, _suspected.get(engine.pool, 0.0)):
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError("the server ended the connection") from error
