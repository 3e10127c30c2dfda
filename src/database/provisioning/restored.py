"""Recognise a database that a restore left incomplete or with another owner, before anything is changed in it."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from src import errors
from src.database.models import Base
from src.database.provisioning.catalog import Catalog
from src.database.provisioning.differences import Difference, Kind

_AGAIN = (
    "Restore the backup again into an empty database, with psql -v ON_ERROR_STOP=1 or pg_restore --exit-on-error, as"
    " docs/operations.md says."
)
# Fewer are damages by hand, each with the statement that repairs it.
_MANY = 5
_STATE = text("""
    SELECT EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname = 'append_activity'),
           ARRAY(SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
                    AND c.relkind IN ('r', 'p') AND c.relname = ANY (:tables)),
           to_regprocedure('public.schema_revision()') IS NOT NULL,
           to_regclass('public.alembic_version') IS NOT NULL
""")
_OTHER_OWNERS = text("""
    SELECT pg_get_userbyid(c.relowner)::text, current_user::text, count(*)
      FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
       AND (c.relname = ANY (:tables) OR c.relname = 'alembic_version' OR c.relname ~ '^activity_logs_')
       AND NOT pg_has_role(c.relowner, 'USAGE') GROUP BY c.relowner ORDER BY 3 DESC
""")


def require_own_tables(connection: Connection) -> None:
    """Raise RightMissing when tables of this layer belong to a role whose rights this login does not have."""
    found = connection.execute(_OTHER_OWNERS, {"tables": list(Base.metadata.tables)}).first()
    if found is not None:
        owner, user, count = found
        raise errors.RightMissing(
            f"{count} tables of this layer belong to {owner}, not to {user}, as after a restore by another login."
            " The administrator of the server gives them to it with what this prints:"
            " python -m src.database.scripts.init_db --admin-sql"
        )


def require_whole(connection: Connection) -> None:
    """Raise SchemaMismatch when functions of this layer exist, but its tables or their revision do not.

    To be called before an upgrade: a restore that stopped early would otherwise be taken for an empty database.
    """
    has_functions, tables, is_complete, has_revisions = connection.execute(
        _STATE, {"tables": list(Base.metadata.tables)}
    ).one()
    revision = connection.scalar(text("SELECT version_num FROM public.alembic_version")) if has_revisions else None
    if not has_functions or revision is not None or not (tables or is_complete):
        return
    raise errors.SchemaMismatch(
        f"The database is incomplete: it has functions of this layer and {len(tables)} of its"
        f" {len(Base.metadata.tables)} tables, but no revision is recorded, as after a restore that stopped early."
        f" {_AGAIN}"
    )


def compare_restored(present: Catalog, expected: Catalog) -> Iterator[Difference]:
    """Yield one difference when so much is missing that a restore must have stopped or skipped its errors."""
    tables = [name for name in Base.metadata.tables if name not in present.row_security]
    keys = [key for key in expected.constraints if key.table in present.row_security and key not in present.constraints]
    indexes = [key for key in expected.indexes if key.table in present.row_security and key not in present.indexes]
    parts = [f"{len(found)} {word}" for found, word in ((tables, "tables"), (keys, "constraints"), (indexes, "indexes"))
             if found]  # fmt: skip
    if len(tables) + len(keys) + len(indexes) >= _MANY:
        yield Difference(
            Kind.TABLE, "public",
            f"the database is incomplete, as after a restore that stopped: {', '.join(parts)} are missing",
            left=f"tables change by revisions, and rows can be missing too, which history verify names. {_AGAIN}",
        )  # fmt: skip
