"""Types of columns that members read by a function, which returns null for the rows of others.

Members have no SELECT privilege on these columns, so a condition on one fails, and nothing can be searched or counted
by it. `select(User.email)` and `user.email` call the function for each row instead.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text, case, func, literal_column, null, or_
from sqlalchemy.types import TypeDecorator

from src.database.schema.moments import Moment

# Evaluated once for a query, so that the function is called for the rows only that it returns something for.
_ACTOR: Any = literal_column("(SELECT public.actor_id())")
_SEES_ALL: Any = literal_column(
    "(SELECT current_user NOT IN ('sti_app', 'sti_wide', 'sti_admin') OR public.actor_may('*', '*'))"
)


class _Private:
    """Reads the column by the function `public.NAME(id)`, and writes it as it is."""

    impl: Any
    cache_ok = True

    def __init__(self, function: str) -> None:
        super().__init__()
        self.function = function

    def column_expression(self, column: Any) -> Any:
        row_id = column.table.c.id
        return case((or_(row_id == _ACTOR, _SEES_ALL), getattr(func.public, self.function)(row_id)), else_=null())


class PrivateText(_Private, TypeDecorator[str]):
    """Text that members read by a function."""

    impl = Text
    cache_ok = True


class PrivateMoment(_Private, TypeDecorator[Any]):
    """A moment that members read by a function."""

    impl = Moment
    cache_ok = True
