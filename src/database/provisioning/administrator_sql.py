"""The SQL that the administrator of a server runs once, so that an owner without further rights can do the rest.

A script for psql, since a database is created outside of transactions and extensions are created inside of it. It asks
the server for its version and for what exists, so it can be written without a connection, and run again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from src.database.models import Base
from src.database.provisioning.extensions import EXTENSIONS, HIDE_STATEMENTS
from src.database.schema import SESSION_ROLES, credential_view, functions, sql_files
from src.database.schema.objects import HARMLESS_SETTINGS
from src.errors import InvalidInput

_RECORDED = ("schema_revision", "schema_build", "schema_oldest_code")


@dataclass(frozen=True)
class Role:
    """A role that can log in: its verifier if known, and the roles that its sessions may take.

    `password` is `PASSWORD '…'` or empty; `resets` gives it to an existing role too.
    """

    name: str
    verifier: str | None
    member_of: tuple[str, ...] = ()
    resets: bool = False


def administrator_sql(database: str, owner: Role, logins: Sequence[Role], required_extensions: Sequence[str]) -> str:
    """Return the script. It contains verifiers of passwords, never a password.

    Raises InvalidInput for a name that psql cannot read.
    """
    for name in (database, owner.name, *(login.name for login in logins), *required_extensions):
        if not name or not name.isprintable() or len(name.encode()) > 63 or "$do$" in name:
            raise InvalidInput(f"The name {name!r} is not 1 to 63 bytes of printable text; choose another one.")
    parts = [
        _HEAD.format(database=database),
        _create_role(owner, "LOGIN"),
        "-- The roles of sessions.\n" + sql_files.roles().partition("\n\n")[2].strip(),
        *(_login(login, database) for login in logins),
        _filled(_DATABASE, database=database, owner=owner.name),
        f"\\connect {_connection(database)}\n{_SETTINGS}",
        _filled(_SCHEMA, owner=owner.name),
        _filled(
            _OWNERS,
            owner=owner.name,
            tables=[*Base.metadata.tables, "alembic_version", credential_view.NAME],
            functions=[*(function.name for function in functions()), *_RECORDED],
        ),
        _filled(_EXTENSIONS, names=[name for name in EXTENSIONS if name not in required_extensions]),
        *(f"CREATE EXTENSION IF NOT EXISTS {_name(name)};" for name in required_extensions),
        HIDE_STATEMENTS.strip() + ";",
        _filled(_STATEMENTS, owner=owner.name),
        _TAIL.format(owner=owner.name),
    ]
    return "\n\n".join(parts) + "\n"


def _login(login: Role, database: str) -> str:
    attributes = "LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    parts = [
        _create_role(login, attributes),
        f"ALTER ROLE {_name(login.name)} LOGIN NOINHERIT VALID UNTIL 'infinity';",
        _filled(_MEMBERSHIPS, login=login.name, roles=login.member_of, others=_without(login.member_of)),
        _filled(_RESET, roles=[login.name, *SESSION_ROLES], database=database, harmless=HARMLESS_SETTINGS),
    ]
    return "\n".join(parts)


def _create_role(role: Role, attributes: str) -> str:
    name = _name(role.name)
    password = f" PASSWORD {_literal(role.verifier)}" if role.verifier else ""
    create = _filled(_CREATE_ROLE, name=role.name, create=f"CREATE ROLE {name} {attributes}{password}")
    reset = f"\nALTER ROLE {name} PASSWORD {_literal(role.verifier)};" if role.resets and role.verifier else ""
    return create + reset


def _without(roles: Sequence[str]) -> list[str]:
    return [role for role in SESSION_ROLES if role not in roles]


def _filled(block: str, **values: str | Sequence[str]) -> str:
    """Replace each `:name:` with a literal: of a text, or of an array of texts."""
    literals = {
        f":{name}:": _literal(value) if isinstance(value, str) else _array(value) for name, value in values.items()
    }
    return re.sub("|".join(literals), lambda found: literals[found[0]], block).strip()


def _array(values: Sequence[str]) -> str:
    return f"ARRAY[{', '.join(map(_literal, values))}]::text[]"


def _literal(value: str) -> str:
    quoted = value.replace("'", "''")
    # In this form a backslash means the same whatever standard_conforming_strings is.
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _connection(database: str) -> str:
    """Return the argument of psql's `connect`, as pg_dump writes it: a name may look like a connection string."""
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return "-reuse-previous=on " + _name(f"dbname='{escaped}'")


_SETTINGS = """
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET client_min_messages = warning;
SET search_path = pg_catalog;
""".strip()

_HEAD = (
    """
-- What the administrator of the server runs once for the database {database}, with psql:
--
--     psql -X -d postgres -f FILE
--
-- It may be run again, and before or after the database exists. It contains verifiers of passwords (SCRAM-SHA-256), no
-- passwords; still keep it away from others, who could try passwords with it.
\\set ON_ERROR_STOP on
""".strip()
    + f"\n{_SETTINGS}"
)

_CREATE_ROLE = """
DO $do$ BEGIN
    IF to_regrole(quote_ident(:name:)) IS NULL THEN
        EXECUTE :create:;
    END IF;
END $do$;
"""

