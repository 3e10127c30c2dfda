"""Times without a time zone are refused by every connection of this layer, whatever sends them.

Columns of this layer refuse them by their type. This is for all other statements: tables of services, Core, `text()`,
arrays, cursors of the driver. The driver adapts each value when its statement is sent, so nothing passes by. Exempt are
columns and parameters that are declared as `DateTime()` without a time zone: they store no moments.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from psycopg2 import extensions
from sqlalchemy import DateTime, Engine, TextClause, literal
from sqlalchemy.dialects.postgresql import TIMESTAMP

from src.database.connection.driver_connection import DriverConnection
from src.database.schema.moments import Moment, require_moment
from src.errors import InvalidInput

_NAIVE = datetime(1, 1, 1)  # noqa: DTZ001 - a value that SQLAlchemy takes for a time without a time zone


def refuse_times_without_zones(engine: Engine) -> None:
    """Refuse them on the connections of this engine. Other connections of the process send what they sent before."""
    known = extensions.adapters.get((datetime, extensions.ISQLQuote))
    if known is not SentTime:
        SentTime.adapter = known
        extensions.register_adapter(datetime, SentTime)
    engine.dialect.colspecs = {**engine.dialect.colspecs, DateTime: Declared, Moment: Moment}
    # The type that SQLAlchemy assumes for a value without a column: it declares nothing.
    guessed: Any = literal(_NAIVE).type.dialect_impl(engine.dialect)
    guessed.is_declared = False


class ZonelessTime(datetime):
    """A time for a column that is declared without a time zone."""


class _Refused:
    """A value of another type for a column of moments; it fails when it is sent, where its column is known."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __conform__(self, _protocol: object) -> _Refused:
        return self

    def getquoted(self) -> bytes:
        require_moment(self._value, None)
        raise AssertionError("unreachable")


class SentTime:
    """What the driver sends for a datetime: the adapter that it had before, for values with a time zone."""

    __slots__ = ("_connection", "_value")
    adapter: Any = None

    def __init__(self, value: datetime) -> None:
        self._value = value
        self._connection: Any = None

    def prepare(self, connection: Any) -> None:
        self._connection = connection

    def getquoted(self) -> Any:
        value = self._value
        if isinstance(self._connection, DriverConnection) and not isinstance(value, ZonelessTime):
            require_moment(value, None)
        return SentTime.adapter(value).getquoted()


class Declared(TIMESTAMP):
    """A DateTime that a program declares, with or without a time zone."""

    is_declared = True

    def bind_processor(self, dialect: Any) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        if self.timezone:
            return lambda value: value if value is None or isinstance(value, datetime) else _Refused(value)
        return _zoneless if self.is_declared else None


def _zoneless(value: Any) -> Any:
    if not isinstance(value, datetime) or value.utcoffset() is not None:
        return value
    return ZonelessTime(*value.timetuple()[:6], value.microsecond, fold=value.fold)


_ROW = re.compile(r"_m\d+$")
_NUMBERED = re.compile(r"_m?\d+(_\d+)?$")


def with_field(error: InvalidInput, context: Any) -> InvalidInput:
    """Return the error of a value that was refused while it was sent, with the name of its parameter as `field`."""
    compiled = getattr(context.execution_context, "compiled", None)
    if error.field is not None:
        return error
    given: list[Any] = getattr(context.execution_context, "compiled_parameters", None) or []
    for parameters in given or ([context.parameters] if isinstance(context.parameters, dict) else []):
        for name, value in parameters.items():
            if value is error.value or (isinstance(value, (list, tuple)) and any(v is error.value for v in value)):
                field = _field(compiled, name)
                message = str(error).replace("a time:", f"{field}:", 1)
                return InvalidInput(message, field=field, value=error.value, limit=error.limit)
    return error


def _field(compiled: Any, name: str) -> str:
    """Return the name of the column or parameter of which SQLAlchemy made the name of a bound value."""
    if compiled is None or getattr(compiled, "statement", None) is None or isinstance(compiled.statement, TextClause):
        return name
    key = getattr(compiled.binds.get(name), "_orig_key", None)
    return _ROW.sub("", key) if key and name.startswith(key) else _NUMBERED.sub("", name)
