"""Pictures: rows, and whole cases, as they were at a moment. Detached from every session, and not to be changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

from sqlalchemy import ColumnElement, and_, cast, or_, select
from sqlalchemy import inspect as inspect_mapped
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from src.database.base import Record, TransactionId
from src.database.models import ActivityLog, ActivitySeal, Base, Case, Transcription
from src.database.models.lookups import Lookup
from src.database.schema.declaration import protection_of
from src.errors import InvalidInput, NotFound
from src.services.history.row_images import identity_of, model_of, values_of
from src.services.history.versions import changes_of

R = TypeVar("R", bound=Record)

# Where most of what is asked for changed: the server needs to look at these months only.
RECENT = timedelta(days=92)


@lru_cache(maxsize=1)
def _below() -> dict[type[Record], tuple[type[Record], str, str]]:
    """Return what is part of a whole case: model → its parent, the parent's collection, the column that names it.

    By their declarations: captured tables below a case, each in a collection of the case or of something in it.
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


def as_of(session: Session, model: type[R], number: int, at: datetime | ActivitySeal, *, whole: bool = False) -> R:
    """Return a row as it was at a moment, or when a seal was made: detached, read-only.

    `at` is a time with its zone; a change counts from when it was made, so the picture of a moment in which a
    transaction was open may hold some of its changes: ask for a seal where that matters. `whole=True` is for a case:
    its participants, notes, holds and recordings as they were, each recording with its transcriptions and analyses.
    Segments are never edited, so they are read from the version itself. Sensitive values are salted hashes. Raises
    NotFound when there was no such row then, or it is not the actor's to see.
    """
    identity_of((model, number))
    entry = entry_at(session, model, number, at)
    if entry is None or entry.operation == "delete" or entry.new is None:
        raise NotFound(f"There was no such {model.__name__} then, or it is not yours to see.")
    picture = _picture(session, model, entry.new, at)
    if whole:
        if not isinstance(picture, Case):
            raise InvalidInput("whole=True is for cases; other rows have no parts of their own.")
        _add_parts(session, picture, at)
    return picture


def entry_at(session: Session, model: type[Record], number: int, at: datetime | ActivitySeal) -> ActivityLog | None:
    """Return the last entry of a row up to a moment; None when there is none that the actor may see."""
    query = changes_of(model, number).where(_until(at)).limit(1)
    if isinstance(at, datetime):
        # Entries stand in time order in months: the newest one is mostly in the last few, which are looked at first.
        recent = query.where(ActivityLog.created_at > at - RECENT)
        found: ActivityLog | None = session.scalars(recent).first()
        if found is not None:
            return found
        query = query.where(ActivityLog.created_at <= at - RECENT)
    return session.scalars(query).first()


def _until(at: datetime | ActivitySeal) -> ColumnElement[bool]:
    if isinstance(at, ActivitySeal):
        here = and_(ActivityLog.epoch == at.epoch, ActivityLog.transaction_id < cast(str(at.high_xid), TransactionId))
        return or_(here, and_(ActivityLog.epoch != at.epoch, ActivityLog.created_at < at.created_at))
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise InvalidInput("at is a time with its zone, such as datetime.now(UTC), or a seal.")
    return ActivityLog.created_at <= at


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
    for entry in session.scalars(query):
        if entry.operation != "delete" and entry.new is not None:
            model = model_of(entry.entity or "")
            parts.setdefault(model, {})[entry.entity_id or 0] = _picture(session, model, entry.new, at)
    for model, (parent, collection, column) in _below().items():
        for owner in parts.get(parent, {}).values():
            mine = [part for part in parts.get(model, {}).values() if getattr(part, column) == owner.id]
            vars(owner)[collection] = sorted(mine, key=lambda part: part.id)


def _picture(session: Session, model: type[R], image: dict[str, Any], at: datetime | ActivitySeal) -> R:
    mapper = inspect_mapped(model)
    found = values_of(model.metadata.tables[model.__tablename__], image)
    values: dict[str, Any] = {}
    for column in mapper.columns:
        name = mapper.get_property_by_column(column).key
        if column.name in found:
            values[name] = found[column.name]
    if model is Transcription and "content" not in values:
        # Never edited, so it is what it was; the log does not keep it.
        values["content"] = session.scalar(select(Transcription.content).where(Transcription.id == values["id"]))
    for relation in mapper.relationships:
        if not relation.uselist and issubclass(relation.mapper.class_, Lookup):
            number = found.get(next(iter(relation.local_columns)).name)
            values[relation.key] = None if number is None else session.get(relation.mapper.class_, number)
    picture: R = object.__new__(_picture_class(model))
    vars(picture).update(values, as_of=at)
    return picture


@lru_cache(maxsize=64)
def _picture_class(model: type[R]) -> type[R]:
    def refuse(self: Any, *_: Any) -> NoReturn:
        raise AttributeError(f"{self!r} is a picture of the past; use history.revert to go back to it.")

    def missing(self: Any, name: str) -> NoReturn:
        raise AttributeError(f"{self!r} has no {name!r}: it was not part of the row then, or whole=True was not asked.")

    def read(name: str) -> property:
        # Not the mapper's attributes, which ask a session that there is none of.
        return property(lambda self: vars(self)[name] if name in vars(self) else missing(self, name))

    def tell(self: Any) -> str:
        return f"<{model.__name__} {self.id} as of {_moment(self.as_of)}>"

    # Not mapped: no session can take it, and nothing can be flushed.
    inside: dict[str, Any] = {"__abstract__": True, "__module__": __name__, "__pictured__": model}
    inside.update({attribute.key: read(attribute.key) for attribute in inspect_mapped(model).attrs})
    inside.update(__setattr__=refuse, __delattr__=refuse, __getattr__=missing, __repr__=tell)
    return type(model.__name__, (model,), inside)


def _moment(at: datetime | ActivitySeal) -> str:
    return f"seal {at.id}" if isinstance(at, ActivitySeal) else at.isoformat()
