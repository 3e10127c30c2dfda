"""What a database must be like before the first change: encoding, locale, the schema `public`, nobody else's tables.

Each requirement is checked before anything changes, and reported in one sentence with the remedy.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from src import errors
from src.database.models import Base
from src.database.schema import functions
from src.database.schema.revisions import known

# Names of users, logins and searches are compared with lower(), and the index of transcripts is made by text search,
# which may follow another locale than lower(). `I` is folded to another letter by Turkish locales.
_FACTS = text("""
    SELECT current_user AS "user",
           lower(:letters) = :folded
           AND ts_lexize('pg_catalog.simple', :letters) = ARRAY[CAST(:folded AS text)] AS folds,
           (SELECT datctype::text FROM pg_database WHERE datname = current_database()) AS ctype,
           (SELECT n.nspowner = 'pg_database_owner'::regrole FROM pg_namespace n WHERE n.nspname = 'public')
               AS owned_by_database_owner,
           to_regnamespace('public') IS NOT NULL AS has_schema,
           CASE WHEN to_regnamespace('public') IS NOT NULL
                THEN has_schema_privilege('public', 'CREATE') AND has_schema_privilege('public', 'USAGE') END
               AS may_create
""")
_LETTERS, _FOLDED = "ÀÉÖЖΩIZ", "àéöжωiz"

_RELATIONS = text("""
    SELECT c.relname::text FROM pg_class c
     WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (:names)
    UNION
    SELECT t.typname::text FROM pg_type t
     WHERE t.typnamespace = 'public'::regnamespace AND t.typname = ANY (:names) AND t.typrelid = 0
     ORDER BY 1
""")
_FUNCTIONS = text("""
    SELECT DISTINCT p.proname::text FROM pg_proc p
     WHERE p.pronamespace = 'public'::regnamespace AND p.proname = ANY (:names)
       -- An extension's function has other arguments, or its name is reported by the comparison.
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
     ORDER BY 1
""")


def require_surroundings(connection: Connection) -> None:
    """Raise ConfigurationError, RightMissing or SchemaMismatch when this layer cannot live in this database."""
    database = _require_encoding(connection)
    facts = connection.execute(_FACTS, {"letters": _LETTERS, "folded": _FOLDED}).one()
    if not facts.folds:
        raise errors.ConfigurationError(
            f"In the database {database} (LC_CTYPE {facts.ctype}) lower() or text search does not fold all"
            f" letters, so Élodie and élodie would be two users. {create_instead(connection, database)}"
        )
    if not facts.has_schema:
        raise errors.SchemaMismatch(
            f"The database {database} has no schema public, in which the tables of this layer lie. Run:"
            f' CREATE SCHEMA public AUTHORIZATION "{facts.user}"'
        )
    if not facts.may_create:
        remedy = (
            f'ALTER DATABASE "{database}" OWNER TO "{facts.user}"'
            if facts.owned_by_database_owner
            else f'ALTER SCHEMA public OWNER TO "{facts.user}"'
        )
        raise errors.RightMissing(
            f"{facts.user} may not create tables in {database}. Ask the administrator of the server to run: {remedy}"
        )
    _require_no_foreign_tables(connection, database)


def _require_encoding(connection: Connection) -> str:
    """Return the name of the database. Raises ConfigurationError unless it and the connection are UTF-8."""
    database, encoding, client_encoding = connection.execute(
        text("SELECT current_database(), current_setting('server_encoding'), current_setting('client_encoding')")
    ).one()
    if encoding != "UTF8":
        raise errors.ConfigurationError(
            f"The database {database} has the encoding {encoding}; this layer needs UTF8."
            f" {create_instead(connection, database)}"
        )
    if client_encoding.upper() not in {"UTF8", "UNICODE"}:
        raise errors.ConfigurationError(
            f"The connection to {database} has the client encoding {client_encoding}; this layer needs UTF8. Remove"
            " client_encoding from the URL."
        )
    return str(database)


def create_instead(connection: Connection, database: str) -> str:
    """Return the sentence that says how to create a database with the right encoding and locale on this server."""
    return (
        "Create another and set POSTGRES_DB or DATABASE_URL to it, for example:"
        f' CREATE DATABASE "{database}_utf8" TEMPLATE template0 {locale_options(connection)}'
    )


def locale_options(connection: Connection) -> str:
    """Return options of CREATE DATABASE that fold all letters on this server."""
    version: int = connection.connection.dbapi_connection.server_version  # type: ignore[union-attr] # psycopg2's own attribute
    if version >= 170_000:
        return "ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C.UTF-8'"
    return "ENCODING 'UTF8' LOCALE 'C.UTF-8'"


def _require_no_foreign_tables(connection: Connection, database: str) -> None:
    """Raise SchemaMismatch for tables, an alembic_version or functions of our names that are not ours."""
    recorded = _recorded_revisions(connection, database)
    foreign = sorted(recorded) if recorded.isdisjoint(known()) else []
    ours = connection.scalar(text("SELECT to_regprocedure('public.schema_revision()') IS NOT NULL"))
    if foreign and not ours:
        raise errors.SchemaMismatch(
            f"The table public.alembic_version in {database} is at revision {', '.join(foreign)}, which is not one of"
            " this layer: the database belongs to another project. Use a database of its own for this layer."
        )
    tables = sorted(Base.metadata.tables)
    found = list(connection.scalars(_RELATIONS, {"names": tables}))
    if recorded and not found:
        raise errors.SchemaMismatch(
            f"The table public.alembic_version in {database} is at revision {', '.join(sorted(recorded))}, but no table"
            " of this layer exists: it belongs to another project, or the tables were dropped. Use an empty database,"
            " or restore a backup."
        )
    if recorded or ours:
        return
    indexes = [str(index.name) for table in Base.metadata.tables.values() for index in table.indexes]
    found = list(connection.scalars(_RELATIONS, {"names": [*tables, *indexes]}))
    if found:
        raise errors.SchemaMismatch(
            f"The schema public of {database} already contains {_listed(found)}, which this layer did not create"
            " (no revision is recorded in alembic_version). Use a database of its own for this layer."
        )
    taken = list(connection.scalars(_FUNCTIONS, {"names": [each.name for each in functions()]}))
    if taken:
        raise errors.SchemaMismatch(
            f"The schema public of {database} already contains functions with names of this layer: {_listed(taken)}."
            " Use a database of its own for this layer."
        )


def _recorded_revisions(connection: Connection, database: str) -> set[str]:
    """Return the revisions in alembic_version; none without the table. Raises SchemaMismatch for another table."""
    kind = connection.scalar(
        text(
            "SELECT CASE WHEN c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid"
            " AND a.attname = 'version_num' AND NOT a.attisdropped) THEN 'table' ELSE 'other' END"
            " FROM pg_class c WHERE c.oid = to_regclass('public.alembic_version')"
        )
    )
    if kind is None:
        return set()
    readable = connection.scalar(text("SELECT has_table_privilege('public.alembic_version', 'SELECT')"))
    if kind == "other" or not readable:
        raise errors.SchemaMismatch(
            f"public.alembic_version in {database} is not Alembic's table, or belongs to another owner. Use a database"
            " of its own for this layer."
        )
    return {str(each) for each in connection.scalars(text("SELECT version_num FROM public.alembic_version"))}


def _listed(names: list[str], most: int = 5) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
