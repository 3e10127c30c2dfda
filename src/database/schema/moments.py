"""Moments: times with a time zone. Without one, a time means another moment on every machine."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.sql.operators import is_comparison

from src.errors import InvalidInput


def require_moment(value: Any, field: str | None) -> datetime:
    """Return the value if it is a moment. Raises InvalidInput for anything else, times without a time zone included."""
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return value
    what = "has no time zone, so it means another moment on every machine" if isinstance(value, datetime) else (
        f"is {type(value).__name__}, not a datetime"
    )  # fmt: skip
    raise InvalidInput(
        f"{field or 'a time'}: {value!r:.80} {what}; give one with a time zone, such as datetime.now(UTC).",
        field=field,
        value=value,
    )


class Moment(TIMESTAMP):
    """timestamptz that accepts times with a time zone only; `field` is the name of the column in errors."""

    def __init__(self, field: str | None = None) -> None:
        super().__init__(timezone=True)
        self.field = field

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        # By default a date, a text or a number would be sent as such, and converted by the time zone of the session.
        return self if is_comparison(op) else super().coerce_compared_value(op, value)

    def bind_processor(self, dialect: Any) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        return lambda value: None if value is None else require_moment(value, self.field)


def require_assigned(target: Any, value: Any, old: Any, initiator: Any) -> None:  # noqa: ARG001 - SQLAlchemy's signature
    if value is not None and not hasattr(value, "__clause_element__") and not isinstance(value, ClauseElement):
        require_moment(value, initiator.key)
