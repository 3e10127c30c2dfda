"""Optional contrib extensions for performance, and the indexes that need them."""

from __future__ import annotations

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from src import errors
from src.database.schema.creation import execute
from src.database.schema.derivation import unsampled_index

EXTENSIONS = ("pg_trgm", "unaccent", "pg_stat_statements")
# For substring searches in names. Not part of the schema: without the extension, names are found without these indexes.
NAME_INDEXES = {
    "cases_case_code_trgm_idx": ("cases", "lower(case_code)"),
    "cases_title_trgm_idx": ("cases", "lower(title)"),
    "audio_files_name_trgm_idx": ("audio_files", "lower(name)"),
    "users_username_trgm_idx": ("users", "lower(username)"),
    "users_full_name_trgm_idx": ("users", "lower(full_name)"),
}

# All actors share one database role, and the view shows all statements of the role, including words of other cases.
HIDE_STATEMENTS = """
DO $body$
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT c.oid::regclass::text AS name, 'TABLE' AS kind FROM pg_extension e
          JOIN pg_depend d ON d.refobjid = e.oid AND d.deptype = 'e'
          JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'v'
         WHERE e.extname = 'pg_stat_statements' AND pg_get_userbyid(e.extowner) = current_user
        UNION ALL
        SELECT p.oid::regprocedure::text, 'FUNCTION' FROM pg_extension e
          JOIN pg_depend d ON d.refobjid = e.oid AND d.deptype = 'e' JOIN pg_proc p ON p.oid = d.objid
         WHERE e.extname = 'pg_stat_statements' AND pg_get_userbyid(e.extowner) = current_user
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM PUBLIC', part.kind, part.name);
    END LOOP;
END $body$
"""


def create_extensions(connection: Connection, required: str) -> dict[str, bool]:
    """Create the optional contrib extensions; return for each whether it exists now.

    The schema works without them. Raises ExtensionMissing for an extension that the settings require.
    """
    required_names = [name.strip() for name in required.split(",") if name.strip()]
    present = {}
    for name in (*EXTENSIONS, *(extra for extra in required_names if extra not in EXTENSIONS)):
        quoted = connection.dialect.identifier_preparer.quote_identifier(name)
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"CREATE EXTENSION IF NOT EXISTS {quoted}")
            present[name] = True
        except DBAPIError as error:
            if name in required_names:
                raise errors.ExtensionMissing(
                    f"The extension {name} cannot be created. Install it on the server (Debian:"
                    " postgresql-contrib) and ask its administrator to run: CREATE EXTENSION " + quoted
                ) from error
            present[name] = False
    execute(connection, HIDE_STATEMENTS)
    return present


def unused_statistics(connection: Connection) -> str | None:
    """Return a sentence when the server collects statistics of statements that nobody can read here; else None."""
    # The setting exists only where the library is loaded.
    is_unused = connection.scalar(
        text(
            "SELECT current_setting('pg_stat_statements.max', true) IS NOT NULL"
            " AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements')"
        )
    )
    if not is_unused:
        return None
    return (
        "the server has loaded pg_stat_statements, but its extension is missing here; what init_db --admin-sql prints"
        " creates it (optional)"
    )


def create_name_indexes(connection: Connection, *, concurrently: bool = False) -> bool:
    """Create the missing indexes for substring searches in names; return whether pg_trgm is installed.

    Blocks writers, except with `concurrently`, which cannot run in a transaction.
    """
    schema = connection.scalar(
        text(
            "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname = 'pg_trgm'"
        )
    )
    if schema is None:
        return False
    how = "CONCURRENTLY " if concurrently else ""
    for name, (table, expression) in NAME_INDEXES.items():
        connection.exec_driver_sql(
            f"CREATE INDEX {how}IF NOT EXISTS {name} ON public.{table} USING gin ({expression} {schema}.gin_trgm_ops)"
        )
        if table != "users":
            connection.exec_driver_sql(unsampled_index(name))
    return True
