"""The expected catalog: created on empty temporary copies of the tables, and read back from the catalog.

PostgreSQL stores expressions in a normalised form that differs between versions, so they cannot be compared with the
text in the code. All changes are rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache

from sqlalchemy import Connection, MetaData, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable, SetColumnComment, SetTableComment

from src.database.models import Base
from src.database.provisioning.catalog import Catalog, read_catalog
from src.database.schema import Derived, Function

# Named parameters, since the paramstyle of the driver would double every percent sign.
_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call] # the dialects are not annotated


def expected_catalog(
    connection: Connection, functions: Sequence[Function], tables: Sequence[Derived], services: Sequence[Derived]
) -> Catalog:
    """Return the expected catalog of these functions and tables, without objects that cannot be created.

    `services` are tables without a model, copied from the existing ones. The search path must be `pg_catalog`.
    """
    savepoint = connection.begin_nested()
    try:
        # Defaults, CHECKs and policies call functions: a missing function must not make all of them fail.
        _make(connection, ("SET LOCAL check_function_bodies = off", *_missing(connection, functions)))
        # The models write expressions of indexes without a schema, as Alembic reflects them.
        _make(connection, ("SET LOCAL search_path = public, pg_temp", *_table_statements()))
        _make(connection, ("SET LOCAL search_path = pg_catalog",))
        _make(connection, (f'CREATE TEMP TABLE "{each.table}" (LIKE public."{each.table}")' for each in services))
        _make(connection, (_temporary(statement) for each in (*tables, *services) for statement in _protection(each)))
        _make(connection, (function.definition.replace("public.", "pg_temp.", 1) for function in functions))
        return read_catalog(connection, "pg_temp")
    finally:
        savepoint.rollback()


def _missing(connection: Connection, functions: Sequence[Function]) -> list[str]:
    # Existing functions are kept: replacing one could conflict with a concurrent replacement.
    rows = connection.execute(
        text("SELECT s FROM unnest(CAST(:signatures AS text[])) s WHERE to_regprocedure(s) IS NULL"),
        {"signatures": [function.identity for function in functions]},
    )
    missing = set(rows.scalars())
    return [function.definition for function in functions if function.identity in missing]


@cache
def _table_statements() -> tuple[str, ...]:
    temporary = MetaData(naming_convention=Base.metadata.naming_convention)
    for table in Base.metadata.sorted_tables:
        table.to_metadata(temporary, schema="pg_temp")
    statements: list[str] = []
    for table in temporary.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=_DIALECT)))
        statements += (str(CreateIndex(index).compile(dialect=_DIALECT)) for index in table.indexes)
        statements += (str(SetColumnComment(each).compile(dialect=_DIALECT)) for each in table.columns if each.comment)
        if table.comment:
            statements.append(str(SetTableComment(table).compile(dialect=_DIALECT)))
    return tuple(statements)


def _protection(table: Derived) -> Iterable[str]:
    yield from (trigger.definition for trigger in table.triggers)
    yield from (policy.definition for policy in table.policies)
    yield from table.unsampled


def _temporary(statement: str) -> str:
    """Change a statement to create its object in the temporary schema; other names in it stay."""
    for clause in (" ON public.", "ALTER TABLE public.", "ALTER INDEX public."):
        if clause in statement:
            return statement.replace(clause, clause.replace("public.", "pg_temp."), 1)
    return statement


def _make(connection: Connection, statements: Iterable[str]) -> None:
    """Execute the statements in one batch; if it fails, one by one, skipping those that fail."""
    listed = list(statements)
    with suppress(DBAPIError), connection.begin_nested():
        _execute(connection, ";\n".join(listed))
        return
    for statement in listed:
        with suppress(DBAPIError), connection.begin_nested():
            _execute(connection, statement)


def _execute(connection: Connection, sql: str) -> None:
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
