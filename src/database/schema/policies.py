"""Row policies: the form of the condition for each role, and the policies derived from a declaration.

The deciding condition for reading costs nothing to the planner, so it is evaluated before any condition of the caller
(src/database/sql/case_access.sql); a test family holds this for all tables. The condition after it repeats the rule in
a form that can use an index. Members of a large part of all cases have a role without it, since an index would be
slower for them; which of the two roles a member is given changes the cost of a query, never its result. In the role of
wide members, other actors see nothing: their conditions could otherwise use an index on rows of others.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Table

from src.database.schema.declaration import ACTOR, SIGNED, WRITTEN, Protected, protection_of
from src.database.schema.objects import ADMIN_ROLE, MEMBER_ROLES, WIDE_ROLE, Policy
from src.database.schema.permissions import CaseVerb

ADMINISTRATOR = "(SELECT public.actor_may('*', '*'))"


READABLE = "((SELECT public.actor_case_flags()))[{column}]"
IN_READABLE_CASES = "{column} = ANY ((SELECT public.actor_case_ids())::integer[])"
# As an index condition it excludes everything unless the actor was given the role of wide members. ANY, since the
# planner then estimates that it excludes nothing.
ACTOR_IS_WIDE = "{column} >= ANY ((SELECT public.actor_wide_from())::integer[])"


def readable(role: str, declared: Protected, column: str) -> str:
    """Return the condition that the actor may read the row, in the form that suits the role."""
    decides = READABLE.format(column=column)
    indexed = (ACTOR_IS_WIDE if role == WIDE_ROLE else IN_READABLE_CASES).format(column=column)
    if declared.also_visible:
        decides = f"({decides} OR {declared.also_visible})"
        indexed = f"({indexed} OR {declared.also_indexed or declared.also_visible})"
    return " AND ".join(part for part in (decides, indexed, declared.visible) if part)


def permitted(column: str, verb: CaseVerb) -> str:
    """Return the condition that the actor may do this in the row's case.

    Looked up for each row: a command that reads a column is subject to the policy for SELECT too, which comes first.
    """
    return f"public.actor_may_in({column}, '{verb}')"


def policies_of(table: Table) -> tuple[Policy, ...]:
    """Return the policies of a table for both member roles and for administrators."""
    declared = protection_of(table)
    if declared.closed:
        return ()
    members = (policy for role in MEMBER_ROLES for policy in _members(table, declared, role))
    if declared.administrators == "read":
        return (*members, Policy(table.name, "SELECT", ADMIN_ROLE, using=ADMINISTRATOR))
    return (*members, Policy(table.name, "ALL", ADMIN_ROLE, using=ADMINISTRATOR, check=ADMINISTRATOR))


def _members(table: Table, declared: Protected, role: str) -> Iterator[Policy]:
    name = table.name
    if declared.case is None:
        if declared.members:
            yield Policy(name, "SELECT", role, using=declared.members)
        if declared.member_update:
            yield Policy(name, "UPDATE", role, using=declared.member_update, check=declared.member_update)
        return
    if declared.select:
        yield Policy(name, "SELECT", role, using=readable(role, declared, declared.case))
    if declared.insert_rule:
        yield Policy(name, "INSERT", role, check=declared.insert_rule)
    elif declared.insert:
        addable = permitted(declared.case, declared.insert)
        addable += f" AND {declared.insert_also}" if declared.insert_also else ""
        yield Policy(name, "INSERT", role, check=addable + _signed(table, "INSERT"))
    if declared.update:
        updatable = permitted(declared.case, declared.update)
        yield Policy(name, "UPDATE", role, using=updatable, check=updatable + _signed(table, "UPDATE"))
    if declared.delete:
        yield Policy(name, "DELETE", role, using=permitted(declared.case, declared.delete))


def _signed(table: Table, command: str) -> str:
    """Return the condition that signed columns contain the id of the actor or NULL.

    It prevents writing, accepting or releasing in the name of another user.
    """
    signed = (column for column in table.columns if column.info.get(SIGNED) and command in column.info[WRITTEN])
    return "".join(f" AND coalesce({column.name} = {ACTOR}, true)" for column in signed)
