"""Rows as the log keeps them: JSON images turned into the values that the models have, and back into attributes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Table
from sqlalchemy.types import Date, DateTime, Float, LargeBinary, TypeEngine

from src.database.base import Record, TransactionId
from src.database.models import Base
from src.errors import InvalidInput

# What the server counts and stamps by itself: no change that anybody made.
STAMPS = ("created_at", "updated_at", "row_version")

Identity = tuple[type[Record], int]


def identity_of(thing: Record | Identity) -> Identity:
    """Return model and id of an object, of a picture of one, or of such a pair itself."""
    model, number = thing if isinstance(thing, tuple) else (type(thing), getattr(thing, "id", None))
    model = getattr(model, "__pictured__", model)
    if not (isinstance(model, type) and issubclass(model, Record)) or isinstance(number, bool):
        raise InvalidInput("Give an object of the models, or a pair such as (Case, 12).")
    if not isinstance(number, int):
        raise InvalidInput(f"The {model.__name__} has no id yet; flush the session first.")
    return model, number


def model_of(entity: str) -> type[Record]:
    """Return the model of a table. Raises InvalidInput for a table that no model describes."""
    for mapper in Base.registry.mappers:
        if mapper.local_table is not None and getattr(mapper.local_table, "name", None) == entity:
            found: type[Record] = mapper.class_
            return found
    raise InvalidInput(f"No model describes the table {entity!r}.")


def values_of(table: Table, image: dict[str, Any]) -> dict[str, Any]:
    """Return an image's values by column, as Python has them; columns that the table no longer has are left out."""
    return {name: _value(table.columns[name], value) for name, value in image.items() if name in table.columns}


def _value(column: ColumnElement[Any], value: Any) -> Any:
    read = next((read for kind, read in _READERS if isinstance(column.type, kind)), None)
    if read is None or value is None:
        return value
    try:
        return read(value)
    except (ValueError, TypeError):
        # The column had another type then; what stood there is told as it stands in the log.
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
