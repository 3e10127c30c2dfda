"""The one door: `with db.session(actor="alice") as session:` begins, and commits or rolls back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import URL, Engine, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.orm.exc import StaleDataError

from src.database.connection.actor_tokens import Actor, SigningKey
from src.database.connection.actor_transaction import sign
from src.database.connection.driver_errors import translate
from src.database.connection.engine import PoolOptions, make_engine, mark_for_ping, serve_sessions
from src.database.connection.stale_writes import ActorSession, explain
from src.errors import Forbidden, InvalidInput, ServerUnreachable

if TYPE_CHECKING:
    from src.config import Settings

logger = logging.getLogger(__name__)


class Database:
    """A database that serves sessions. Make one per process; it is safe to share between threads and to fork.

    `url` names the login that `init_db` made for sessions, never the owner. `signing_key` signs who acts. `storage` is
    where recordings keep their bytes: a backend of `src.storage`, or None for the one that the settings name.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        signing_key: SigningKey,
        storage: Any = None,
        settings: Settings | None = None,
        pool: PoolOptions | None = None,
    ) -> None:
        self.settings = settings
        self.storage = storage
        # Other backends that recordings lie in, by name: opened when the first of them is read.
        self.storages: dict[str, Any] = {}
        self.signing_key = signing_key
        pool = pool or PoolOptions()
        self.engine = make_engine(url, pool)
        serve_sessions(self.engine, signing_key, pool)
        # An upload holds a side connection as long as it lasts, and its caller holds one of the pool meanwhile: with as
        # many of one as of the other nobody waits for himself. They are opened on demand and closed after use.
        side_pool = replace(pool, size=1, max_overflow=pool.size + pool.max_overflow - 1)
        self.side_engine = make_engine(url, side_pool)
        serve_sessions(self.side_engine, signing_key, side_pool)

    @classmethod
    def from_env(cls, settings: Settings | None = None, *, storage: Any = None) -> Self:
        """Return the database that the environment and `.env` name; without a server there, the embedded one.

        Raises ConfigurationError when `init_db` has not been run for it. Nothing is connected yet: a server that does
        not answer is noticed by the first session.
        """
        from src.database.connection.addresses import pool_options, serving_login  # noqa: PLC0415 - others need no pydantic

        settings, url, key = serving_login(settings)
        return cls(url, signing_key=key, storage=storage, settings=settings, pool=pool_options(settings))

    @contextmanager
    def session(
        self, *, actor: str | None = None, reason: str | None = None, request_id: str | None = None
    ) -> Iterator[Session]:
        """Open a session in which `actor`, a user name, acts; commit on leaving, roll back on an exception.

        `reason` and `request_id` go to every entry that the transaction leaves in the activity log. Without an actor,
        or with one that is unknown or inactive, the session reads nothing and writes nothing. Driver errors that leave
        the block are raised as errors of `src.errors`, chained to the original.
        """
        with self._begin(Actor(actor, reason, request_id), self.engine) as session:
            yield session

    @contextmanager
    def side_session(self, actor: Session | Actor) -> Iterator[Session]:
        """Open a transaction for that actor, or that of a session, on a small pool of its own; it commits by itself."""
        with self._begin(actor.info["actor"] if isinstance(actor, Session) else actor, self.side_engine) as side:
            yield side

    @contextmanager
    def _begin(self, actor: Actor, engine: Any) -> Iterator[Session]:
        info = {"database": self, "actor": actor, "pending_writes": (), "reads": []}
        session = ActorSession(engine.execution_options(actor=actor), expire_on_commit=False, info=info)
        try:
            with session, _entered(session, engine):
                yield session
        except StaleDataError as error:
            # Asked in a transaction of its own: the failed one is over.
            with self._begin(actor, self.side_engine) as fresh:
                reason = explain(fresh, session.info["pending_writes"])
            if isinstance(reason, Forbidden):
                _note_refusal(session, reason)
            raise reason from error
        except (DBAPIError, PoolTimeout) as error:
            translated = translate(error)
            if translated is None:
                raise
            if isinstance(translated, Forbidden):
                _note_refusal(session, translated)
            raise translated from error
        except Forbidden as error:
            _note_refusal(session, error)
            raise
        finally:
            # What was read was read, whatever became of the transaction.
            if session.info["reads"]:
                self._remember(actor, session.info["reads"])

    def _remember(self, actor: Actor, reads: list[dict[str, Any]]) -> None:
        """Log what was read and refused in a transaction of its own; what nobody was refused is not logged."""
        with Session(self.side_engine.execution_options(actor=actor)) as log, log.begin():
            if log.connection().info["actor_id"] is not None:
                log.execute(select(func.public.record_reads(cast(reads, JSONB))))

    def close(self) -> None:
        """Close all connections of the pools; the object can be used again afterwards."""
        self.engine.dispose()
        self.side_engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Database {self.engine.url.render_as_string(hide_password=True)}>"


def _entered(session: Session, engine: Engine) -> SessionTransaction:
    """Begin the transaction, at once, so that a connection that died in the pool is replaced unnoticed; return it."""
    transaction = session.begin()
    try:
        session.connection()
    except ServerUnreachable:
        # Nothing was done yet, so nothing is lost by trying once more, with connections that are asked first.
        mark_for_ping(engine)
        transaction.rollback()
        transaction = session.begin()
        session.connection()
    return transaction


def _note_refusal(session: Session, error: Forbidden) -> None:
    """Remember what was refused, beside what was read: both outlive the rollback."""
    session.info["reads"].append({"type": "access.refused", "detail": {"refused": str(error)}})


def database_of(session: Session) -> Database:
    """Return the Database that opened this session. Raises InvalidInput for a session that did not come by the door."""
    database: Database | None = session.info.get("database")
    if database is None:
        raise InvalidInput("This session has no actor; open it with db.session(actor=NAME).")
    return database


def actor_of(session: Session) -> int:
    """Return the id of the user who acts in this session.

    Raises Forbidden when nobody does: no actor was named, or none that is active.
    """
    database_of(session)
    actor_id: int | None = session.connection().info["actor_id"]
    if actor_id is None:
        name = session.info["actor"].name
        raise Forbidden(
            "Nobody acts in this session; open it with db.session(actor=NAME)."
            if name is None
            else f"No active user is named {name!r}; correct the name, or let an administrator create the user."
        )
    return actor_id


def secret_row(session: Session, function: str, *arguments: str) -> tuple[Any, ...] | None:
    """Return the row of a function that gives a secret away, past SQLAlchemy, whose log shows rows when asked to."""
    driver: Any = session.connection().connection.dbapi_connection
    marks = ", ".join("%s" for _ in arguments)
    with driver.cursor() as cursor:
        try:
            cursor.execute(f"SELECT * FROM public.{function}({marks})", arguments)  # noqa: S608 - a name of our own
        except driver.Error as error:
            raise translate(error) or error from error
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def sign_for(session: Session, purpose: str, subject: str) -> str:
    """Return a token by which a definer function recognises this program, for one purpose and subject."""
    return sign(session.connection(), database_of(session).signing_key, purpose, subject)
