"""What a query of single columns reads: the ORM loads no object, so its rows are counted, or its conditions named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Column, CompoundSelect, Select, func
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression

MOST_CONDITIONS = 300


class Group(NamedTuple):
    """Rows of a query in one entry of the access log."""

    case_id: int | None
    entity: str
    row_id: int | None
    what: str
    rows: int


@dataclass(frozen=True)
class ColumnRead:
    """A column of a model, or an expression of it, that a query reads; `entity` is the model or an alias of it."""

    read_as: Any
    entity: Any
    what: str

    def named_in(self, statement: Any) -> list[Group] | None:
        """Return the group that the conditions name, with case and row; None when they leave one of them open."""
        asked = dict(_equalities(getattr(statement, "whereclause", None)))
        case_id, row_id = asked.get("case_id"), asked.get(self.read_as.column)
        if case_id is None or row_id is None or self.read_as.entity_column is not None:
            return None
        return [Group(case_id, self.read_as.entity, row_id, self.what, 1)]

    def counting(self, statement: Any) -> Any:
        """Return a query that counts the rows of a statement by case and row; None for one of another form.

        A LIMIT is left out: the rows that it returned are among those that are named.
        """
        if (
            not isinstance(statement, Select)
            or statement._for_update_arg is not None  # noqa: SLF001 - SQLAlchemy has no public name for it
            or statement._having_criteria  # noqa: SLF001 - the same
            or statement._distinct_on  # noqa: SLF001 - the same
        ):
            return None
        named = [self.entity.case_id, getattr(self.entity, self.read_as.column)]
        counting = statement
        if self.read_as.entity_column is not None:
            named.append(getattr(self.entity, self.read_as.entity_column))
            # Entries of events contain no texts, and rows outside cases no recorded speech.
            counting = counting.where(self.entity.operation != "event", self.entity.case_id.is_not(None))
        counting = counting.with_only_columns(*named, func.count(), maintain_column_froms=True)
        return counting.order_by(None).group_by(None).group_by(*named).limit(None).offset(None)

    def group(self, row: Any) -> Group:
        """Return the group of a row of the counting query."""
        case_id, row_id, *entity, count = row
        return Group(case_id, entity[0] if entity else self.read_as.entity, row_id, self.what, count)

    def unknown(self, statement: Any) -> Group:
        """Return the group of a query whose rows are not counted: its conditions, without their values."""
        clause = getattr(statement, "whereclause", None)
        asked = dict(_equalities(clause))
        conditions = "all" if clause is None else str(clause.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # dialect() has no types
        conditions = " ".join(re.sub(r"'(?:[^']|'')*'", "…", conditions).split())[:MOST_CONDITIONS]
        what = f"{self.what} where {conditions}"
        return Group(asked.get("case_id"), self.read_as.entity, asked.get(self.read_as.column), what, 1)


def parts_of(statement: Any) -> Iterator[Any]:
    """Yield a statement, or the queries of a UNION."""
    if isinstance(statement, CompoundSelect):
        for part in statement.selects:
            yield from parts_of(part)
    else:
        yield statement


def _equalities(clause: Any) -> Iterator[tuple[str, int]]:
    if clause is None:
        return
    for element in visitors.iterate(clause):
        if isinstance(element, BinaryExpression) and element.operator is operators.eq:
            left, right = element.left, element.right
            if isinstance(left, Column) and isinstance(right, BindParameter) and isinstance(right.value, int):
                yield left.name, right.value
