"""What a table says about its protection: a few words on the model, from which derivation.py makes the SQL.

A model states `__protection__ = Protected(…)`; what a column adds stands in `Column.info` under the keys below and is
written with the functions of `src/database/base.py` (`written`, `user_text`, …). A table of a service's own states the
same with `protect_table`.
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
"""Commands of sessions that may set the column: INSERT, UPDATE or both."""
ADMINISTERED = "administered"
"""Administrators may change the column, in a table where members may not."""
SIGNED = "signed"
"""The column names a user, and a session may only put the actor there."""
SENSITIVE = "sensitive"
"""The value never appears in a repr, a log, an error, an export or the history, where a salted hash stands for it."""
SECRET = "secret"  # noqa: S105 - the name of a mark
"""No session may read the column."""
LENGTH = "length"
"""(least, most): the limits of a text in characters, held by a CHECK."""
UNSAMPLED = "unsampled"
"""ANALYZE takes no samples of the column: EXPLAIN would tell them to whoever may ask it anything."""

# Arguments of a capture trigger that stands in for a derived one: filled in by derivation.
CAPTURED = ("<what the table declares>",)
CAPTURED_WITHOUT_CASE = ("<what the table declares, but the case>",)


@dataclass(frozen=True)
class Protected:
    """How a table is protected. Without arguments: a table below a case, as most are.

    `case` is the column that names the case, None for a table that belongs to no case. In a table below a case
    `insert`, `update` and `delete` are the verbs that the commands take there (None: no session may); reading takes
    `read`. Extra conditions are SQL: `visible` and `also_visible` narrow and widen what is read, `insert_also` narrows
    what may be added, `insert_rule` replaces the verb.

    Outside cases `members` is the condition under which members read rows, `member_update` that under which they change
    them, and `administrators` what administrators may do.

    `captured`: changes are in the log, without the columns `not_captured`; `restorable` is the verb by which a deleted
    row comes back from it (None: it does not). `held`: nothing is deleted while the case is under a legal hold.
    `touched`: a trigger keeps `updated_at`. `in_snapshot`: part of a whole case as it was (`history.as_of`). `closed`:
    no session may do anything. `triggers` are added to those that are derived, or replace one of the same name.
    """

    case: str | None = "case_id"
    insert: CaseVerb | None = "write"
    update: CaseVerb | None = "write"
    delete: CaseVerb | None = "delete"
    visible: str = ""
    also_visible: str = ""
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
    triggers: tuple[Trigger, ...] = ()


KNOWN_ACTOR = "(SELECT public.actor_id()) IS NOT NULL"
ACTOR = "(SELECT public.actor_id())"

LOOKUP = Protected(case=None, members=KNOWN_ACTOR, in_snapshot=False)
"""A table that whoever acts may read, and administrators may change."""
CLOSED = Protected(case=None, captured=False, restorable=None, in_snapshot=False, closed=True)
"""A table that no session may read or write."""


# Not in `Table.info`, which Alembic prints into every revision that creates a table.
_declared: WeakKeyDictionary[Table, Protected] = WeakKeyDictionary()


def declare(table: Table, protected: Protected) -> None:
    """Remember how a table is protected."""
    _declared[table] = protected


def protection_of(table: Table) -> Protected:
    """Return what a table declares. Raises KeyError for one that declares nothing."""
    return _declared[table]


def sets(column: Column[Any], command: Literal["INSERT", "UPDATE"]) -> bool:
    """Return whether sessions may set the column by this command."""
    return command in column.info.get(WRITTEN, ())


def with_mark(columns: Iterable[Column[Any]], mark: str) -> tuple[str, ...]:
    """Return the names of the columns that bear a mark."""
    return tuple(column.name for column in columns if column.info.get(mark))


def changeable(table: Table) -> tuple[str, ...]:
    """Return the columns that sessions may change: what a member may not, the database refuses when it is tried."""
    return tuple(
        column.name for column in table.columns if sets(column, "UPDATE") or column.info.get(ADMINISTERED)
    )  # fmt: skip


def captured_columns(table: Table) -> tuple[str, ...]:
    """Return the columns whose values stand in the log as they are: neither left out nor sensitive."""
    left_out = {*protection_of(table).not_captured, *with_mark(table.columns, SENSITIVE)}
    return tuple(column.name for column in table.columns if column.name not in left_out and column.computed is None)
