"""The SQL around the tables: roles and functions before them, their protection after them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, MetaData, Table, event, inspect

from src.database.schema import credential_view, derivation, sql_files
from src.database.schema.derivation import derived
from src.database.schema.objects import SESSION_ROLES
from src.database.schema.revisions import head, oldest_code
from src.database.schema.sql_files import functions
from src.errors import InvalidInput

# The types that triggers and functions of the database write; init_db seeds the others.
ROW_TYPES = """
INSERT INTO public.activity_types (code, name, category) VALUES
    ('row.insert', 'Row added', 'change'), ('row.update', 'Row changed', 'change'),
    ('row.delete', 'Row deleted', 'change'), ('row.baseline', 'Baseline of an existing row', 'change'),
    ('history.erased', 'Erased payloads of entries', 'history'), ('history.archived', 'Archived a month', 'history'),
    ('schema.applied', 'Functions and protection applied', 'history')
ON CONFLICT (code) DO NOTHING;
""".strip()
# These rows are inserted before they can be captured, so they need baseline entries.
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
    NULL; -- already dropped
END $body$;
DO $body$ BEGIN
    DROP ROLE {role};
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege OR undefined_object THEN
    NULL; -- another database of this server uses it
END $body$;"""
    for role in SESSION_ROLES
)


def code_build() -> int:
    """Return the build of this code: that of its functions plus that of the derivation."""
    return sql_files.build() + derivation.BUILD


def before_tables() -> str:
    """Return the SQL that must run before the tables exist: roles, and functions that column defaults call."""
    # Function bodies use tables that are created later.
    parts = [sql_files.roles(), "SET LOCAL check_function_bodies = off;", *(each.create() for each in functions())]
    return "\n\n".join(parts)


def after_tables(metadata: MetaData) -> str:
    """Return the SQL that protects the tables: partitions, triggers, row security, grants."""
    protected = (each.create() for each in derived(metadata))
    return "\n\n".join(
        [PARTITIONS, ROW_TYPES, USAGE, *protected, credential_view.CREATE, recorded(head()), ROW_TYPES_IN_LOG]
    )


def recorded(revision: str, *, build: int | None = None) -> str:
    """Return the statement that records the revision and build of this code in the database."""
    build = code_build() if build is None else build
    return f"SELECT public.record_schema('{revision}', {build}, '{min(revision, oldest_code())}');"


def after_drop() -> str:
    """Return the SQL that drops what `before_tables` created; the tables must have been dropped."""
    recorded_in = ("schema_revision()", "schema_build()", "schema_oldest_code()")
    constants = (f"DROP FUNCTION IF EXISTS public.{name};" for name in recorded_in)
    return "\n".join([credential_view.DROP, *(function.drop() for function in functions()), *constants, DROP_ROLES])


def execute(connection: Connection, sql: str) -> None:
    """Execute SQL that contains literal percent signs."""
    # Without parameters, psycopg2 does not interpret percent signs. Set for this statement only: on the connection, it
    # would double the percent signs in later CREATE TABLE statements.
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def protect(metadata: MetaData) -> None:
    """Extend `create_all()` and `drop_all()`: they also create and drop the protection of the tables.

    Both raise InvalidInput for a subset of the tables.
    """

    def install_functions(_: MetaData, connection: Connection, *, tables: Sequence[Table], **__: Any) -> None:
        absent = metadata.tables.keys() - {table.name for table in tables} - _existing(metadata, connection)
        if absent:
            raise InvalidInput(
                f"create_all() cannot protect a subset of the tables ({', '.join(sorted(absent))} would be missing);"
                " create all tables, or run: alembic upgrade head"
            )
        execute(connection, before_tables())

    def install_protection(_: MetaData, connection: Connection, **__: Any) -> None:
        execute(connection, after_tables(metadata))

    def require_all_tables(_: MetaData, connection: Connection, *, tables: Sequence[Table], **__: Any) -> None:
        # Dropping the functions cascades to triggers and policies, including those of remaining tables.
        remaining = _existing(metadata, connection) - {table.name for table in tables}
        if remaining:
            raise InvalidInput(
                f"drop_all() of a subset would leave other tables unprotected ({', '.join(sorted(remaining))});"
                " drop all tables"
            )

    def remove(_: MetaData, connection: Connection, **__: Any) -> None:
        execute(connection, after_drop())

    event.listen(metadata, "before_create", install_functions)
    event.listen(metadata, "after_create", install_protection)
    event.listen(metadata, "before_drop", require_all_tables)
    event.listen(metadata, "after_drop", remove)


def _existing(metadata: MetaData, connection: Connection) -> set[str]:
    return metadata.tables.keys() & set(inspect(connection).get_table_names("public"))
