"""Versions of a row, with actor, time and reason of each change; and the difference between two states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, cast, func, inspect, or_, select, tuple_
from sqlalchemy.orm import Session

from src.database.base import Record
from src.database.connection.access_log import note_read, notes_itself
from src.database.models import ActivityLog
from src.database.models.activity_log import Operation
from src.errors import InvalidInput
from src.services.history.row_images import STAMPS, Identity, identity_of, model_of, values_of
from src.services.readable_rows import Unreadable, one_line, readable_rest, readable_scalars

MOST_ON_A_PAGE = 1_000


class Change(NamedTuple):
    """A column's value before and after."""

    old: Any
    new: Any


@dataclass(frozen=True)
class Version:
    """The state of a row after a change. `str(version)` is a sentence."""

    entry_id: int
    at: datetime
    actor: str
    reason: str | None
    request_id: str | None
    operation: Operation
    model: type[Record]
    entity_id: int
    case_id: int | None
    values: Mapping[str, Any] | None = field(repr=False)
    changes: Mapping[str, Change] = field(repr=False)
    schema_revision: str
    lost_columns: frozenset[str] = frozenset()
    unreadable: str | None = None
    """What of the entry could not be read, as a sentence; `values` and `changes` are then incomplete."""

    def __str__(self) -> str:
        done = {"insert": "added", "update": "changed", "delete": "deleted", "baseline": "recorded the existing"}
        what = ", ".join(self.changes) if self.operation == "update" else f"{self.model.__name__} {self.entity_id}"
        because = f": {self.unreadable or self.reason}" if self.unreadable or self.reason else ""
        return one_line(f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor} {done[self.operation]} {what}{because}")


@notes_itself
def versions(
    session: Session, thing: Record | Identity, *, before: Version | None = None, limit: int = 50
) -> list[Version]:
    """Return the versions of a row, newest first; for the next page, `before` is the last version of this one.

    `thing` is an object, possibly deleted, or a pair such as `(Case, 12)`. `values` is the whole row after the change
    (None when it was deleted or its payload erased), `changes` the changed columns. Secret values are salted hashes;
    `lost_columns` are columns that the table does not have any more. A version whose entry cannot be read names it in
    `unreadable`. The list is empty for a row that the actor may not
    see.
    """
    if not 1 <= limit <= MOST_ON_A_PAGE:
        raise InvalidInput(
            f"limit: {limit}; give a number from 1 to {MOST_ON_A_PAGE}.",
            field="limit",
            value=limit,
            limit=MOST_ON_A_PAGE,
        )
    model, id_ = identity_of(thing)
    query = changes_of(session, model, id_).limit(limit)
    if before is not None:
        query = query.where(tuple_(ActivityLog.created_at, ActivityLog.id) < (before.at, before.entry_id))
    found = []
    for entry in readable_scalars(session, query, ActivityLog):
        if isinstance(entry, Unreadable):
            known = version_of(readable_rest(session, ActivityLog, entry))
            found.append(replace(known, unreadable=str(entry)))
        else:
            found.append(version_of(entry))
    if found:
        note_history(session, model, id_, found[0].case_id, {"versions": len(found)})
    return found


def note_history(
    session: Session,
    model: type[Record],
    id: int,  # noqa: A002 - the column's name
    case_id: int | None,
    detail: Mapping[str, Any],
) -> None:
    """Note one look at earlier states of a row."""
    read = {"type": "history.read", "case_id": case_id, "entity": model.__tablename__, "entity_id": id}
    note_read(session, {**read, "detail": dict(detail)})


def changes_of(session: Session, model: type[Record], id: int) -> Any:  # noqa: A002 - the column's name
    """Return the query for the entries of a row's changes, newest first."""
    case_id = session.scalar(select(func.public.case_of_entries(model.__tablename__, cast(id, BigInteger))))
    return (
        select(ActivityLog)
        .where(
            # The index begins with the case, and a row may have entries from before it belonged to one.
            or_(ActivityLog.case_id == case_id, ActivityLog.case_id.is_(None)),
            ActivityLog.entity == model.__tablename__,
            ActivityLog.entity_id == id,
            ActivityLog.operation != "event",
        )
        .order_by(ActivityLog.created_at.desc(), ActivityLog.id.desc())
    )


def version_of(entry: ActivityLog) -> Version:
    """Return the version of a row that a log entry describes."""
    model = model_of(entry.entity or "")
    table = model.metadata.tables[model.__tablename__]
    new = None if entry.new is None else values_of(table, entry.new)
    old = values_of(table, entry.old or {})
    if entry.operation == "update":
        changed = {name: Change(value, (new or {}).get(name)) for name, value in old.items() if name not in STAMPS}
    elif entry.operation == "delete":
        changed = {name: Change(value, None) for name, value in old.items()}
    else:
        changed = {name: Change(None, value) for name, value in (new or {}).items()}
    return Version(
        entry_id=entry.id,
        at=entry.created_at,
        actor=entry.actor,
        reason=entry.reason,
        request_id=entry.request_id,
        operation=entry.operation,
        model=model,
        entity_id=entry.entity_id or 0,
        case_id=entry.case_id,
        values=new,
        changes=changed,
        schema_revision=entry.schema_revision,
        lost_columns=frozenset((entry.new or {}).keys() - table.columns.keys()),
    )


def diff(a: Version | Record | None, b: Version | Record | None) -> dict[str, Change]:
    """Return the columns in which two states of a row differ, with both values, except time stamps and counters.

    Each state is a version, a snapshot of `as_of`, an object of the models, or None for no row. Raises InvalidInput for
    states of different tables.
    """
    models = {_model(state) for state in (a, b) if state is not None}
    if len(models) > 1:
        raise InvalidInput(
            f"a and b: states of different models: {', '.join(sorted(m.__name__ for m in models))}.", field="a"
        )
    old, new = _values(a), _values(b)
    names = [name for name in {**old, **new} if name not in STAMPS]
    # Compare only columns that both states have, unless one state is None.
    shared = [name for name in names if a is None or b is None or (name in old and name in new)]
    return {name: Change(old.get(name), new.get(name)) for name in shared if old.get(name) != new.get(name)}


def _model(state: Version | Record) -> type[Record]:
    return state.model if isinstance(state, Version) else identity_of(state)[0]


def _values(state: Version | Record | None) -> dict[str, Any]:
    if state is None:
        return {}
    if isinstance(state, Version):
        return dict(state.values or {})
    if hasattr(type(state), "__snapshot_of__"):
        columns = {column.name for column in identity_of(state)[0].__table__.columns}
        return {name: value for name, value in vars(state).items() if name in columns}
    mapped = inspect(state)
    # Only loaded attributes: comparing must not load any, in particular columns without the SELECT privilege.
    return {
        column.name: mapped.dict[mapped.mapper.get_property_by_column(column).key]
        for column in mapped.mapper.columns
        if mapped.mapper.get_property_by_column(column).key in mapped.dict
    }
