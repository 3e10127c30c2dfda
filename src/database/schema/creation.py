"""The SQL around the tables: roles and functions before them, what protects them after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, MetaData, Table, event, inspect

from src.database.schema import derivation, sql_files
from src.database.schema.derivation import derived
from src.database.schema.objects import SESSION_ROLES
from src.database.schema.revisions import head, oldest_code
from src.database.schema.sql_files import functions
from src.errors import InvalidInput

# What the triggers themselves write; init_db seeds the others.
ROW_TYPES = """
INSERT INTO public.activity_types (code, name, category) VALUES
    ('row.insert', 'Row added', 'change'), ('row.update', 'Row changed', 'change'),
    ('row.delete', 'Row deleted', 'change'), ('row.baseline', 'Row found when capture began', 'change'),
    ('history.erased', 'Erased what entries said', 'history'), ('history.archived', 'Archived a month', 'history'),
    ('schema.applied', 'Functions and protection applied', 'history')
ON CONFLICT (code) DO NOTHING;
""".strip()
# They came before their capture could.
ROW_TYPES_IN_LOG = "SELECT public.write_baseline('activity_types', 1000);"
PARTITIONS = """
CREATE TABLE IF NOT EXISTS public.activity_logs_default PARTITION OF public.activity_logs DEFAULT;
SELECT public.ensure_activity_partitions(3);
""".strip()
USAGE = f"GRANT USAGE ON SCHEMA public TO {', '.join(SESSION_ROLES)};"
DROP_ROLES = "\n".join(
    f"""DO $body$ BEGIN
    REVOKE ALL ON SCHEMA public FROM {role};
EXCEPTION WHEN undefined_object THEN
    NULL; -- removed before
END $body$;
DO $body$ BEGIN
    DROP ROLE {role};
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege OR undefined_object THEN
    NULL; -- another database of this server uses it
END $body$;"""
    for role in SESSION_ROLES
)


def code_build() -> int:
    """Return the build of this code: of its functions and of what is derived from declarations."""
    return sql_files.build() + derivation.BUILD


def before_tables() -> str:
    """Return the SQL that must run before the tables exist: roles, and functions that column defaults call."""
    # Function bodies name tables that come later.
    parts = [sql_files.roles(), "SET LOCAL check_function_bodies = off;", *(each.create() for each in functions())]
    return "\n\n".join(parts)


def after_tables(metadata: MetaData) -> str:
    """Return the SQL that makes the tables safe: partitions, triggers, row security, grants."""
    protected = (each.create() for each in derived(metadata))
    return "\n\n".join([PARTITIONS, ROW_TYPES, USAGE, *protected, recorded(head()), ROW_TYPES_IN_LOG])


def recorded(revision: str, *, build: int | None = None) -> str:
    """Return the statement by which the database remembers what code made it."""
    build = code_build() if build is None else build
    return f"SELECT public.record_schema('{revision}', {build}, '{min(revision, oldest_code())}');"


def after_drop() -> str:
    """Return the SQL that removes what `before_tables` made, once the tables are gone."""
    recorded_in = ("schema_revision()", "schema_build()", "schema_oldest_code()")
    constants = (f"DROP FUNCTION IF EXISTS public.{name};" for name in recorded_in)
    return "\n".join([*(function.drop() for function in functions()), *constants, DROP_ROLES])


def execute(connection: Connection, sql: str) -> None:
    """Execute SQL that has percent signs of its own."""
    # Without parameters psycopg2 leaves the percent signs alone. Set for this statement only: set on the connection, it
    # would double those of the tables that are made next.
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def protect(metadata: MetaData) -> None:
    """Make `create_all()` install, and `drop_all()` remove, what the tables are not safe without.

    Both raise InvalidInput when they are asked for some of the tables only.
    """

    def install_functions(_: MetaData, connection: Connection, *, tables: Sequence[Table], **__: Any) -> None:
        absent = metadata.tables.keys() - {table.name for table in tables} - _existing(metadata, connection)
        if absent:
            raise InvalidInput(
                f"create_all() of some tables cannot protect them ({', '.join(sorted(absent))} would be missing);"
                " create all tables, or run: alembic upgrade head"
            )
        execute(connection, before_tables())

    def install_protection(_: MetaData, connection: Connection, **__: Any) -> None:
        execute(connection, after_tables(metadata))

    def refuse_remains(_: MetaData, connection: Connection, *, tables: Sequence[Table], **__: Any) -> None:
        # Removing the functions takes triggers and policies along, also those of a table that stays.
        remaining = _existing(metadata, connection) - {table.name for table in tables}
        if remaining:
            raise InvalidInput(
                f"drop_all() of some tables would leave others unprotected ({', '.join(sorted(remaining))});"
                " drop all tables"
            )

    def remove(_: MetaData, connection: Connection, **__: Any) -> None:
        execute(connection, after_drop())

    event.listen(metadata, "before_create", install_functions)
    event.listen(metadata, "after_create", install_protection)
    event.listen(metadata, "before_drop", refuse_remains)
    event.listen(metadata, "after_drop", remove)


def _existing(metadata: MetaData, connection: Connection) -> set[str]:
    return metadata.tables.keys() & set(inspect(connection).get_table_names("public"))
