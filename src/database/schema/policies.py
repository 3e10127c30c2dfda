"""Row policies: the form of the condition for each role, and the policies derived from a declaration.

Administrators and members of very many cases have separate roles. The two forms for members are equivalent, but are
planned differently (src/database/sql/access.sql).
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Table

from src.database.schema.declaration import ACTOR, SIGNED, WRITTEN, Protected, protection_of
from src.database.schema.objects import ADMIN_ROLE, MEMBER_ROLES, WIDE_ROLE, Policy
from src.database.schema.permissions import CaseVerb

ADMINISTRATOR = "(SELECT public.actor_may('*', '*'))"


def in_cases(role: str, column: str, verb: CaseVerb) -> str:
    """Return the condition that the actor may do this in the row's case, in the shape that suits the role."""
    if role == WIDE_ROLE:
        return f"{column} IN (SELECT unnest((SELECT public.actor_case_ids('{verb}'))))"
    return f"{column} = ANY ((SELECT public.actor_case_ids('{verb}'))::integer[])"


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
    readable = in_cases(role, declared.case, "read")
    readable += f" AND {declared.visible}" if declared.visible else ""
    readable += f" OR {declared.also_visible}" if declared.also_visible else ""
    yield Policy(name, "SELECT", role, using=readable)
    if declared.insert_rule:
        yield Policy(name, "INSERT", role, check=declared.insert_rule)
    elif declared.insert:
        addable = in_cases(role, declared.case, declared.insert)
        addable += f" AND {declared.insert_also}" if declared.insert_also else ""
        yield Policy(name, "INSERT", role, check=addable + _signed(table, "INSERT"))
    if declared.update:
        updatable = in_cases(role, declared.case, declared.update)
        yield Policy(name, "UPDATE", role, using=updatable, check=updatable + _signed(table, "UPDATE"))
    if declared.delete:
        yield Policy(name, "DELETE", role, using=in_cases(role, declared.case, declared.delete))


def _signed(table: Table, command: str) -> str:
    """Return the condition that signed columns contain the id of the actor or NULL.

    It prevents writing, accepting or releasing in the name of another user.
    """
    signed = (column for column in table.columns if column.info.get(SIGNED) and command in column.info[WRITTEN])
    return "".join(f" AND coalesce({column.name} = {ACTOR}, true)" for column in signed)
