"""Sessions: `with db.session(actor="alice") as session:` begins a transaction and commits or rolls it back."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sqlalchemy import URL, Connection, Text, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from src.database.connection.access_log import Reads, note_read, proved_reads
from src.database.connection.actor_session import ActorSession
from src.database.connection.actor_tokens import Actor, SigningKey
from src.database.connection.actor_transaction import is_key_known, sign
from src.database.connection.block import Block
from src.database.connection.driver_errors import translate
from src.database.connection.engine import PoolOptions
from src.database.connection.login_pools import LoginPools
from src.database.connection.repetition import pause_seconds, require_finished
from src.database.connection.stale_writes import explain
from src.errors import Forbidden, InvalidInput, NotSignedIn, SpeechError, WrongLogin

if TYPE_CHECKING:
    from src.config import Settings

__all__ = ["Database", "actor_of", "database_of", "note_read"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

NO_ACTIVE_USER = "No active user is named {name!r}; correct the name, or ask an administrator to create the user."


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
        # Other backends with recordings, opened on first use: by name, and by the id of their storage.
        self.storages: dict[str, Any] = {}
        # Backends whose marker was compared, by id().
        self.identified: dict[int, Any] = {}
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
        self,
        *,
        actor: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
        required: bool = True,
    ) -> Iterator[Session]:
        """Open a session for `actor`, a user name; commit on exit, roll back on an exception.

        `reason` and `request_id` are stored in every entry that the transaction writes to the activity log. Raises
        NotSignedIn for an unknown or inactive actor, or a signing key that the database does not know; with
        `required=False`, as without an actor, the session can read and write no rows instead.

        Only leaving the block ends the transaction. Driver errors that leave it are raised as errors of `src.errors`,
        chained to the original. An error that was caught inside, but had ended the transaction, raises
        TransactionAborted: catch errors around `session.begin_nested()`. Used after its block, the session raises
        SessionEnded.
        """
        with self._begin(Actor(actor, reason, request_id), required=required) as session:
            yield session

    def run(
        self,
        function: Callable[[Session], T],
        *,
        actor: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
        required: bool = True,
        attempts: int = 3,
    ) -> T:
        """Call `function` with a session, commit, and return its result; repeat everything on a passing error.

        Errors with `retryable`, such as a deadlock, a timeout or a lost connection, repeat the whole transaction in a
        new session after a short pause that grows, at most `attempts` times in all; then the last one is raised. So
        `function` may be called several times: what it does outside the database must be repeatable.
        """
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            raise InvalidInput(f"attempts: {attempts!r}; at least 1.", field="attempts", value=attempts, limit=1)
        for attempt in count(1):
            try:
                with self.session(actor=actor, reason=reason, request_id=request_id, required=required) as session:
                    return require_finished(function(session))
            except SpeechError as error:
                if not error.retryable or attempt >= attempts:
                    raise
                logger.info("attempt %d of %d failed and is repeated: %s", attempt, attempts, type(error).__name__)
            time.sleep(pause_seconds(attempt))
        raise AssertionError("unreachable")

    @contextmanager
    def side_session(self, actor: Session | Actor) -> Iterator[Session]:
        """Open a separate transaction for an actor, or for that of a session, on the side pool; it commits on exit."""
        info: dict[str, Any] = actor.info if isinstance(actor, Session) else {"actor": actor, "required": True}
        with self._begin(info["actor"], aside=True, required=info["required"]) as side:
            yield side

    @contextmanager
    def _begin(self, actor: Actor, *, aside: bool = False, required: bool = False) -> Iterator[Session]:
        session, reads = ActorSession(expire_on_commit=False), Reads()
        info = session.info
        info |= {"database": self, "actor": actor, "required": required}
        info |= {"pending_writes": (), "reads": reads, "receipts": reads.receipts}
        try:
            block = self._entered(session, actor, aside=aside)
            try:
                # Kept for the log of reads: the actor may be inactive, or have another name, when the session ends.
                info["actor_id"] = block.connection.info["actor_id"]
                if actor.name is not None and info["actor_id"] is None:
                    self._refuse_unknown(block.connection, actor, required=required)
                with proved_reads(session):
                    yield session
                block.commit()
            finally:
                block.end()
        except StaleDataError as error:
            # In a new transaction, since the failed one has ended.
            with self._begin(actor, aside=True) as fresh:
                explained = explain(fresh, info["pending_writes"])
            if isinstance(explained, Forbidden):
                _note_denied(info, explained)
            raise explained from error
        except (DBAPIError, PoolTimeout, InvalidRequestError, self.engine.dialect.loaded_dbapi.Error) as error:
            translated = block.translate(error) if "actor_id" in info else translate(error)
            if translated is None:
                raise
            if isinstance(translated, Forbidden):
                _note_denied(info, translated)
            raise translated from translated.__cause__ or error
        except Forbidden as error:
            _note_denied(info, error)
            raise
        finally:
            # Reads are logged even if the transaction rolled back.
            entries = reads.entries() if reads.process == os.getpid() else []
            if entries and info.get("actor_id") is not None:
                self._log_reads(actor, info["actor_id"], entries)

    def _refuse_unknown(self, connection: Connection, actor: Actor, *, required: bool) -> None:
        if is_key_known(connection, self.signing_key, actor):
            reason = NO_ACTIVE_USER.format(name=actor.name)
        else:
            url = connection.engine.url
            reason = (
                f"The database {url.database} at {url.host or 'the local socket'} does not know the signing key"
                f" {self.signing_key.id} of this program: the key file belongs to another database, or is outdated."
                " Use the file that init_db wrote for this database (KEY_FILE)."
            )
        if required:
            raise NotSignedIn(reason)
        logger.warning("%s This session reads no rows.", reason)

    def _entered(self, session: ActorSession, actor: Actor, *, aside: bool) -> Block:
        """Begin the transaction of the session with the login of its actor, and return it."""
        first, second = self._members, self._administrators
        if second is None:
            return Block.begun(session, first.engine(actor, aside=aside))
        is_known = actor.name in self._known_administrators
        if is_known:
            first, second = second, first
        try:
            return Block.begun(session, first.engine(actor, aside=aside))
        except WrongLogin:
            Session.rollback(session)
        block = Block.begun(session, second.engine(actor, aside=aside))
        # The next session of this actor begins with this login.
        (self._known_administrators.discard if is_known else self._known_administrators.add)(str(actor.name))
        return block

    def _log_reads(self, actor: Actor, actor_id: int, reads: list[dict[str, Any]]) -> None:
        """Log reads and denied access of a session that has ended, as its actor, in a separate transaction."""
        with self._begin(actor, aside=True) as log:
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


def _note_denied(info: dict[str, Any], error: Forbidden) -> None:
    """Add the denied access to the reads: both are logged after a rollback."""
    info["reads"].noted.append({"type": "access.refused", "detail": {"refused": str(error)}})


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
            else NO_ACTIVE_USER.format(name=name)
        )
    return actor_id
