"""Is everything in place that protects the data? The catalog beside the registry; each weakness has a name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from src.database.models import Base
from src.database.schema import FUNCTIONS, GRANTS, POLICIES, SESSION_ROLES, TRIGGERS
from src.database.schema.access import PROTECTED_TABLES

_ALLOWED_UNPROTECTED = {"alembic_version"}


def weaknesses(connection: Connection, login: str | None = None) -> list[str]:
    """Return a sentence for everything that is missing or weaker than it should be; nothing when all is well."""
    # Rolled back, so that the caller's transaction goes on as it was.
    with connection.begin_nested() as savepoint:
        # Every name is told with its schema, so that one that stands elsewhere does not look like ours.
        connection.execute(text("SELECT set_config('search_path', 'pg_catalog', true)"))
        found = [*_tables(connection), *_policies(connection), *_triggers(connection), *_functions(connection)]
        found += [*_grants(connection), *_creators(connection, login)]
        if login is not None:
            found += _login(connection, login)
        savepoint.rollback()
    return found


def _tables(connection: Connection) -> Iterator[str]:
    rows = connection.execute(
        text(
            "SELECT c.relname::text, c.relrowsecurity FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace"
            " AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        )
    )
    secured = {name: on for name, on in rows}  # noqa: C416 - a Row is no pair to dict()
    for table in sorted(Base.metadata.tables):
        if table not in secured:
            yield f"the table {table} is missing"
    for table, on in sorted(secured.items()):
        if not on and table not in _ALLOWED_UNPROTECTED:
            known = table in PROTECTED_TABLES
            yield f"row security is off on {table}" if known else f"the table {table} is not protected by row security"


def _policies(connection: Connection) -> Iterator[str]:
    present = _policy_definitions(connection, "public")
    with _scratch(connection) as scratch:
        for policy in POLICIES:
            _try(scratch, policy.create().partition("\n")[2].replace(" ON public.", " ON pg_temp.", 1))
        expected = _policy_definitions(scratch, "pg_temp")
    for policy in POLICIES:
        name, table = policy.name, policy.table
        if (name, table) not in present:
            yield f"the policy {name} on {table} is missing"
        elif present[name, table] != expected.get((name, table)):
            yield f"the policy {name} on {table} is not the one of this version"
    for name, table in sorted(present.keys() - expected.keys() - {(policy.name, policy.table) for policy in POLICIES}):
        yield f"the policy {name} on {table} is not one of ours"


def _policy_definitions(connection: Connection, schema: str) -> dict[tuple[str, str], tuple[Any, ...]]:
    rows = connection.execute(
        text(
            "SELECT p.polname::text, c.relname::text, p.polcmd::text, p.polpermissive, p.polroles::text,"
            " pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)"
            " FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = "
            " CASE :schema WHEN 'pg_temp' THEN pg_my_temp_schema() ELSE 'public'::regnamespace::oid END"
        ),
        {"schema": schema},
    )
    return {(row[0], row[1]): tuple(row[2:]) for row in rows}


def _triggers(connection: Connection) -> Iterator[str]:
    present = _trigger_definitions(connection, "public")
    with _scratch(connection) as scratch:
        for trigger in TRIGGERS:
            _try(scratch, trigger.definition.replace(" ON public.", " ON pg_temp.", 1))
        expected = _trigger_definitions(scratch, "pg_temp")
    for trigger in TRIGGERS:
        state, definition = present.get((trigger.name, trigger.table), (None, None))
        if definition is None:
            yield f"the trigger {trigger.name} on {trigger.table} is missing"
        elif state != ("A" if trigger.always else "O"):
            yield f"the trigger {trigger.name} on {trigger.table} is disabled"
        elif definition != expected.get((trigger.name, trigger.table), (None, None))[1]:
            yield f"the trigger {trigger.name} on {trigger.table} is not the one of this version"
    for name, table in connection.execute(
        text(
            "SELECT t.tgname::text, c.relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace AND c.relispartition"
            " AND t.tgenabled <> 'A' ORDER BY 1, 2"
        )
    ):
        yield f"the trigger {name} on {table} is disabled"


def _trigger_definitions(connection: Connection, schema: str) -> dict[tuple[str, str], tuple[str, str]]:
    rows = connection.execute(
        text(
            "SELECT t.tgname::text, c.relname::text, t.tgenabled::text,"
            " regexp_replace(pg_get_triggerdef(t.oid), ' ON [^ ]+ ', ' ON ')"
            " FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND NOT c.relispartition"
            " AND c.relnamespace = "
            " CASE :schema WHEN 'pg_temp' THEN pg_my_temp_schema() ELSE 'public'::regnamespace::oid END"
        ),
        {"schema": schema},
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


def _functions(connection: Connection) -> Iterator[str]:
    present = _function_definitions(connection, "public")
    with _scratch(connection) as scratch:
        scratch.exec_driver_sql("SET LOCAL check_function_bodies = off")
        for function in FUNCTIONS:
            name = function.signature.removeprefix("public.")
            _try(scratch, f"CREATE FUNCTION pg_temp.{name}\n{function.definition}")
        expected = _function_definitions(scratch, "pg_temp")
    for function in FUNCTIONS:
        identity = function.identity.removeprefix("public.").replace(" ", "")
        name = identity.partition("(")[0]
        if identity not in present:
            yield f"the function {name} is missing"
            continue
        definition, same_owner, callers = present[identity]
        if definition != expected.get(identity, (None,))[0]:
            yield f"the function {name} is not the one of this version"
        if not same_owner:
            yield f"the function {name} does not belong to the owner of the tables"
        for extra in sorted(callers - set(function.callers)):
            yield f"{extra} may execute the function {name}"
        for lacking in sorted(set(function.callers) - callers):
            yield f"{lacking} may not execute the function {name}"
    known = {function.identity.removeprefix("public.").replace(" ", "") for function in FUNCTIONS}
    for identity in sorted(present.keys() - known):
        if " SECURITY DEFINER" in present[identity][0]:
            yield f"the function {identity} runs with the rights of its owner and is not one of ours"


def _function_definitions(connection: Connection, schema: str) -> dict[str, tuple[str, bool, set[str]]]:
    rows = connection.execute(
        text(
            "SELECT p.proname || '(' || array_to_string(p.proargtypes::regtype[], ',') || ')',"
            " regexp_replace(pg_get_functiondef(p.oid), 'FUNCTION [^(]*[.]', 'FUNCTION '),"
            " p.proowner = (SELECT c.relowner FROM pg_class c WHERE c.oid = to_regclass('public.cases')),"
            " ARRAY(SELECT coalesce(r.rolname::text, 'PUBLIC') FROM"
            "       aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
            "       LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> p.proowner)"
            " FROM pg_proc p WHERE p.prokind IN ('f', 'p') AND NOT EXISTS (SELECT FROM pg_depend d"
            "   WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e') AND p.pronamespace = "
            " CASE :schema WHEN 'pg_temp' THEN pg_my_temp_schema() ELSE 'public'::regnamespace::oid END"
        ),
        {"schema": schema},
    )
    return {row[0]: (row[1], row[2] is not False, set(row[3])) for row in rows}


@contextmanager
def _scratch(connection: Connection) -> Iterator[Connection]:
    """Yield the connection in a state that is rolled back, with empty temporary copies of our tables.

    What should be there is made on the copies and read back from the catalog, since PostgreSQL stores an expression in
    a form of its own, another one in every version.
    """
    with connection.begin_nested() as savepoint:
        for table in PROTECTED_TABLES:
            _try(connection, f"CREATE TEMP TABLE {table} (LIKE public.{table})")
        yield connection
        savepoint.rollback()


def _try(connection: Connection, statement: str) -> None:
    """Execute what fails when a table or column is missing: whoever compares notices that the result is missing."""
    with suppress(ProgrammingError), connection.begin_nested():
        connection.execution_options(no_parameters=True).exec_driver_sql(statement)


def _grants(connection: Connection) -> Iterator[str]:
    rows = connection.execute(
        text(
            "SELECT c.relname::text, coalesce(r.rolname::text, 'PUBLIC'), a.privilege_type, NULL::text FROM pg_class c,"
            " aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')"
            " AND a.grantee <> c.relowner AND NOT EXISTS (SELECT FROM pg_depend d"
            "   WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
            " UNION ALL SELECT c.relname::text, coalesce(r.rolname::text, 'PUBLIC'), a.privilege_type, t.attname::text"
            " FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a"
            " LEFT JOIN pg_roles r ON r.oid = a.grantee"
            " WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner"
        )
    )
    present = {tuple(row) for row in rows}
    expected = {
        (grant.table, role, right, column)
        for grant in GRANTS
        for role in grant.roles
        for right in grant.rights.split(", ")
        for column in (grant.columns or (None,))
    }
    for table, role, right, column in sorted(expected - present, key=str):
        yield f"{role} lacks {right} on {table}{f'.{column}' if column else ''}"
    for table, role, right, column in sorted(present - expected, key=str):
        yield f"{role} has {right} on {table}{f'.{column}' if column else ''}, a grant too many"


def _creators(connection: Connection, login: str | None) -> Iterator[str]:
    roles = [*SESSION_ROLES, *([login] if login else [])]
    for role in connection.scalars(
        text(
            "SELECT rolname::text FROM pg_roles WHERE rolname = ANY (:roles)"
            " AND has_schema_privilege(oid, 'public', 'CREATE') ORDER BY 1"
        ),
        {"roles": roles},
    ):
        yield f"{role} may create objects in the schema public; REVOKE CREATE ON SCHEMA public FROM it or PUBLIC"


def _login(connection: Connection, login: str) -> Iterator[str]:
    row = connection.execute(
        text(
            "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication,"
            " rolinherit, rolcanlogin,"
            " ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
            "        WHERE m.member = r.oid),"
            " EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid)"
            " FROM pg_roles r WHERE r.rolname = :login"
        ),
        {"login": login},
    ).one_or_none()
    if row is None:
        yield f"the login {login} is missing"
        return
    powerful, inherits, can_login, groups, owner = row
    if powerful:
        yield f"the login {login} is too powerful: row security would not bind it"
    if inherits:
        yield f"the login {login} inherits rights; ALTER ROLE it NOINHERIT"
    if not can_login:
        yield f"the login {login} may not log in"
    if owner:
        yield f"the login {login} owns tables"
    for lacking in sorted(set(SESSION_ROLES) - set(groups)):
        yield f"the login {login} is not a member of {lacking}"
    for extra in sorted(set(groups) - set(SESSION_ROLES)):
        yield f"the login {login} is a member of {extra}"
