"""Sessions: `with db.session(actor="alice") as session:` begins a transaction and commits or rolls it back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import URL, Engine, Text, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.orm.exc import StaleDataError

from src.database.connection.access_log import Reads, note_read, prove_reads, reads_of
from src.database.connection.actor_tokens import Actor, SigningKey
from src.database.connection.actor_transaction import sign
from src.database.connection.driver_errors import translate
from src.database.connection.engine import PoolOptions, mark_for_ping
from src.database.connection.login_pools import LoginPools
from src.database.connection.stale_writes import ActorSession, explain
from src.errors import Forbidden, InvalidInput, ServerUnreachable, WrongLogin

if TYPE_CHECKING:
    from src.config import Settings

__all__ = ["Database", "actor_of", "database_of", "note_read"]

logger = logging.getLogger(__name__)


class Database:
    """A database that serves sessions. Create one per process; it may be shared between threads and forked.

    `url` names the login that `init_db` created for sessions of members, never the owner; `admin_url` the one for
    sessions of administrators, which without it raise AdminLoginRequired. `signing_key` signs actor tokens. `storage`
    stores the bytes of recordings: a backend of `src.storage`, or None for that of the settings.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        signing_key: SigningKey,
        admin_url: str | URL | None = None,
        storage: Any = None,
        settings: Settings | None = None,
        pool: PoolOptions | None = None,
    ) -> None:
        self.settings = settings
        self.storage = storage
        # Other backends with recordings, by name: opened on first use.
        self.storages: dict[str, Any] = {}
        self.signing_key = signing_key
        pool = pool or PoolOptions()
        self._members = LoginPools.of(url, signing_key, pool)
        self._administrators = None if admin_url is None else LoginPools.of(admin_url, signing_key, pool)
        # The names of administrators that had a session: the next one begins with the right login at once.
        self._known_administrators: set[str] = set()
        # Of the login of members, and of that of administrators: None when this program has none.
        self.engine, self.side_engine = self._members.main, self._members.side
        self.admin_engine = None if self._administrators is None else self._administrators.main

    @classmethod
    def from_env(cls, settings: Settings | None = None, *, storage: Any = None) -> Self:
        """Return the database of the environment and `.env`; without a server there, the embedded one.

        Raises ConfigurationError before `init_db` has been run for it. Does not connect: errors of the connection are
        raised by the first session.
        """
        from src.database.connection.addresses import pool_options, serving_logins  # noqa: PLC0415 - loads pydantic

        settings, urls, key = serving_logins(settings)
        pool = pool_options(settings)
        return cls(
            urls.members, signing_key=key, admin_url=urls.administrators, storage=storage, settings=settings, pool=pool
        )

    @contextmanager
    def session(
        self, *, actor: str | None = None, reason: str | None = None, request_id: str | None = None
    ) -> Iterator[Session]:
        """Open a session for `actor`, a user name; commit on exit, roll back on an exception.

        `reason` and `request_id` are stored in every entry that the transaction writes to the activity log. Without an
        actor, or with an unknown or inactive one, the session can read and write no rows. Driver errors that leave the
        block are raised as errors of `src.errors`, chained to the original.
        """
        with self._begin(Actor(actor, reason, request_id)) as session:
            yield session

    @contextmanager
    def side_session(self, actor: Session | Actor) -> Iterator[Session]:
        """Open a separate transaction for an actor, or for that of a session, on the side pool; it commits on exit."""
        with self._begin(actor.info["actor"] if isinstance(actor, Session) else actor, aside=True) as side:
            yield side

    @contextmanager
    def _begin(self, actor: Actor, *, aside: bool = False) -> Iterator[Session]:
        reads = Reads()
        info = {"database": self, "actor": actor, "pending_writes": (), "reads": reads, "receipts": reads.receipts}
        session = ActorSession(expire_on_commit=False, info=info)
        try:
            with session, self._entered(session, actor, aside=aside):
                # Kept for the log of reads: the actor may be inactive, or have another name, when the session ends.
                session.info["actor_id"] = session.connection().info["actor_id"]
                try:
                    yield session
                finally:
                    prove_reads(session)
        except StaleDataError as error:
            # In a new transaction, since the failed one has ended.
            with self._begin(actor, aside=True) as fresh:
                reason = explain(fresh, session.info["pending_writes"])
            if isinstance(reason, Forbidden):
                _note_denied(session, reason)
            raise reason from error
        except (DBAPIError, PoolTimeout) as error:
            translated = translate(error)
            if translated is None:
                raise
            if isinstance(translated, Forbidden):
                _note_denied(session, translated)
            raise translated from error
        except Forbidden as error:
            _note_denied(session, error)
            raise
        finally:
            # Reads are logged even if the transaction rolled back.
            entries = reads.entries()
            if entries and session.info.get("actor_id") is not None:
                self._log_reads(actor, session.info["actor_id"], entries)

    def _entered(self, session: Session, actor: Actor, *, aside: bool) -> SessionTransaction:
        """Begin the transaction of the session with the login of its actor, and return it."""
        first, second = self._members, self._administrators
        if second is None:
            return _begun(session, first.engine(actor, aside=aside))
        is_known = actor.name in self._known_administrators
        if is_known:
            first, second = second, first
        try:
            return _begun(session, first.engine(actor, aside=aside))
        except WrongLogin:
            session.rollback()
        transaction = _begun(session, second.engine(actor, aside=aside))
        # The next session of this actor begins with this login.
        (self._known_administrators.discard if is_known else self._known_administrators.add)(str(actor.name))
        return transaction

    def _log_reads(self, actor: Actor, actor_id: int, reads: list[dict[str, Any]]) -> None:
        """Log reads and denied access of a session that has ended, as its actor, in a separate transaction."""
        with Session() as log, self._entered(log, actor, aside=True):
            proof = sign(log.connection(), self.signing_key, "reads", str(actor_id))
            log.execute(select(func.public.record_session_reads(cast(reads, JSONB), cast(proof, Text))))

    def close(self) -> None:
        """Close all connections of the pools; the object can be used again."""
        for pools in filter(None, (self._members, self._administrators)):
            pools.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Database {self.engine.url.render_as_string(hide_password=True)}>"


def _begun(session: Session, engine: Engine) -> SessionTransaction:
    """Begin the transaction immediately and return it; a dead connection of the pool is replaced."""
    session.bind = engine
    transaction = session.begin()
    try:
        session.connection()
    except ServerUnreachable:
        # No statement was executed, so one retry is safe; connections are pinged first.
        mark_for_ping(engine)
        transaction.rollback()
        transaction = session.begin()
        session.connection()
    return transaction


def _note_denied(session: Session, error: Forbidden) -> None:
    """Add the denied access to the reads: both are logged after a rollback."""
    reads_of(session).noted.append({"type": "access.refused", "detail": {"refused": str(error)}})


def database_of(session: Session) -> Database:
    """Return the Database that opened this session. Raises InvalidInput for a session of another origin."""
    database: Database | None = session.info.get("database")
    if database is None:
        raise InvalidInput("This session was not opened by db.session; open it with db.session(actor=NAME).")
    return database


def actor_of(session: Session) -> int:
    """Return the user id of the actor of this session.

    Raises Forbidden when the session has no actor, or an unknown or inactive one.
    """
    database_of(session)
    actor_id: int | None = session.connection().info["actor_id"]
    if actor_id is None:
        name = session.info["actor"].name
        raise Forbidden(
            "This session has no actor; open it with db.session(actor=NAME)."
            if name is None
            else f"No active user is named {name!r}; correct the name, or ask an administrator to create the user."
        )
    return actor_id