# Since PostgreSQL 16 the options belong to the membership; before, inheriting is an attribute of the member.
_MEMBERSHIPS = """
DO $do$
DECLARE
    role text;
    options text := CASE WHEN current_setting('server_version_num')::integer >= 160000
                         THEN ' WITH ADMIN FALSE, INHERIT FALSE, SET TRUE' ELSE '' END;
BEGIN
    FOREACH role IN ARRAY :roles: LOOP
        EXECUTE format('GRANT %I TO %I', role, :login:) || options;
    END LOOP;
    FOREACH role IN ARRAY :others: LOOP
        IF EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = to_regrole(quote_ident(role))
                      AND m.member = to_regrole(quote_ident(:login:))) THEN
            EXECUTE format('REVOKE %I FROM %I', role, :login:);
        END IF;
    END LOOP;
END $do$;
"""

_RESET = """
DO $do$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT r.rolname, d.datname, split_part(c.setting, '=', 1) AS setting
          FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
          LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS c (setting)
         WHERE r.rolname = ANY (:roles:) AND (s.setdatabase = 0 OR d.datname = :database:)
           AND split_part(c.setting, '=', 1) <> ALL (:harmless:)
    LOOP
        EXECUTE format('ALTER ROLE %I%s RESET %I', found.rolname,
                       CASE WHEN found.datname IS NULL THEN '' ELSE format(' IN DATABASE %I', found.datname) END,
                       found.setting);
    END LOOP;
END $do$;
"""

_DATABASE = """
-- An administrator without superuser may give a database only to a role that it is a member of.
DO $do$ BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        IF current_setting('server_version_num')::integer >= 160000 THEN
            EXECUTE format('GRANT %I TO %I WITH INHERIT TRUE, SET TRUE', :owner:, current_user);
        ELSIF NOT pg_has_role(current_user, :owner:, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO %I', :owner:, current_user);
        END IF;
    END IF;
END $do$;
SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8''', :database:, :owner:)
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :database:) \\gexec
SELECT format('ALTER DATABASE %I OWNER TO %I', :database:, :owner:)
 WHERE EXISTS (SELECT FROM pg_database WHERE datname = :database: AND pg_get_userbyid(datdba) <> :owner:) \\gexec
"""

_SCHEMA = """
-- The owner of the database owns the schema public, by the role pg_database_owner.
DO $do$ BEGIN
    IF NOT pg_has_role(:owner:, (SELECT nspowner FROM pg_namespace WHERE nspname = 'public'), 'USAGE') THEN
        EXECUTE format('ALTER SCHEMA public OWNER TO %I', :owner:);
    END IF;
END $do$;
"""

# Partitions of the log, and tables that services registered, belong to the owner too.
_OWNERS = """
-- After a restore by another login: tables and functions of this layer get their owner.
DO $do$
DECLARE
    found record;
    names text[] := :tables:;
BEGIN
    IF to_regclass('public.protected_tables') IS NOT NULL THEN
        EXECUTE 'SELECT $1 || array_agg(name) FROM public.protected_tables' INTO names USING names;
    END IF;
    FOR found IN
        SELECT format('ALTER %s %s OWNER TO %I', CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, c.oid::regclass,
                      :owner:) AS statement
          FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
           AND (c.relname = ANY (names) OR c.relname ~ '^activity_logs_([0-9]{4}_[0-9]{2}|default)$')
           AND pg_get_userbyid(c.relowner) <> :owner:
        UNION ALL
        SELECT format('ALTER FUNCTION %s OWNER TO %I', p.oid::regprocedure, :owner:)
          FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f'
           AND p.proname = ANY (:functions:) AND pg_get_userbyid(p.proowner) <> :owner:
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                              AND d.deptype = 'e')
    LOOP
        EXECUTE found.statement;
    END LOOP;
END $do$;
"""

_EXTENSIONS = """
-- Optional: the layer works without them, more slowly.
DO $do$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY :names: LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_extension WHERE extname = wanted)
                   OR NOT EXISTS (SELECT FROM pg_available_extensions a WHERE a.name = wanted);
        BEGIN
            EXECUTE format('CREATE EXTENSION %I SCHEMA public', wanted);
        EXCEPTION WHEN insufficient_privilege OR undefined_file THEN
            RAISE WARNING 'the optional extension % cannot be created: %', wanted, SQLERRM;
        END;
    END LOOP;
END $do$;
"""

_STATEMENTS = """
-- The owner reads the statistics of statements; sessions do not, since all actors share one role.
DO $do$
DECLARE
    part text;
BEGIN
    IF EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_stat_statements'
                  AND pg_get_userbyid(e.extowner) = current_user) THEN
        FOR part IN
            SELECT c.oid::regclass::text FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
              JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_stat_statements' WHERE c.relkind = 'v'
            UNION ALL
            SELECT 'FUNCTION ' || p.oid::regprocedure FROM pg_proc p
              JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
              JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_stat_statements'
             WHERE p.proname !~ 'reset'
        LOOP
            EXECUTE format('GRANT %s ON %s TO %I', CASE WHEN part ~ '^FUNCTION ' THEN 'EXECUTE' ELSE 'SELECT' END, part,
                           :owner:);
        END LOOP;
    END IF;
END $do$;
"""

_TAIL = """
-- Next, as {owner}: python -m src.database.scripts.init_db
""".strip()
