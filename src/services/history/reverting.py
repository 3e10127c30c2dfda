"""Revert a row: write an earlier state as a new change, with the permissions of the actor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import func, inspect, select
from sqlalchemy.orm import Session

from src.database.base import Record
from src.database.connection.access_log import notes_itself
from src.database.connection.session import actor_of
from src.database.models import ActivitySeal, Base, Case
from src.database.schema.declaration import SECRET, changeable
from src.errors import Conflict, InvalidInput, LostUpdate, NotFound, SpeechError
from src.services import activity
from src.services.history.row_images import Identity, identity_of
from src.services.history.snapshots import entry_at, first_entry
from src.services.history.versions import Version, changes_of, version_of


@notes_itself
def revert(session: Session, thing: Record | Identity, *, to: Version | datetime | ActivitySeal, reason: str) -> Record:
    """Revert a row to an earlier state, as a new change by the actor; return it.

    `thing` is an object, possibly deleted, or a pair such as `(Case, 12)`; `to` is one of its versions, a time or a
    seal. Only columns that users may change are reverted; storage location, archive state, creator, counters and time
    stamps stay. A deleted row is restored with its id; its secret values, which are not in the log, are restored as
    null, and a deleted transcription cannot be restored. Raises NotFound when the row did not exist, LostUpdate when
    the object was changed since it was read, Conflict when the table has changed too much or a parent row is deleted,
    Forbidden when the actor may not change the row.
    """
    actor_of(session)
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidInput("reason: empty; reverting needs a reason.", field="reason")
    session.flush()  # earlier changes of the caller are logged with their own reason
    model, id_ = identity_of(thing)
    target = _target(session, model, id_, to)
    read = _version_read(thing)
    with with_reason(session, f"back to entry {target.entry_id}: {reason}"):
        found = session.get(model, id_, populate_existing=True)
        if found is None:
            found = _restore_deleted(session, model, id_)
        elif read is not None and read != getattr(found, "row_version", read):
            raise LostUpdate(
                f"{model.__name__} {id_} was changed by another transaction since it was read; refresh it and repeat."
            )
        _apply(session, found, target.values or {})
    detail = {"entry": target.entry_id, "at": target.at.isoformat(), "why": reason}
    case_id = found.id if isinstance(found, Case) else getattr(found, "case_id", None)
    activity.record(session, "history.reverted", case=case_id, entity=found, detail=detail)
    return found


def _target(session: Session, model: type[Record], id_: int, to: Version | datetime | ActivitySeal) -> Version:
    if not isinstance(to, Version):
        entry = entry_at(session, model, id_, to)
        if entry is None:
            raise NotFound(f"{model.__name__} {id_} did not exist then, or you may not see it.")
        to = version_of(entry)
    if (to.model, to.entity_id) != (model, id_):
        raise InvalidInput(
            f"to: a version of {to.model.__name__} {to.entity_id}; give one of {model.__name__} {id_}.",
            field="to",
            value=id_,
        )
    if to.values is None:
        raise InvalidInput("to: this version has no values (deleted or erased); give an earlier one.", field="to")
    columns = model.metadata.tables[model.__tablename__].columns
    incompatible = [name for name, value in to.values.items() if value is None and not columns[name].nullable]
    incompatible += to.lost_columns
    if incompatible:
        changed = ", ".join(sorted(incompatible))
        raise Conflict(f"The columns of {model.__tablename__} have changed ({changed}); choose a newer version.")
    return to


def _version_read(thing: Record | Identity) -> int | None:
    if isinstance(thing, tuple) or hasattr(type(thing), "__snapshot_of__"):
        return None
    read: int | None = inspect(thing).dict.get("row_version")
    return read


def _restore_deleted(session: Session, model: type[Record], id_: int) -> Record:
    last = first_entry(session, changes_of(session, model, id_).limit(1))
    if last is None or last.operation != "delete":
        raise NotFound(f"{model.__name__} {id_} does not exist, or you may not see it.")
    session.scalar(select(func.public.restore_deleted(last.id)))
    found = session.get(model, id_, populate_existing=True)
    if found is None:
        raise NotFound(f"{model.__name__} {id_} does not exist, or you may not see it.")
    return found


def _apply(session: Session, found: Record, target: Mapping[str, Any]) -> None:
    mapper = inspect(type(found))
    table = Base.metadata.tables[type(found).__tablename__]
    changed = False
    for name in changeable(table):
        column = table.columns[name]
        attribute = mapper.get_property_by_column(column).key
        if name not in target or column.info.get(SECRET) or getattr(found, attribute) == target[name]:
            continue
        setattr(found, attribute, target[name])
        changed = True
    if changed:
        session.flush()  # raises here, not at commit, if the actor may not change it
        session.refresh(found)


@contextmanager
def with_reason(session: Session, reason: str) -> Iterator[None]:
    """Set the reason of the log entries that are written inside the block."""
    before = session.scalar(select(func.current_setting("sti.reason", True)))
    session.execute(select(func.set_config("sti.reason", reason[:2000], True)))
    try:
        yield
    except SpeechError:
        # The transaction is still usable and gets its reason back; after a driver's error it is not.
        session.execute(select(func.set_config("sti.reason", before or "", True)))
        raise
    session.execute(select(func.set_config("sti.reason", before or "", True)))
