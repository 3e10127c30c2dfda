"""The session of `db.session`: a SQLAlchemy session whose transaction begins and ends with its block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from sqlalchemy import Connection, event
from sqlalchemy.orm import Mapper, Session, SessionTransaction
from sqlalchemy.orm.exc import DetachedInstanceError

from src.database.base import Base
from src.database.connection.transaction_rules import BY_HAND
from src.errors import SessionEnded, SessionMisused

_OPEN_ANOTHER = "open another one with db.session(…)."
_ENDED = f"This session has ended with its block; {_OPEN_ANOTHER}"
# What does nothing to a session that has ended.
_STILL_ALLOWED = frozenset({"info", "close", "expunge_all"})


class ActorSession(Session):
    """The session of `db.session`; its block commits or rolls back, and nothing else does.

    `info["failure"]` is the last error of a flush: SQLAlchemy has then rolled back the transaction.
    """

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        try:
            super().flush(objects)  # called by SQLAlchemy
        except Exception as error:  # any error of a flush ends the transaction; it is raised again
            self.info["failure"] = error
            raise

    def begin(self, nested: bool = False) -> SessionTransaction:
        if not nested:
            _refuse("begin")
        return super().begin(nested=True)

    def commit(self) -> None:
        _refuse("commit")

    def rollback(self) -> None:
        _refuse("rollback")

    def close(self) -> None:
        _refuse("close")

    def reset(self) -> None:
        _refuse("reset")

    def invalidate(self) -> None:
        _refuse("invalidate")

    def prepare(self) -> None:
        _refuse("prepare")


class EndedSession(ActorSession):
    """What a session becomes when its block ends: used again, it would begin a new transaction."""

    def __getattribute__(self, name: str) -> Any:
        if name in _STILL_ALLOWED or name.startswith("__"):
            return super().__getattribute__(name)
        raise SessionEnded(_ENDED)

    def close(self) -> None:
        """Do nothing: the session is closed."""

    def expunge_all(self) -> None:
        """Do nothing: the session has no objects."""


class EndedConnection(Connection):
    """What the connection of a session becomes: the error of SQLAlchemy would not say what to do."""

    closed = True
    invalidated = False

    def __getattribute__(self, name: str) -> Any:
        if name in {"close", "closed", "invalidated"} or name.startswith("__"):
            return super().__getattribute__(name)
        raise SessionEnded(f"The session of this connection has ended with its block; {_OPEN_ANOTHER}")

    def close(self) -> None:
        """Do nothing: the connection is back in its pool."""


def end(session: ActorSession, connection: Connection) -> None:
    """Close a session permanently: its objects are detached, and every use is refused with SessionEnded."""
    Session.close(session)
    session.__class__, connection.__class__ = EndedSession, EndedConnection


def _refuse(method: str) -> NoReturn:
    raise SessionMisused(BY_HAND.format(what=f"session.{method}()"))


@event.listens_for(Base, "mapper_configured", propagate=True)
def _explain_detached(mapper: Mapper[Any], model: type[Any]) -> None:
    """Refuse what an object of an ended session would have to load with SessionEnded, in the words of this layer."""
    for attribute in mapper.attrs:
        implementation: Any = getattr(model, attribute.key).impl
        if getattr(implementation, "callable_", None) is not None:
            implementation.callable_ = _explained(implementation.callable_, f"{model.__name__}.{attribute.key}")
    manager: Any = mapper.class_manager
    manager.expired_attribute_loader = _explained(manager.expired_attribute_loader, model.__name__)


def _explained(load: Any, place: str) -> Any:
    def loaded(*arguments: Any, **options: Any) -> Any:
        try:
            return load(*arguments, **options)
        except DetachedInstanceError as error:
            raise SessionEnded(
                f"{place} was not loaded before its session ended; read it inside the block, or load it with the query."
            ) from error

    return loaded
