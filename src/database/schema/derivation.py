"""Derive triggers, policies, grants and statistics targets from the declarations of tables.

`tests/provisioning/protection.sql` is the printed result: changes of access are reviewed there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from src.database.schema.declaration import (
    ADMINISTERED,
    ASSIGNED,
    CAPTURED,
    CAPTURED_WITHOUT_CASE,
    PRIVATE,
    SECRET,
    STAMPED,
    UNREADABLE,
    UNSAMPLED,
    Protected,
    protection_of,
    sets,
    with_mark,
)
from src.database.schema.objects import ADMIN_ROLE, MEMBER_ROLES, SESSION_ROLES, Grant, Policy, Trigger, stamped
from src.database.schema.policies import policies_of

BUILD = 26
"""Must grow when the derived SQL changes without a revision; tests/provisioning/protection.sql quotes it."""


@dataclass(frozen=True)
class Derived:
    """The objects of one table that Alembic does not manage, except functions."""

    table: str
    triggers: tuple[Trigger, ...]
    policies: tuple[Policy, ...]
    grants: tuple[Grant, ...]
    unsampled: tuple[str, ...]

    @property
    def row_security(self) -> str:
        return f"ALTER TABLE public.{self.table} ENABLE ROW LEVEL SECURITY;"

    def create(self) -> str:
        """Return the SQL that protects the table; it may be run again."""
        parts = [
            *(trigger.create() for trigger in self.triggers),
            self.row_security,
            *(policy.create() for policy in self.policies),
            *(grant.create() for grant in self.grants),
            *self.unsampled,
        ]
        return "\n".join(parts)


def derive(table: Table) -> Derived:
    """Return the objects derived from the declaration of a table."""
    return Derived(
        table.name, tuple(_triggers(table)), policies_of(table), tuple(_grants(table)), tuple(_unsampled(table))
    )


def derived(metadata: MetaData) -> tuple[Derived, ...]:
    """Return the objects derived from the declarations of all tables, in the order of their creation."""
    if "derived" not in metadata.info:
        metadata.info["derived"] = tuple(derive(table) for table in metadata.sorted_tables)
    found: tuple[Derived, ...] = metadata.info["derived"]
    return found


def captured_tables(metadata: MetaData) -> tuple[Table, ...]:
    """Return the tables whose changes are logged."""
    return tuple(table for table in metadata.sorted_tables if protection_of(table).captured)


def capture_arguments(table: Table) -> tuple[str, ...]:
    """Return the arguments of the capture triggers of a table; see src/database/sql/capture.sql."""
    declared = protection_of(table)
    secret = with_mark(table.columns, SECRET)
    return (declared.case or "", ",".join(declared.not_captured), ",".join(secret), declared.restorable or "")


def _triggers(table: Table) -> Iterator[Trigger]:
    declared = protection_of(table)
    replaced = {trigger.name for trigger in declared.triggers}
    kept = (trigger for trigger in _derived_triggers(table, declared) if trigger.name not in replaced)
    arguments = capture_arguments(table)
    fillings: dict[tuple[str, ...], tuple[str, ...]] = {
        CAPTURED: arguments,
        CAPTURED_WITHOUT_CASE: ("", *arguments[1:]),
    }
    for trigger in (*kept, *declared.triggers):
        yield replace(trigger, table=table.name, arguments=fillings.get(trigger.arguments, trigger.arguments))


def _derived_triggers(table: Table, declared: Protected) -> Iterator[Trigger]:
    if declared.touched:
        function = "touch_versioned_row" if "row_version" in table.columns else "touch_row"
        uncaptured = (",".join(declared.not_captured),) if declared.not_captured else ()
        yield Trigger("touch", "BEFORE UPDATE", function, uncaptured, always=False)
    if declared.captured:
        # The logical replication worker fires row-level triggers only.
        replicated = "pg_catalog.current_setting('session_replication_role') = 'replica'"
        new_rows = Trigger("capture", "AFTER INSERT", "capture_new_rows", CAPTURED, each="STATEMENT")
        yield replace(new_rows, transition="new_rows")
        yield Trigger(
            "capture_replicated", "AFTER INSERT", "capture_change", CAPTURED, when=replicated
        )  # fmt: skip
        yield Trigger("capture_change", "AFTER UPDATE OR DELETE", "capture_change", CAPTURED)
        # The log identifies rows by id: a changed id would look like a deleted and an unknown row.
        changed = "OLD.id IS DISTINCT FROM NEW.id"
        refused = ("the id of a row cannot change",)
        yield Trigger("keep_id", "BEFORE UPDATE OF id", "refuse_change", refused, when=changed)
    yield from (each for column in with_mark(table.columns, STAMPED) for each in stamped(column))
    if not declared.closed:
        untraced = ("it would leave no trace, delete rows instead",)
        yield Trigger(
            "refuse_truncate", "BEFORE TRUNCATE", "refuse_change", untraced, each="STATEMENT"
        )  # fmt: skip
    if declared.case is not None and declared.held:
        # In tables of services, the column with the case id may have another name.
        column = () if declared.case in {"id", "case_id"} else (declared.case,)
        yield Trigger("guard_hold", "BEFORE DELETE", "guard_hold", column)


def _grants(table: Table) -> Iterator[Grant]:
    declared = protection_of(table)
    if declared.closed:
        if declared.keeps_roles:
            yield Grant(table.name, ("SELECT",), SESSION_ROLES, ("id",))
        return
    hidden = with_mark(table.columns, UNREADABLE)
    readable = _without(table, hidden)
    for_members = _without(table, (*hidden, *with_mark(table.columns, PRIVATE)))
    updatable = tuple(column.name for column in table.columns if sets(column, "UPDATE"))
    if declared.case is not None:
        if declared.insert or declared.insert_rule:
            addable = tuple(column.name for column in table.columns if sets(column, "INSERT"))
            yield from _of_columns(table, "INSERT", SESSION_ROLES, addable)
        yield Grant(table.name, ("SELECT",), SESSION_ROLES if declared.select else (ADMIN_ROLE,), readable)
        if declared.delete:
            yield Grant(table.name, ("DELETE",), SESSION_ROLES)
        if declared.update:
            yield from _of_columns(table, "UPDATE", SESSION_ROLES, updatable)
        return
    if declared.members:
        yield Grant(table.name, ("SELECT",), MEMBER_ROLES, for_members)
    if declared.member_update:
        yield from _of_columns(table, "UPDATE", MEMBER_ROLES, updatable)
    yield Grant(table.name, ("SELECT",), (ADMIN_ROLE,), readable)
    if declared.administrators == "all":
        yield from _of_administrators(table, hidden=bool(hidden))


def _of_administrators(table: Table, *, hidden: bool) -> Iterator[Grant]:
    assigned = with_mark(table.columns, ASSIGNED)
    if assigned:
        yield Grant(table.name, ("DELETE",), (ADMIN_ROLE,))
        yield from _of_columns(
            table, "INSERT", (ADMIN_ROLE,), tuple(c.name for c in table.columns if c.name not in assigned)
        )
    else:
        yield Grant(table.name, ("INSERT", "DELETE"), (ADMIN_ROLE,))
    if hidden:
        changeable = tuple(c.name for c in table.columns if sets(c, "UPDATE") or c.info.get(ADMINISTERED))
        yield from _of_columns(table, "UPDATE", (ADMIN_ROLE,), changeable)
    else:
        yield Grant(table.name, ("UPDATE",), (ADMIN_ROLE,))


def _without(table: Table, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the other columns of a table; none, which stands for all, when nothing is left out."""
    return tuple(column.name for column in table.columns if column.name not in columns) if columns else ()


