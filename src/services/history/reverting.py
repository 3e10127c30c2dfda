"""Going back: an earlier state becomes the newest change, under the rights of whoever asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import func, inspect, select
from sqlalchemy.orm import Session

from src.database.base import Record
from src.database.connection.session import actor_of
from src.database.models import ActivitySeal, Base, Case
from src.database.schema.declaration import changeable
from src.errors import Conflict, InvalidInput, LostUpdate, NotFound, SpeechError
from src.services import activity
from src.services.history.row_images import Identity, identity_of
from src.services.history.snapshots import entry_at
from src.services.history.versions import Version, changes_of, version_of


def revert(session: Session, thing: Record | Identity, *, to: Version | datetime | ActivitySeal, reason: str) -> Record:
    """Put a row back to what it was, as a new change by the actor; return it.

    `thing` is an object, a deleted one included, or a pair such as `(Case, 12)`; `to` is one of its versions, or when.
    What people may change is put back; where bytes lie, in the archive or not, who opened and what the server counts
    stay as they are. A deleted row comes back with its id; sensitive values, which the log does not hold, come back
    empty, and a deleted transcription does not come back at all. Raises NotFound when there was no such row, LostUpdate
    when the object was changed by somebody else since it was read, Conflict when the table has changed too much or a
    parent is gone, Forbidden when the actor may not change the row.
    """
    actor_of(session)
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidInput("Going back needs a reason.")
    session.flush()  # what the caller changed before is a change of its own, under its own reason
    model, number = identity_of(thing)
    target = _target(session, model, number, to)
    read = _version_read(thing)
    with with_reason(session, f"back to entry {target.entry_id}: {reason}"):
        found = session.get(model, number, populate_existing=True)
        if found is None:
            found = _bring_back(session, model, number)
        elif read is not None and read != getattr(found, "row_version", read):
            raise LostUpdate(
                f"The {model.__name__} was changed by somebody else since it was read; read it again and repeat."
            )
        _apply(session, found, target.values or {})
    detail = {"entry": target.entry_id, "at": target.at.isoformat(), "why": reason}
    case_id = found.id if isinstance(found, Case) else getattr(found, "case_id", None)
    activity.record(session, "history.reverted", case_id=case_id, entity=found, detail=detail)
    return found


def _target(session: Session, model: type[Record], number: int, to: Version | datetime | ActivitySeal) -> Version:
    if not isinstance(to, Version):
        entry = entry_at(session, model, number, to)
        if entry is None:
            raise NotFound(f"There was no such {model.__name__} then, or it is not yours to see.")
        to = version_of(entry)
    if (to.model, to.entity_id) != (model, number):
        raise InvalidInput("This version is one of another row.")
    if to.values is None:
        raise InvalidInput("In this version the row was deleted, or what it said was erased: nothing to go back to.")
    columns = model.metadata.tables[model.__tablename__].columns
    unfit = [name for name, value in to.values.items() if value is None and not columns[name].nullable]
    unfit += to.lost_columns
    if unfit:
        changed = ", ".join(sorted(unfit))
        raise Conflict(f"The table {model.__tablename__} has changed since ({changed}): the old state does not fit.")
    return to


def _version_read(thing: Record | Identity) -> int | None:
    if isinstance(thing, tuple) or hasattr(type(thing), "__pictured__"):
        return None
    read: int | None = inspect(thing).dict.get("row_version")
    return read


def _bring_back(session: Session, model: type[Record], number: int) -> Record:
    last = session.scalars(changes_of(model, number).limit(1)).first()
    if last is None or last.operation != "delete":
        raise NotFound(f"There is no such {model.__name__}, or it is not yours to see.")
    session.scalar(select(func.public.restore_deleted(last.id)))
    found = session.get(model, number, populate_existing=True)
    if found is None:
        raise NotFound(f"There is no such {model.__name__}, or it is not yours to see.")
    return found


def _apply(session: Session, found: Record, target: Mapping[str, Any]) -> None:
    mapper = inspect(type(found))
    table = Base.metadata.tables[type(found).__tablename__]
    changed = False
    for name in changeable(table):
        column = table.columns[name]
        attribute = mapper.get_property_by_column(column).key
        if name not in target or column.info.get("sensitive") or getattr(found, attribute) == target[name]:
            continue
        setattr(found, attribute, target[name])
        changed = True
    if changed:
        session.flush()  # refused here rather than at the end, when it is not the actor's to change
        session.refresh(found)


@contextmanager
def with_reason(session: Session, reason: str) -> Iterator[None]:
    """Let the entries that are written inside the block bear this reason."""
    before = session.scalar(select(func.current_setting("sti.reason", True)))
    session.execute(select(func.set_config("sti.reason", reason[:2000], True)))
    try:
        yield
    except SpeechError:
        # The transaction lives on, and what follows in it has its own reason; after a driver's error it does not.
        session.execute(select(func.set_config("sti.reason", before or "", True)))
        raise
    session.execute(select(func.set_config("sti.reason", before or "", True)))
