"""Compare the attributes, memberships and settings of the logins that serve sessions, and of their roles."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from src.database.provisioning.compare_rights import Roles, role_name
from src.database.provisioning.differences import Difference, Kind
from src.database.schema import SESSION_ROLES
from src.database.schema.objects import HARMLESS_SETTINGS


def compare_logins(connection: Connection, logins: Roles) -> Iterator[Difference]:
    for login, roles in logins.items():
        yield from _compare_login(connection, login, roles)
    yield from _compare_members(connection, logins)


def _compare_login(connection: Connection, login: str, roles: tuple[str, ...]) -> Iterator[Difference]:
    row = connection.execute(
        text(
            "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication,"
            " rolinherit, rolcanlogin, rolvaliduntil < now(),"
            " ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
            "        WHERE m.member = r.oid),"
            " EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid)"
            " FROM pg_roles r WHERE r.rolname = :login"
        ),
        {"login": login},
    ).one_or_none()

    def difference(sentence: str, left: str) -> Difference:
        return Difference(Kind.LOGIN, login, sentence, left=left)

    if row is None:
        yield difference(f"the login {login} is missing", "init_db creates it")
        return
    powerful, inherits, can_login, has_ended, groups, owner = row
    if powerful:
        yield difference(
            f"the login {login} has too many privileges to serve sessions",
            f'ALTER ROLE "{login}" NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION',
        )
    if inherits:
        yield difference(f"the login {login} inherits privileges", f'ALTER ROLE "{login}" NOINHERIT')
    if not can_login or has_ended:
        yield difference(f"the login {login} may not log in", f"ALTER ROLE \"{login}\" LOGIN VALID UNTIL 'infinity'")
    if owner:
        yield difference(f"the login {login} owns tables", "ALTER TABLE … OWNER TO the owner of the database")
    for lacking in sorted(set(roles) - set(groups)):
        yield difference(f"the login {login} is not a member of {lacking}", f'GRANT {lacking} TO "{login}"')
    for extra in sorted(set(groups) - set(roles)):
        yield difference(f"the login {login} is a member of {extra}", f'REVOKE "{extra}" FROM "{login}"')
    yield from _compare_memberships(connection, login)


def _compare_memberships(connection: Connection, login: str) -> Iterator[Difference]:
    """Yield memberships of a login in a role of sessions with other options than those of init_db."""
    # Since PostgreSQL 16 each membership says whether it inherits and permits SET ROLE; before, the attribute of the
    # login says the former. to_jsonb reads columns that only exist in some versions.
    memberships = connection.execute(
        text(
            "SELECT g.rolname::text, bool_or(m.admin_option),"
            " bool_or(coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, false)),"
            " bool_or(coalesce((to_jsonb(m) ->> 'set_option')::boolean, true))"
            " FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member"
            " WHERE r.rolname = :login AND g.rolname = ANY (:roles) GROUP BY g.rolname ORDER BY 1"
        ),
        {"login": login, "roles": list(SESSION_ROLES)},
    )
    for role, administers, inherits, may_set in memberships:
        if administers:
            yield Difference(
                Kind.LOGIN, login, f"the login {login} may make others members of {role}",
                left=f'REVOKE ADMIN OPTION FOR {role} FROM "{login}"',
            )  # fmt: skip
        if inherits:
            yield Difference(
                Kind.LOGIN, login, f"the login {login} inherits privileges of {role}",
                left=f'GRANT {role} TO "{login}" WITH INHERIT FALSE',
            )  # fmt: skip
        if not may_set:
            yield Difference(
                Kind.LOGIN, login, f"the login {login} may not take the role {role}",
                left=f'GRANT {role} TO "{login}" WITH SET TRUE',
            )  # fmt: skip


def _compare_members(connection: Connection, logins: Roles) -> Iterator[Difference]:
    """Yield other roles that may act as a role of sessions in this database; nothing without `logins`."""
    if not logins:
        return
    found = connection.execute(
        text(
            "SELECT g.rolname::text, r.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
            " JOIN pg_roles r ON r.oid = m.member WHERE g.rolname = ANY (:roles) AND r.rolname <> ALL (:logins)"
            " AND NOT r.rolsuper AND has_database_privilege(r.oid, current_database(), 'CONNECT')"
            # Since PostgreSQL 16, the creator of a role administers it. Logins of other databases of the server have
            # no schema here: they may take the roles and still see no row without a token.
            " AND NOT m.admin_option AND r.rolname !~ '_(app|admin)$' ORDER BY 1, 2"
        ),
        {"roles": list(SESSION_ROLES), "logins": list(logins)},
    )
    for role, member in found:
        yield Difference(
            Kind.LOGIN, member, f"{member} is a member of {role}, and no login of this database",
            left=f'unless it is intended: REVOKE {role} FROM "{member}"',
        )  # fmt: skip


def compare_role_settings(connection: Connection, logins: Roles) -> Iterator[Difference]:
    """Yield each setting of our roles: a session can change those of its own login, for all later sessions."""
    found = connection.execute(
        text(
            "SELECT r.rolname::text, d.datname::text, split_part(c.setting, '=', 1)"
            " FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole"
            " LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS c (setting)"
            " WHERE r.rolname = ANY (:roles) AND split_part(c.setting, '=', 1) <> ALL (:harmless)"
            " AND (s.setdatabase = 0 OR d.datname = current_database()) ORDER BY 1, 2, 3"
        ),
        {"roles": [*SESSION_ROLES, *logins], "harmless": list(HARMLESS_SETTINGS)},
    )
    for role, database, setting in found:
        where = "" if database is None else f' IN DATABASE "{database}"'
        yield Difference(
            Kind.LOGIN,
            role,
            f"the setting {setting} of the role {role} applies to all its sessions",
            (f"ALTER ROLE {role_name(role)}{where} RESET {setting};",),
        )
