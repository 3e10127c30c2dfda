"""Declarations of the protection of tables, from which derivation.py derives the SQL.

A model declares `__protection__ = Protected(…)`; its columns declare theirs in `Column.info` under the keys below, with
the functions of `src/database/base.py` (`written`, `user_text`, …). Services declare their tables with `protect_table`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

from sqlalchemy import Column, Table

from src.database.schema.objects import Trigger
from src.database.schema.permissions import CaseVerb

"""What somebody may do in a case; see src/database/schema/permissions.py."""

WRITTEN = "written"
"""The commands with which sessions may set the column: INSERT, UPDATE or both."""
ADMINISTERED = "administered"
"""Only administrators may change the column."""
SIGNED = "signed"
"""The column references a user, and a session may only set it to the actor."""
SECRET = "secret"  # noqa: S105 - the name of a mark
"""Password hashes, tokens, addresses: the value appears nowhere but in its column; the history has a salted hash."""
PERSONAL = "personal"
"""What people said or wrote: the history keeps it under the rights of the case; errors, reprs and samples do not."""
UNREADABLE = "unreadable"
"""No session may read the column."""
PRIVATE = "private"
"""Members read the column by a function only, which decides for each row; administrators read it."""
COMPUTED = "computed"
"""Computed by functions from other tables: its size needs no limit of its own."""
ASSIGNED = "assigned"
"""Only functions set the column, so that its value never appears in the text of a statement."""
STAMPED = "stamped"
"""A moment: when a session sets it, a trigger replaces the value with the time of the server."""
LENGTH = "length"
"""(least, most): the limits of a text in characters, enforced by a CHECK."""
SIZE = "size"
"""The limit of a JSON document in bytes as text, or of a list of texts; enforced by a CHECK."""
SIZE_APPLIES = "size applies"
"""SQL: the rows to which the limits of the document apply; without it, to all."""
UNSAMPLED = "unsampled"
"""ANALYZE does not sample the column: the estimates of EXPLAIN would reveal samples to any session."""

# Placeholders for the arguments of a capture trigger that replaces a derived one; derivation fills them in.
CAPTURED = ("<derived>",)
CAPTURED_WITHOUT_CASE = ("<derived, without the case>",)


@dataclass(frozen=True)
class Protected:
    """The protection of a table. The defaults are those of a table whose rows belong to a case.

    `case` is the column with the case id, None for a table outside cases. With a case, `insert`, `update` and `delete`
    are the verbs that the commands require in it (None: not allowed for sessions); reading requires `read`. Additional
    conditions are SQL: `visible` and `also_visible` narrow and widen the visible rows, `insert_also` narrows the rows
    that may be inserted, `insert_rule` replaces the verb. `also_visible` must cost nothing to the planner (subscripts
    and IS NULL only); `also_indexed` is the same condition in a form that can use an index. `select=False`:
    members cannot read the table.

    Outside cases, `members` is the condition under which members may read a row, `member_update` the one under which
    they may update it; `administrators` are the privileges of administrators.

    `captured`: changes are logged, without the columns `not_captured`; `restorable` is the verb required to restore a
    deleted row (None: not restorable). `held`: rows cannot be deleted while the case is under a legal hold. `touched`:
    a trigger sets `updated_at`. `in_snapshot`: part of the snapshot of a case (`history.as_of`). `closed`: sessions
    have no access. `keeps_roles`: session roles get SELECT on the column `id` only, without a policy: DROP OWNED BY one
    of them, which would remove its policies, fails on such a table. `triggers` are added to the derived ones, or
    replace one of the same name.
    """

    case: str | None = "case_id"
    select: bool = True
    insert: CaseVerb | None = "write"
    update: CaseVerb | None = "write"
    delete: CaseVerb | None = "delete"
    visible: str = ""
    also_visible: str = ""
    also_indexed: str = ""
    insert_also: str = ""
    insert_rule: str = ""
    members: str = ""
    member_update: str = ""
    administrators: Literal["all", "read"] = "all"
    captured: bool = True
    not_captured: tuple[str, ...] = ()
    restorable: CaseVerb | None = "write"
    held: bool = True
    touched: bool = True
    in_snapshot: bool = True
    closed: bool = False
    keeps_roles: bool = False
    triggers: tuple[Trigger, ...] = ()


KNOWN_ACTOR = "(SELECT public.actor_id()) IS NOT NULL"
ACTOR = "(SELECT public.actor_id())"

LOOKUP = Protected(case=None, members=KNOWN_ACTOR, in_snapshot=False)
"""A table that every actor may read and administrators may change."""
CLOSED = Protected(case=None, captured=False, restorable=None, in_snapshot=False, closed=True)
"""A table that no session may read or write."""


# Not in `Table.info`, since Alembic renders it in every revision that creates a table.
_declared: WeakKeyDictionary[Table, Protected] = WeakKeyDictionary()


def declare(table: Table, protected: Protected) -> None:
    """Register the protection of a table."""
    _declared[table] = protected


def protection_of(table: Table) -> Protected:
    """Return the declaration of a table. Raises KeyError for a table without one."""
    return _declared[table]


def sets(column: Column[Any], command: Literal["INSERT", "UPDATE"]) -> bool:
    """Return whether sessions may set the column with this command."""
    return command in column.info.get(WRITTEN, ())


def with_mark(columns: Iterable[Column[Any]], mark: str) -> tuple[str, ...]:
    """Return the names of the columns with a mark."""
    return tuple(column.name for column in columns if column.info.get(mark))


def changeable(table: Table) -> tuple[str, ...]:
    """Return the columns that sessions of members or administrators may change."""
    return tuple(
        column.name for column in table.columns if sets(column, "UPDATE") or column.info.get(ADMINISTERED)
    )  # fmt: skip


def captured_columns(table: Table) -> tuple[str, ...]:
    """Return the columns whose values are logged unchanged: neither excluded nor secret."""
    excluded = {*protection_of(table).not_captured, *with_mark(table.columns, SECRET)}
    return tuple(column.name for column in table.columns if column.name not in excluded and column.computed is None)
