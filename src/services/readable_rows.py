"""Read rows of which the driver cannot read some: the others are returned, and these are named.

CHECKs keep out values that no client can read (src/database/sql/readable_values_1.sql), but not rows from before them,
and not what the owner writes without them. One such row must not stop everybody who reads it together with others, and
must not disappear silently either: it is logged, and returned as an `Unreadable` in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from src.errors import InvalidInput

logger = logging.getLogger(__name__)

LATEST = datetime.max.replace(tzinfo=UTC)
"""In an object, the time that cannot be read."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row with values that the driver cannot read, in these columns. `str(unreadable)` is a sentence."""

    table: str
    id: int
    columns: tuple[str, ...]

    def __str__(self) -> str:
        where = ", ".join(self.columns) or "a row that it refers to"
        return f"{self.table} {self.id} has a value that cannot be read: {where}; correct it as the owner"


def one_line(text: str) -> str:
    """Return a text with its control and direction characters escaped: in a terminal they could hide or forge lines."""
    joiners = "\u200c\u200d"  # in words of Persian and of Indian languages
    shown = (each if each.isprintable() or each in joiners else ascii(each)[1:-1] for each in text)
    return text if text.isprintable() else "".join(shown)


def readable_rows(session: Session, query: Any, model: Any) -> list[Any]:
    """Return the rows of a query on `model` in its order; in place of a row that cannot be read, an `Unreadable`.

    `query` selects the model or its columns, and may join others; its conditions must not depend on the number of rows.
    """
    try:
        return list(session.execute(query).all())
    except (ArithmeticError, RecursionError, ValueError, DBAPIError) as error:
        if not is_unreadable(error):
            raise
    ids = session.scalars(query.with_only_columns(model.id, maintain_column_froms=True)).all()
    return _halved(session, query, model, ids)


def readable_scalars(session: Session, query: Any, model: Any) -> list[Any]:
    """Return the first column of the rows of a query, like `readable_rows`."""
    return [row if isinstance(row, Unreadable) else row[0] for row in readable_rows(session, query, model)]


def readable_rest(session: Session, model: Any, unreadable: Unreadable) -> Any:
    """Return an object with everything of such a row that can be read; it belongs to no session.

    Attributes that cannot be read are None, times `LATEST`.
    """
    loaded = [attribute.key for attribute in inspect(model).column_attrs if not attribute.deferred]
    columns = [getattr(model, name).label(name) for name in loaded if name not in unreadable.columns]
    found = session.execute(select(*columns).where(model.id == unreadable.id)).one()
    missing = [name for name in unreadable.columns if isinstance(getattr(model, name).type, DateTime)]
    return model(**dict.fromkeys(missing, LATEST), **found._mapping)  # noqa: SLF001 - SQLAlchemy's documented accessor


def is_unreadable(error: BaseException) -> bool:
    """Return whether this error of a query means that the driver could not read a value of its result.

    Such an error has no SQLSTATE: the server executed the query, and the transaction is still usable.
    """
    if isinstance(error, DBAPIError):
        return getattr(error.orig, "pgcode", None) is None and not error.connection_invalidated
    if isinstance(error, InvalidInput):
        # The engine translates it for values that are sent; the parser of JSON raises it for values that are read.
        return isinstance(error.__cause__, RecursionError)
    return isinstance(error, ArithmeticError | RecursionError | ValueError)


def _halved(session: Session, query: Any, model: Any, ids: Sequence[int]) -> list[Any]:
    """Read the rows with these ids; half of them after a failure, so that few bad rows cost few queries."""
    if not ids:
        return []
    try:
        return list(session.execute(query.where(model.id.in_(ids))).all())
    except (ArithmeticError, RecursionError, ValueError, DBAPIError) as error:
        if not is_unreadable(error):
            raise
    if len(ids) == 1:
        unreadable = Unreadable(model.__tablename__, ids[0], _unreadable_columns(session, model, ids[0]))
        logger.warning("%s.", unreadable)
        return [unreadable]
    middle = len(ids) // 2
    return _halved(session, query, model, ids[:middle]) + _halved(session, query, model, ids[middle:])


def _unreadable_columns(session: Session, model: Any, row_id: int) -> tuple[str, ...]:
    return tuple(
        attribute.key
        for attribute in inspect(model).column_attrs
        # Deferred columns are not loaded with a row, and some of them may not be read by sessions.
        if not attribute.deferred and not _can_read(session, attribute.columns[0], model, row_id)
    )


def _can_read(session: Session, column: Any, model: Any, row_id: int) -> bool:
    try:
        session.execute(select(column).where(model.id == row_id)).all()
    except (ArithmeticError, RecursionError, ValueError, DBAPIError) as error:
        if not is_unreadable(error):
            raise
        return False
    return True
