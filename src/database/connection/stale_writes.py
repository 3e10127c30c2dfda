"""Why an UPDATE or DELETE of the ORM hit no row: invisible, changed by somebody else, or not the actor's to change.

Row security hides rows instead of refusing them, so the driver says the same in all three cases. The rows that were
about to be written are remembered before each flush and looked at again, as the same actor, when the flush failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import event, select
from sqlalchemy import inspect as inspect_mapped
from sqlalchemy.orm import Mapper, Session

from src.errors import Forbidden, LostUpdate, NotFound, SpeechError


class PendingWrite(NamedTuple):
    """A row that a flush was about to write: what it is, and its version when it was read."""

    mapper: Mapper[Any]
    identity: tuple[Any, ...]
    version: int | None


class ActorSession(Session):
    """The session of the door: remembers in `info["pending_writes"]` what its last flush was about to write."""


@event.listens_for(ActorSession, "before_flush")
def _remember(session: Session, _context: Any, _instances: Any) -> None:
    pending = []
    for thing in (*session.dirty, *session.deleted):
        state = inspect_mapped(thing)
        column = state.mapper.version_id_col
        name = state.mapper.get_property_by_column(column).key if column is not None else None
        pending.append(PendingWrite(state.mapper, tuple(state.identity or ()), state.dict.get(name) if name else None))
    session.info["pending_writes"] = pending


def explain(session: Session, pending: Sequence[PendingWrite]) -> SpeechError:
    """Return why these rows could not be written, as the actor of `session`, a fresh one, sees them now."""
    for mapper, identity, version in pending:
        columns = mapper.primary_key if mapper.version_id_col is None else (mapper.version_id_col,)
        keys = zip(mapper.primary_key, identity, strict=True)
        found = session.execute(select(*columns).where(*(column == value for column, value in keys))).first()
        if found is None:
            return NotFound(f"There is no such {mapper.class_.__name__}, or it is not yours to see.")
        if mapper.version_id_col is not None and found[0] != version:
            return LostUpdate(
                f"The {mapper.class_.__name__} was changed by somebody else since it was read; read it again and repeat"
                " the change."
            )
    return Forbidden("The actor of this session may read these rows, but not change or delete them.")
