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
    defaults = connection.execute(
        text(
            "SELECT DISTINCT d.defaclrole::regrole::text, d.defaclobjtype::text, coalesce(r.rolname::text, 'PUBLIC'),"
            " d.defaclnamespace <> 0 FROM pg_default_acl d, aclexplode(d.defaclacl) a"
            " LEFT JOIN pg_roles r ON r.oid = a.grantee"
            " WHERE (d.defaclnamespace = 0 OR d.defaclnamespace = 'public'::regnamespace)"
            " AND d.defaclobjtype IN ('r', 'S') AND (a.grantee = 0 OR r.rolname = ANY (:roles)) ORDER BY 1, 2, 3"
        ),
        {"roles": roles},
    )
    for owner, kind, role, in_schema in defaults:
        what = {"r": "TABLES", "S": "SEQUENCES"}[kind]
        where = " IN SCHEMA public" if in_schema else ""
        yield Difference(
            Kind.SCHEMA, "public", f"{role} gets privileges on all new {what.lower()} of {owner}",
            (f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner}{where} REVOKE ALL ON {what} FROM {role_name(role)};",),
        )  # fmt: skip


def role_name(name: str) -> str:
    return name if name == "PUBLIC" else f'"{name}"'
