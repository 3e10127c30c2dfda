"""Is everything in place that protects the data? The catalog beside the registry; each weakness has a name."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from src.database.models import Base
from src.database.schema import FUNCTIONS, GRANTS, POLICIES, SESSION_ROLES, TRIGGERS
from src.database.schema.access import PROTECTED_TABLES
from src.database.schema.objects import Function

_ALLOWED_UNPROTECTED = {"alembic_version"}


def weaknesses(connection: Connection, login: str | None = None) -> list[str]:
    """Return a sentence for everything that is missing or weaker than it should be; nothing when all is well."""
    found = [*_tables(connection), *_policies(connection), *_triggers(connection), *_functions(connection)]
    found += [*_grants(connection)]
    if login is not None:
        found += _login(connection, login)
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
    rows = connection.execute(
        text(
            "SELECT policyname::text, tablename::text, cmd, roles::text[] FROM pg_policies WHERE schemaname = 'public'"
        )
    )
    present = {(name, table): (command, tuple(roles)) for name, table, command, roles in rows}
    expected = {(policy.name, policy.table): (policy.command, (policy.role,)) for policy in POLICIES}
    for (name, table), form in expected.items():
        if (name, table) not in present:
            yield f"the policy {name} on {table} is missing"
        elif present[name, table] != form:
            yield f"the policy {name} on {table} is not for {form[0]} by {form[1][0]} any more"
    for name, table in sorted(present.keys() - expected.keys()):
        yield f"the policy {name} on {table} is not one of ours"


def _triggers(connection: Connection) -> Iterator[str]:
    rows = connection.execute(
        text(
            "SELECT t.tgname::text, c.relname::text, t.tgenabled::text, p.proname::text FROM pg_trigger t"
            " JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid"
            " WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace AND NOT c.relispartition"
        )
    )
    present = {(name, table): (enabled, function) for name, table, enabled, function in rows}
    for trigger in TRIGGERS:
        state = present.get((trigger.name, trigger.table))
        if state is None:
            yield f"the trigger {trigger.name} on {trigger.table} is missing"
        elif state != ("A" if trigger.always else "O", trigger.function):
            yield f"the trigger {trigger.name} on {trigger.table} is disabled or calls another function"


def _functions(connection: Connection) -> Iterator[str]:
    rows = connection.execute(
        text(
            "SELECT p.proname::text, p.prosrc, p.prosecdef,"
            " ARRAY(SELECT coalesce(r.rolname::text, 'PUBLIC')"
            "       FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
            "       LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> p.proowner)"
            " FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace"
        )
    )
    present = {name: (source, definer, set(callers)) for name, source, definer, callers in rows}
    for function in FUNCTIONS:
        name = function.signature.removeprefix("public.").partition("(")[0]
        if name not in present:
            yield f"the function {name} is missing"
            continue
        source, definer, callers = present[name]
        if source.strip() != _body(function).strip() or definer != ("SECURITY DEFINER" in function.definition):
            yield f"the function {name} is not the one of this version"
        for extra in sorted(callers - set(function.callers)):
            yield f"{extra} may execute the function {name}"
        for lacking in sorted(set(function.callers) - callers):
            yield f"{lacking} may not execute the function {name}"


def _body(function: Function) -> str:
    return function.definition.split("$body$")[1]


def _grants(connection: Connection) -> Iterator[str]:
    rows = connection.execute(
        text(
            "SELECT c.relname::text, coalesce(r.rolname::text, 'PUBLIC'), a.privilege_type, NULL::text FROM pg_class c,"
            " aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')"
            " AND a.grantee <> c.relowner"
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
