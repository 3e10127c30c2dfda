"""Inspect a new connection: the version of the server, the revision, and whether row security applies to the login."""

from __future__ import annotations

from typing import Any

from src import errors
from src.database.connection.transaction_rules import DATE_STYLE_AFTERWARDS
from src.database.schema.objects import HARMLESS_SETTINGS
from src.database.schema.revisions import require_revision

OLDEST_SERVER = 150_000

_INSPECT = """
SELECT pg_catalog.to_regprocedure('public.schema_revision()') IS NOT NULL,
       pg_catalog.to_regprocedure('public.schema_oldest_code()') IS NOT NULL,
       (SELECT system_identifier FROM pg_catalog.pg_control_system()),
       pg_catalog.concat_ws(' ',
           -- --check reports these too; each of them exposes rows, so connections are rejected until they are repaired.
           (SELECT pg_catalog.string_agg(
                       pg_catalog.format('ALTER TABLE public.%%I ENABLE ROW LEVEL SECURITY;', c.relname), ' ')
              FROM pg_catalog.pg_class c
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
               AND NOT c.relrowsecurity AND t.owner IS NOT NULL
               AND EXISTS (SELECT FROM pg_catalog.pg_roles g WHERE g.rolname IN ('sti_app', 'sti_wide', 'sti_admin')
                              AND (pg_catalog.has_table_privilege(g.oid, c.oid, 'DELETE')
                                   OR pg_catalog.has_any_column_privilege(g.oid, c.oid, 'SELECT, INSERT, UPDATE')))),
           (SELECT pg_catalog.string_agg(pg_catalog.format('ALTER TABLE public.%%I ENABLE ALWAYS TRIGGER %%I;',
                                                           c.relname, g.tgname), ' ' ORDER BY c.relname, g.tgname)
              FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
             WHERE c.relnamespace = 'public'::regnamespace AND NOT g.tgisinternal AND g.tgenabled IN ('D', 'R')),
           (SELECT pg_catalog.string_agg(pg_catalog.format('ALTER ROLE %%I%%s RESET %%s;', g.rolname,
                       CASE WHEN s.setdatabase = 0 THEN '' ELSE ' IN DATABASE ' || pg_catalog.quote_ident(
                           pg_catalog.current_database()) END, pg_catalog.split_part(c.setting, '=', 1)), ' ')
              FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles g ON g.oid = s.setrole,
                   pg_catalog.unnest(s.setconfig) AS c (setting)
             -- Only those of the login take effect; any session can make settings of the roles that it takes.
             WHERE g.oid = r.oid
               AND pg_catalog.split_part(c.setting, '=', 1) <> ALL (%s)
               AND (s.setdatabase = 0 OR s.setdatabase = (SELECT d.oid FROM pg_catalog.pg_database d
                                                           WHERE d.datname = pg_catalog.current_database()))),
           CASE WHEN r.rolsuper THEN pg_catalog.format('ALTER ROLE %%I NOSUPERUSER;', r.rolname) END,
           CASE WHEN r.rolbypassrls THEN pg_catalog.format('ALTER ROLE %%I NOBYPASSRLS;', r.rolname) END,
           -- A member of a role that bypasses row security, or owns the tables, can bypass it with SET ROLE.
           (SELECT pg_catalog.string_agg(pg_catalog.format('REVOKE %%I FROM %%I;', m.rolname, r.rolname), ' ')
              FROM pg_catalog.pg_roles m
             WHERE m.oid <> r.oid AND NOT r.rolsuper AND pg_catalog.pg_has_role(r.oid, m.oid, 'MEMBER')
               AND (m.rolsuper OR m.rolbypassrls OR m.oid = t.owner)),
           CASE WHEN r.oid = t.owner THEN
               pg_catalog.format('-- %%I owns the tables: connect as the login that init_db created;', r.rolname) END)
  FROM (SELECT (SELECT c.relowner FROM pg_catalog.pg_class c
                 WHERE c.oid = pg_catalog.to_regclass('public.cases')) AS owner) AS t,
       pg_catalog.pg_roles r WHERE r.rolname = session_user
"""


def inspect_connection(connection: Any) -> dict[str, Any]:
    if connection.server_version < OLDEST_SERVER:
        raise errors.ServerTooOld(
            f"The server is PostgreSQL {connection.server_version // 10_000}; this layer needs version 15 or newer."
        )
    cursor = connection.cursor()
    try:
        cursor.execute(_INSPECT, (list(HARMLESS_SETTINGS),))
        has_schema, says_oldest, cluster, remedy = cursor.fetchone()
        revision, oldest_code = None, None
        if has_schema:
            cursor.execute(
                f"SELECT public.schema_revision(), {'public.schema_oldest_code()' if says_oldest else 'NULL'}"
            )
            revision, oldest_code = cursor.fetchone()
        # A transaction that rolls back returns to it: see driver_connection.py.
        cursor.execute("SELECT pg_catalog.set_config('DateStyle', %s, false)", (DATE_STYLE_AFTERWARDS,))
        connection.commit()
    finally:
        cursor.close()
        connection.rollback()
    if remedy:
        raise errors.UnsafeConnection(
            f"The login {connection.info.user} may not serve sessions as it is: row security does not apply to it or is"
            " not complete, or a role has settings of its own. Use the login that init_db creates (POSTGRES_APP_USER);"
            f" repair with init_db or as an administrator: {remedy}"
        )
    require_revision(revision, oldest_code)
    return {"cluster": cluster}