def _of_columns(table: Table, right: str, roles: tuple[str, ...], columns: tuple[str, ...]) -> Iterator[Grant]:
    # A grant without columns would apply to the whole table.
    if columns:
        yield Grant(table.name, (right,), roles, columns)


def _unsampled(table: Table) -> Iterator[str]:
    columns = with_mark(table.columns, UNSAMPLED)
    if not columns:
        return
    settings = ", ".join(f"ALTER COLUMN {column} SET STATISTICS 0" for column in columns)
    yield f"ALTER TABLE public.{table.name} {settings};"
    # ANALYZE samples an index whose first column is an expression over such a column, also that of a constraint.
    first: list[tuple[str, Any]] = [(str(index.name), next(iter(index.expressions))) for index in table.indexes]
    first += [(str(c.name), _first_of(c)) for c in table.constraints if isinstance(c, ExcludeConstraint)]
    for name, expression in sorted(first, key=itemgetter(0)):
        if not isinstance(expression, Column) and set(re.findall(r"\w+", str(expression))) & set(columns):
            yield unsampled_index(name)


def unsampled_index(name: str) -> str:
    """Return the SQL that excludes the first expression of an index from sampling."""
    return f"ALTER INDEX public.{name} ALTER COLUMN 1 SET STATISTICS 0;"


def _first_of(constraint: ExcludeConstraint) -> Any:
    return constraint._render_exprs[0][0]  # noqa: SLF001 - it has no public list of its expressions
