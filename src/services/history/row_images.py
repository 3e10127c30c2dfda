"""Row images: convert the JSON of the log into the Python values of the models."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Table
from sqlalchemy.types import Date, DateTime, Float, LargeBinary, TypeEngine

from src.database.base import Record, TransactionId
from src.database.models import Base
from src.errors import InvalidInput

# Set by the server; not part of a change.
STAMPS = ("created_at", "updated_at", "row_version")

Identity = tuple[type[Record], int]


def identity_of(thing: Record | Identity) -> Identity:
    """Return model and id of an object, of a snapshot, or of a pair of both."""
    model, id_ = thing if isinstance(thing, tuple) else (type(thing), getattr(thing, "id", None))
    model = getattr(model, "__snapshot_of__", model)
    if not (isinstance(model, type) and issubclass(model, Record)) or isinstance(id_, bool):
        raise InvalidInput("Not a row: give an object of the models, or a pair such as (Case, 12).", field="thing")
    if not isinstance(id_, int):
        raise InvalidInput(f"The {model.__name__} has no id yet; flush the session first.", field="thing")
    return model, id_


def model_of(entity: str) -> type[Record]:
    """Return the model of a table. Raises InvalidInput for a table without a model."""
    for mapper in Base.registry.mappers:
        if mapper.local_table is not None and getattr(mapper.local_table, "name", None) == entity:
            found: type[Record] = mapper.class_
            return found
    raise InvalidInput(f"The table {entity!r} has no model.", field="entity", value=entity)


def values_of(table: Table, image: dict[str, Any]) -> dict[str, Any]:
    """Return an image's values as Python objects, by column; columns that the table no longer has are left out."""
    return {name: _value(table.columns[name], value) for name, value in image.items() if name in table.columns}


def _value(column: ColumnElement[Any], value: Any) -> Any:
    read = next((read for kind, read in _READERS if isinstance(column.type, kind)), None)
    if read is None or value is None:
        return value
    try:
        return read(value)
    except (ValueError, TypeError):
        # The column had another type then; return the value as it is in the log.
        return value


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("\\x"))


_READERS: tuple[tuple[type[TypeEngine[Any]], Callable[[Any], Any]], ...] = (
    (DateTime, datetime.fromisoformat),
    (Date, date.fromisoformat),
    (Float, float),
    (TransactionId, int),
    (LargeBinary, _bytes),
)
