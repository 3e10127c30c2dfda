"""Which column a violated CHECK is about, and its limit: from the names of constraints and the declarations."""

from __future__ import annotations

from src.database.base import LARGEST_DOCUMENT, LARGEST_LIST, Base
from src.database.schema import declaration


def column_of(table: str | None, constraint: str | None) -> str | None:
    """Return the column of a CHECK such as `cases_title_length_check`; None for a rule about several columns."""
    if table is None or constraint is None:
        return None
    rule = constraint.removeprefix(f"{table}_").removesuffix("_check")
    known = Base.metadata.tables.get(table)
    if known is None:
        # The table of a service: the last word of the name is the rule.
        return rule.rpartition("_")[0] or None
    fitting = [
        name for name in (column.name for column in known.columns) if rule == name or rule.startswith(f"{name}_")
    ]
    return max(fitting, key=len, default=None)


def limit_of(table: str | None, constraint: str | None) -> int | None:
    """Return what a CHECK allows at most, in characters of a text or bytes of a document; None for other rules."""
    name, known = column_of(table, constraint), Base.metadata.tables.get(table or "")
    if name is None or known is None or constraint is None:
        return None
    column = known.columns[name]
    if constraint.endswith("_length_check") and declaration.LENGTH in column.info:
        return int(column.info[declaration.LENGTH][1])
    if constraint.endswith("_readable_check"):
        default = LARGEST_LIST if "[]" in str(column.type) else LARGEST_DOCUMENT
        return int(column.info.get(declaration.SIZE) or default)
    return None
