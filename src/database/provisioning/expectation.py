"""What the catalog should hold: made on empty temporary copies of the tables, and read back from the catalog.

PostgreSQL stores an expression in a form of its own, another one in every version, so the code's text cannot be
compared with it. Everything is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache

from sqlalchemy import Connection, MetaData, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable

from src.database.models import Base
from src.database.provisioning.catalog import Catalog, read_catalog
from src.database.schema import Derived, Function

# Named parameters, since under the driver's own style every percent sign would come out doubled.
_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call] # the dialects are not annotated


def expected_catalog(
    connection: Connection, functions: Sequence[Function], tables: Sequence[Derived], services: Sequence[Derived]
) -> Catalog:
    """Return what the catalog should show of these functions and tables; what cannot be made is not in it.

    `services` are tables that the models do not know, copied from those that are there. The search path must be
    `pg_catalog`.
    """
    savepoint = connection.begin_nested()
    try:
        # Defaults, CHECKs and policies call functions: one that is missing must not make all of these unknown.
        _make(connection, ("SET LOCAL check_function_bodies = off", *_missing(connection, functions)))
        # Alembic reflects expressions of indexes without their schema, and so the models write them.
        _make(connection, ("SET LOCAL search_path = public, pg_temp", *_table_statements()))
        _make(connection, ("SET LOCAL search_path = pg_catalog",))
        _make(connection, (f'CREATE TEMP TABLE "{each.table}" (LIKE public."{each.table}")' for each in services))
        _make(connection, (_temporary(statement) for each in (*tables, *services) for statement in _protection(each)))
        _make(connection, (function.definition.replace("public.", "pg_temp.", 1) for function in functions))
        return read_catalog(connection, "pg_temp")
    finally:
        savepoint.rollback()


def _missing(connection: Connection, functions: Sequence[Function]) -> list[str]:
    # Those that are there stay as they are: replacing one would collide with somebody who is replacing it.
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
    return tuple(statements)


def _protection(table: Derived) -> Iterable[str]:
    yield from (trigger.definition for trigger in table.triggers)
    yield from (policy.definition for policy in table.policies)
    yield from table.unsampled


def _temporary(statement: str) -> str:
    """Let a statement make its object in the temporary schema; only what it makes, not what it names."""
    for clause in (" ON public.", "ALTER TABLE public.", "ALTER INDEX public."):
        if clause in statement:
            return statement.replace(clause, clause.replace("public.", "pg_temp."), 1)
    return statement


def _make(connection: Connection, statements: Iterable[str]) -> None:
    """Execute the statements: all at once, and where one of them fails, one by one without those that fail."""
    listed = list(statements)
    with suppress(DBAPIError), connection.begin_nested():
        _execute(connection, ";\n".join(listed))
        return
    for statement in listed:
        with suppress(DBAPIError), connection.begin_nested():
            _execute(connection, statement)


def _execute(connection: Connection, sql: str) -> None:
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
