"""Explain an UPDATE or DELETE of the ORM that matched no row: not visible, changed concurrently, or not permitted.

Row security hides rows without an error, so the driver reports the same in all three cases. The rows of each flush are
recorded before it, and read again as the same actor when the flush fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import event, select
from sqlalchemy import inspect as inspect_mapped
from sqlalchemy.orm import Mapper, Session

from src.database.connection.actor_session import ActorSession
from src.errors import Forbidden, LostUpdate, NotFound, SpeechError


class PendingWrite(NamedTuple):
    """A row that a flush was about to write: its mapper, identity, and version when it was read."""

    mapper: Mapper[Any]
    identity: tuple[Any, ...]
    version: int | None


@event.listens_for(ActorSession, "before_flush")
def _record_pending(session: Session, _context: Any, _instances: Any) -> None:
    """Record the rows of this flush in `info["pending_writes"]`."""
    pending = []
    for instance in (*session.dirty, *session.deleted):
        state = inspect_mapped(instance)
        column = state.mapper.version_id_col
        name = state.mapper.get_property_by_column(column).key if column is not None else None
        pending.append(PendingWrite(state.mapper, tuple(state.identity or ()), state.dict.get(name) if name else None))
    session.info["pending_writes"] = pending


def explain(session: Session, pending: Sequence[PendingWrite]) -> SpeechError:
    """Return why these rows could not be written, as the actor of the new session `session` sees them now."""
    for mapper, identity, version in pending:
        columns = mapper.primary_key if mapper.version_id_col is None else (mapper.version_id_col,)
        keys = zip(mapper.primary_key, identity, strict=True)
        found = session.execute(select(*columns).where(*(column == value for column, value in keys))).first()
        if found is None:
            return NotFound(f"The {mapper.class_.__name__} does not exist, or you may not see it.")
        if mapper.version_id_col is not None and found[0] != version:
            return LostUpdate(
                f"The {mapper.class_.__name__} was changed by another transaction since it was read; read it again and"
                " repeat the change."
            )
    return Forbidden("The actor of this session may read these rows, but may not change or delete them.")
