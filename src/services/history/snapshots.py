"""Snapshots: rows, and whole cases, as they were at a time. Detached and read-only."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

from sqlalchemy import ColumnElement, and_, cast, or_, select
from sqlalchemy import inspect as inspect_mapped
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from src.database.base import Record, TransactionId
from src.database.connection.access_log import notes_itself
from src.database.models import ActivityLog, ActivitySeal, Base, Case, Transcription
from src.database.models.lookups import Lookup
from src.database.schema.declaration import protection_of
from src.database.schema.moments import require_moment
from src.errors import InvalidInput, NotFound
from src.services.history.row_images import identity_of, model_of, values_of
from src.services.history.versions import changes_of, note_history
from src.services.readable_rows import Unreadable, readable_scalars

R = TypeVar("R", bound=Record)

# Most requested rows have an entry within this time: the server then scans only these months.
RECENT = timedelta(days=92)


@lru_cache(maxsize=1)
def _below() -> dict[type[Record], tuple[type[Record], str, str]]:
    """Return the parts of a whole case: model → its parent, the parent's collection, the foreign key column.

    Derived from the models: captured tables that are in a collection of the case or of one of its parts.
    """
    parts: dict[type[Record], tuple[type[Record], str, str]] = {}
    parents: list[type[Record]] = [Case]
    for parent in parents:
        for relation in inspect_mapped(parent).relationships:
            model = relation.mapper.class_
            declared = protection_of(Base.metadata.tables[model.__tablename__])
            if relation.uselist and not relation.viewonly and declared.captured and declared.in_snapshot:
                named = {column.name for column in relation.remote_side} - {"case_id"}
                parts[model] = (parent, relation.key, named.pop() if named else "case_id")
                parents.append(model)
    return parts


@notes_itself
def as_of(
    session: Session,
    model: type[R],
    id: int,  # noqa: A002 - the column's name
    at: datetime | ActivitySeal,
    *,
    whole: bool = False,
) -> R:
    """Return a row as it was at a time, or at a seal: detached, read-only.

    `at` is a time with a time zone. A change counts from its statement, not from the commit, so the snapshot of a time
    at which a transaction was open may contain a part of its changes; use a seal to exclude this. `whole=True`, only
    for a case, includes its participants, notes, holds and recordings, each recording with its transcriptions and
    analyses; `unreadable` of the snapshot names the log entries that cannot be read. Segments are immutable and are
    read from the version itself. Secret values are salted hashes. Raises NotFound when the row did not exist then,
    or the actor may not see it, InvalidInput when its entry cannot be read.
    """
    identity_of((model, id))
    entry = entry_at(session, model, id, at)
    if entry is None or entry.operation == "delete" or entry.new is None:
        raise NotFound(f"{model.__name__} {id} did not exist then, or you may not see it.")
    snapshot = _snapshot(session, model, entry.new, at)
    if whole:
        if not isinstance(snapshot, Case):
            raise InvalidInput(f"whole: True is only for Case, not for {model.__name__}.", field="whole")
        _add_parts(session, snapshot, at)
    case_id = id if model is Case else entry.case_id
    note_history(session, model, id, case_id, {"at": _moment(at), "whole": whole})
    return snapshot


def entry_at(
    session: Session,
    model: type[Record],
    id: int,  # noqa: A002 - the column's name
    at: datetime | ActivitySeal,
) -> ActivityLog | None:
    """Return the last entry of a row up to a time; None when the actor may see none."""
    query = changes_of(session, model, id).where(_until(at)).limit(1)
    if not isinstance(at, ActivitySeal):
        require_moment(at, "at")
        # The log is partitioned by month, and the entry is mostly in one of the latest: try these first.
        recent = query.where(ActivityLog.created_at > at - RECENT)
        found = first_entry(session, recent)
        if found is not None:
            return found
        query = query.where(ActivityLog.created_at <= at - RECENT)
    return first_entry(session, query)


def first_entry(session: Session, query: Any) -> ActivityLog | None:
    """Return the first entry of a query, None without one. Raises InvalidInput, naming it, when it cannot be read."""
    found = next(iter(readable_scalars(session, query, ActivityLog)), None)
    if isinstance(found, Unreadable):
        raise InvalidInput(f"{found}.")
    entry: ActivityLog | None = found
    return entry


def _until(at: datetime | ActivitySeal) -> ColumnElement[bool]:
    if isinstance(at, ActivitySeal):
        sealed = and_(ActivityLog.epoch == at.epoch, ActivityLog.transaction_id < cast(str(at.high_xid), TransactionId))
        return or_(sealed, and_(ActivityLog.epoch != at.epoch, ActivityLog.created_at < at.created_at))
    return ActivityLog.created_at <= require_moment(at, "at")


def _add_parts(session: Session, case: Case, at: datetime | ActivitySeal) -> None:
    tables = [model.__tablename__ for model in _below()]
    query = (
        select(ActivityLog)
        .where(ActivityLog.case_id == case.id, ActivityLog.entity.in_(tables), ActivityLog.operation != "event")
        .where(_until(at))
        .ext(distinct_on(ActivityLog.entity, ActivityLog.entity_id))
        .order_by(ActivityLog.entity, ActivityLog.entity_id, ActivityLog.created_at.desc(), ActivityLog.id.desc())
    )
    parts: dict[type[Record], dict[int, Any]] = {Case: {case.id: case}}
    unreadable = []
    for entry in readable_scalars(session, query, ActivityLog):
        if isinstance(entry, Unreadable):
            unreadable.append(str(entry))
        elif entry.operation != "delete" and entry.new is not None:
            model = model_of(entry.entity or "")
            parts.setdefault(model, {})[entry.entity_id or 0] = _snapshot(session, model, entry.new, at)
    vars(case)["unreadable"] = tuple(unreadable)
    for model, (parent, collection, column) in _below().items():
        for owner in parts.get(parent, {}).values():
            children = [part for part in parts.get(model, {}).values() if getattr(part, column) == owner.id]
            vars(owner)[collection] = sorted(children, key=lambda part: part.id)


def _snapshot(session: Session, model: type[R], image: dict[str, Any], at: datetime | ActivitySeal) -> R:
    mapper = inspect_mapped(model)
    found = values_of(model.metadata.tables[model.__tablename__], image)
    values: dict[str, Any] = {}
    for column in mapper.columns:
        name = mapper.get_property_by_column(column).key
        if column.name in found:
            values[name] = found[column.name]
    if model is Transcription and "content" not in values:
        # Not in the log; immutable, so the current value is the one of then.
        values["content"] = session.scalar(select(Transcription.content).where(Transcription.id == values["id"]))
    for relation in mapper.relationships:
        if not relation.uselist and issubclass(relation.mapper.class_, Lookup):
            lookup_id = found.get(next(iter(relation.local_columns)).name)
            values[relation.key] = None if lookup_id is None else session.get(relation.mapper.class_, lookup_id)
    snapshot: R = object.__new__(_snapshot_class(model))
    vars(snapshot).update(values, as_of=at)
    return snapshot


@lru_cache(maxsize=64)
def _snapshot_class(model: type[R]) -> type[R]:
    def refuse(self: Any, *_: Any) -> NoReturn:
        raise AttributeError(f"{self!r} is a read-only snapshot; use history.revert to restore it.")

    def missing(self: Any, name: str) -> NoReturn:
        raise AttributeError(f"{self!r} has no {name!r}: not part of the row then, or needs whole=True.")

    def read(name: str) -> property:
        # Not the mapped attributes, which would load from a session.
        return property(lambda self: vars(self)[name] if name in vars(self) else missing(self, name))

    def represent(self: Any) -> str:
        return f"<{model.__name__} {self.id} as of {_moment(self.as_of)}>"

    # Not mapped: it cannot be added to a session or flushed.
    inside: dict[str, Any] = {"__abstract__": True, "__module__": __name__, "__snapshot_of__": model}
    inside.update({attribute.key: read(attribute.key) for attribute in inspect_mapped(model).attrs})
    inside.update(__setattr__=refuse, __delattr__=refuse, __getattr__=missing, __repr__=represent)
    return type(model.__name__, (model,), inside)


def _moment(at: datetime | ActivitySeal) -> str:
    return f"seal {at.id}" if isinstance(at, ActivitySeal) else at.isoformat()
