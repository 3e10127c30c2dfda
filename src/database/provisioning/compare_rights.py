"""Compare privileges on tables, columns and the schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection, text

from src.database.provisioning.catalog import Catalog, Key, Right
from src.database.provisioning.differences import Difference, Kind
from src.database.schema import SESSION_ROLES, Derived, credential_view
from src.database.schema.creation import USAGE

Roles = Mapping[str, tuple[str, ...]]
"""The logins that serve sessions, each with the roles that its sessions may take."""


def compare_rights(
    catalog: Catalog, present: Mapping[Right, bool], protected: Sequence[Derived], logins: Roles
) -> Iterator[Difference]:
    expected = {
        Right(grant.table, role, right, column)
        for table in protected
        for grant in table.grants
        for role in grant.roles
        for right in grant.rights
        for column in (grant.columns or (None,))
        # Missing tables and columns are reported elsewhere; nothing can be granted on them.
        if table.table in catalog.row_security and (column is None or Key(table.table, column) in catalog.columns)
    }
    # Its own comparison creates the view with its grants.
    expected |= {right for right in present if right.table == credential_view.NAME and right.right == "INSERT"}
    own_roles = {*SESSION_ROLES, "PUBLIC", *logins}
    for table, role, right, column in sorted(expected - present.keys(), key=str):
        columns = f" ({column})" if column else ""
        yield Difference(
            Kind.GRANT, table, f"{role} lacks {right} on {table}{f'.{column}' if column else ''}",
            (f"GRANT {right}{columns} ON public.{table} TO {role};",),
        )  # fmt: skip
    for table, role, right, column in sorted(present.keys() - expected, key=str):
        columns = f' ("{column}")' if column else ""
        statement = f'REVOKE {right}{columns} ON public."{table}" FROM {role_name(role)};'
        sentence = f"{role} has {right} on {table}{f'.{column}' if column else ''}, which is not declared"
        if role in own_roles:
            yield Difference(Kind.GRANT, table, sentence, (statement,))
        else:
            yield Difference(
                Kind.GRANT, table, sentence, left=f"a role outside this layer; unless it is intended: {statement}"
            )

    for table, role, right, column in sorted((each for each in expected if present.get(each)), key=str):
        columns = f" ({column})" if column else ""
        statement = f"REVOKE GRANT OPTION FOR {right}{columns} ON public.{table} FROM {role} CASCADE;"
        yield Difference(Kind.GRANT, table, f"{role} may grant {right} on {table} to others", (statement,))


def compare_schema(connection: Connection, logins: Roles) -> Iterator[Difference]:
    roles = [*SESSION_ROLES, *logins]
    creators = connection.scalars(
        text(
            "SELECT rolname::text FROM pg_roles WHERE rolname = ANY (:roles)"
            " AND has_schema_privilege(oid, 'public', 'CREATE') ORDER BY 1"
        ),
        {"roles": roles},
    )
    for role in creators:
        yield Difference(
            Kind.SCHEMA, "public", f"{role} may create objects in the schema public",
            (f"REVOKE CREATE ON SCHEMA public FROM {role_name(role)}, PUBLIC;",),
        )  # fmt: skip
    outside = list(
        connection.scalars(
            text(
                "SELECT r.rolname::text FROM pg_roles r WHERE r.rolname = ANY (:roles) AND NOT EXISTS ("
                "  SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'public'"
                "     AND a.grantee = r.oid AND a.privilege_type = 'USAGE') ORDER BY 1"
            ),
            {"roles": list(SESSION_ROLES)},
        )
    )
    if outside:
        yield Difference(Kind.SCHEMA, "public", f"{', '.join(outside)} may not use the schema public", (USAGE,))
    yield from _compare_defaults(connection, roles)
    yield from _compare_large_objects(connection, roles)


_OBJECTS = {"r": "TABLES", "S": "SEQUENCES", "f": "FUNCTIONS", "T": "TYPES", "n": "SCHEMAS", "L": "LARGE OBJECTS"}


def _compare_defaults(connection: Connection, roles: list[str]) -> Iterator[Difference]:
    """Privileges that our roles get on new objects, and those that they give: every role may set its own defaults."""
    defaults = connection.execute(
        text(
            "SELECT DISTINCT o.rolname::text, d.defaclobjtype::text, coalesce(r.rolname::text, 'PUBLIC'),"
            " coalesce(' IN SCHEMA ' || quote_ident(n.nspname), ''), o.rolname = ANY (:roles),"
            " pg_has_role(d.defaclrole, 'USAGE')"
            " FROM pg_default_acl d CROSS JOIN aclexplode(d.defaclacl) a JOIN pg_roles o ON o.oid = d.defaclrole"
            " LEFT JOIN pg_roles r ON r.oid = a.grantee LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace"
            # Everybody has rights on new functions and types without any setting.
            " WHERE a.grantee <> d.defaclrole AND NOT (a.grantee = 0 AND d.defaclobjtype IN ('f', 'T'))"
            " AND (o.rolname = ANY (:roles) OR (n.nspname IS NULL OR n.nspname = 'public')"
            "      AND (r.rolname = ANY (:roles) OR a.grantee = 0 AND d.defaclobjtype IN ('r', 'S'))) ORDER BY 1, 2, 3"
        ),
        {"roles": roles},
    )
    for owner, kind, role, where, is_ours, is_allowed in defaults:
        what = _OBJECTS[kind]
        sentence = f"{role} gets privileges on all new {what.lower()} of {owner}"
        if is_ours:
            sentence = f"{owner} gives {role} privileges on all its new {what.lower()}"
        mend = (
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {role_name(owner)}{where} REVOKE ALL ON {what} FROM {role_name(role)};"
        )
        if is_allowed:
            yield Difference(Kind.SCHEMA, "public", sentence, (mend,))
        else:
            yield Difference(Kind.SCHEMA, "public", sentence, left=f"as a superuser: {mend}")


# Each takes a lock until the transaction ends.
_UNLINKED_AT_ONCE = 1_000


def _compare_large_objects(connection: Connection, roles: list[str]) -> Iterator[Difference]:
    """Large objects of our roles: every role may create them, and all sessions of the role read and change them."""
    found = connection.execute(
        text(
            "SELECT r.rolname::text, count(*), pg_has_role(r.oid, 'USAGE')"
            " FROM pg_largeobject_metadata m JOIN pg_roles r ON r.oid = m.lomowner WHERE r.rolname = ANY (:roles)"
            " GROUP BY r.oid, r.rolname ORDER BY 1"
        ),
        {"roles": roles},
    )
    for role, count, is_allowed in found:
        mend = (
            f"SELECT lo_unlink(o.oid) FROM (SELECT m.oid FROM pg_largeobject_metadata m WHERE m.lomowner ="
            f" '{role_name(role)}'::regrole LIMIT {_UNLINKED_AT_ONCE}) o;"
        )
        sentence = f"{role} has stored {count} large objects, which no policy protects and no log contains"
        if is_allowed:
            yield Difference(Kind.OBJECT, "pg_largeobject", sentence, (mend,))
        else:
            yield Difference(Kind.OBJECT, "pg_largeobject", sentence, left=f"as a superuser: {mend}")


def role_name(name: str) -> str:
    return name if name == "PUBLIC" else f'"{name}"'
