"""Print the SQL that makes or removes the whole schema, as a database administrator or a new migration wants it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable, SetColumnComment

from src.database.models import Base
from src.database.schema.creation import after_drop, after_tables, before_tables
from src.database.scripts.command import Debug, run

# Named parameters, since under the driver's own style every percent sign would come out doubled.
dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call] # the dialects are not annotated


def creation() -> Iterator[str]:
    """Yield the statements that make the schema: roles, functions, tables, and what protects them."""
    yield before_tables()
    for table in Base.metadata.sorted_tables:
        yield f"{str(CreateTable(table).compile(dialect=dialect)).strip()};"
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield f"{CreateIndex(index).compile(dialect=dialect)};"
        for column in table.columns:
            if column.comment:
                yield f"{SetColumnComment(column).compile(dialect=dialect)};"
    yield after_tables(Base.metadata)


def removal() -> Iterator[str]:
    """Yield the statements that remove it all, and the group roles when no other database uses them."""
    for table in reversed(Base.metadata.sorted_tables):
        yield f"{str(DropTable(table).compile(dialect=dialect)).strip()};"
    yield after_drop()


def schema_sql(
    *,
    debug: Debug = False,  # noqa: ARG001 - read by the runner
    drop: Annotated[bool, typer.Option("--drop", help="Print what removes the schema instead.")] = False,
) -> None:
    """Print the SQL that makes the whole schema of this version, without running it."""
    for statement in removal() if drop else creation():
        typer.echo("\n".join(line.rstrip() for line in statement.replace("\t", "    ").splitlines()) + "\n")


if __name__ == "__main__":
    run(schema_sql, "schema_sql")
