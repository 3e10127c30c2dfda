"""Compare row security, triggers and policies of the tables of this layer and of services."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, text

from src.database.provisioning.catalog import Catalog, Key
from src.database.provisioning.differences import Difference, Kind
from src.database.schema import SESSION_ROLES, Derived, functions


def compare_row_security(
    connection: Connection, present: Catalog, protected: Sequence[Derived]
) -> Iterator[Difference]:
    names = {each.table for each in protected}
    for table, on in sorted(present.row_security.items()):
        if on:
            continue
        if table in names:
            yield Difference(
                Kind.ROW_SECURITY, table, f"row security is off on {table}",
                (f"ALTER TABLE public.{table} ENABLE ROW LEVEL SECURITY;",),
            )  # fmt: skip
        elif roles := _with_privileges(connection, table):
            yield Difference(
                Kind.TABLE,
                table,
                f"the table {table} is not protected by row security, and {', '.join(roles)} may use it",
                left="call protect_table in the migrations of the service that created it, or revoke these privileges",
            )


def _with_privileges(connection: Connection, table: str) -> list[str]:
    # These functions accept 0 for PUBLIC, whose privileges every role has.
    rows = connection.execute(
        text(
            "SELECT g.name FROM pg_class c, (SELECT 0::oid, 'PUBLIC' UNION ALL"
            " SELECT oid, rolname::text FROM pg_roles WHERE rolname = ANY (:roles)) AS g (oid, name)"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relname = :table"
            " AND (has_table_privilege(g.oid, c.oid, 'DELETE')"
            " OR has_any_column_privilege(g.oid, c.oid, 'SELECT, INSERT, UPDATE')) ORDER BY 1"
        ),
        {"table": table, "roles": list(SESSION_ROLES)},
    )
    return list(rows.scalars())


def compare_triggers(present: Catalog, expected: Catalog, protected: Sequence[Derived]) -> Iterator[Difference]:
    own_functions = {function.name for function in functions()}
    for table in protected:
        for trigger in table.triggers:
            key = Key(table.table, trigger.name)
            found, declared = present.triggers.get(key), expected.triggers.get(key)
            if table.table not in present.row_security:
                continue
            if found is None:
                sentence, mend = f"the trigger {trigger.name} on {table.table} is missing", trigger.create()
            elif declared is None or found.definition != declared.definition:
                # CREATE OR REPLACE cannot change the kind of a trigger.
                sentence = f"the trigger {trigger.name} on {table.table} differs from this version"
                mend = f"{trigger.drop()}\n{trigger.create()}"
            elif found.state != ("A" if trigger.always else "O"):
                sentence, mend = f"the trigger {trigger.name} on {table.table} is disabled", trigger.enable()
            else:
                continue
            yield Difference(Kind.TRIGGER, table.table, sentence, (mend,))
    known = {Key(table.table, trigger.name) for table in protected for trigger in table.triggers}
    names = {table.table for table in protected}
    for key in sorted(present.triggers.keys() - known):
        calls = present.triggers[key].calls
        if calls in own_functions:
            yield Difference(
                Kind.TRIGGER, key.table, f"the trigger {key.name} on {key.table} calls {calls} and is not declared",
                (f'DROP TRIGGER "{key.name}" ON public."{key.table}";',),
            )  # fmt: skip
        elif key.table in names:
            yield Difference(
                Kind.TRIGGER, key.table, f"the trigger {key.name} on {key.table} is unknown to this version",
                left=f"it calls {calls}, a function outside this layer", foreign=True,
            )  # fmt: skip


def compare_triggers_of_partitions(connection: Connection) -> Iterator[Difference]:
    rows = connection.execute(
        text(
            "SELECT c.relname::text, t.tgname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace AND c.relispartition"
            " AND t.tgenabled <> 'A' ORDER BY 1, 2"
        )
    )
    for table, name in rows:
        mend = f'ALTER TABLE public."{table}" ENABLE ALWAYS TRIGGER "{name}";'
        yield Difference(Kind.TRIGGER, table, f"the trigger {name} on {table} is disabled", (mend,))


def compare_policies(present: Catalog, expected: Catalog, protected: Sequence[Derived]) -> Iterator[Difference]:
    for table in protected:
        for policy in table.policies:
            key = Key(table.table, policy.name)
            if table.table not in present.row_security:
                continue
            found, declared = present.policies.get(key), expected.policies.get(key)
            if found is None:
                sentence = f"the policy {policy.name} on {table.table} is missing"
                yield Difference(Kind.POLICY, table.table, sentence, (policy.create(),))
            elif found != declared:
                sentence = f"the policy {policy.name} on {table.table} differs from this version"
                yield Difference(Kind.POLICY, table.table, sentence, (policy.create(),))
    known = {Key(table.table, policy.name) for table in protected for policy in table.policies}
    names = {table.table for table in protected}
    for key in sorted(key for key in present.policies.keys() - known if key.table in names):
        if present.policies[key].permissive:
            yield Difference(
                Kind.POLICY, key.table, f"the policy {key.name} on {key.table} is not declared, and widens access",
                (f'DROP POLICY "{key.name}" ON public."{key.table}";',),
            )  # fmt: skip
        else:
            yield Difference(
                Kind.POLICY, key.table, f"the policy {key.name} on {key.table} is unknown to this version",
                left="it is restrictive", foreign=True,
            )  # fmt: skip
