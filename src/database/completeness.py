"""Is everything there that the models promise? Columns, constraints, indexes, the log's default partition, by name."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from src.database.keys import KeyFile
from src.database.models import ActorKey, Base


def missing_parts(connection: Connection) -> Iterator[str]:
    """Yield a sentence for every column, constraint, index or partition of the models that the database lacks."""
    columns = _pairs(
        connection,
        "SELECT c.relname::text, a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped",
    )
    named = _pairs(
        connection,
        "SELECT c.relname::text, k.conname::text FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
        " WHERE c.relnamespace = 'public'::regnamespace AND k.convalidated"
        " UNION ALL SELECT t.relname::text, i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
        " JOIN pg_class t ON t.oid = x.indrelid WHERE t.relnamespace = 'public'::regnamespace AND x.indisvalid",
    )
    for table in Base.metadata.tables.values():
        for column in table.columns:
            if (table.name, column.name) not in columns:
                yield f"the column {table.name}.{column.name} is missing"
        names = [constraint.name for constraint in table.constraints] + [index.name for index in table.indexes]
        for name in sorted(str(name) for name in names if name is not None):
            if (table.name, name) not in named:
                yield f"{name} on {table.name} is missing or not valid"
    if ("activity_logs_default", "id") not in columns:
        yield "the partition activity_logs_default is missing: writes will fail for want of a month"


def wrong_key(connection: Connection, keys: KeyFile) -> Iterator[str]:
    """Yield a sentence when the key file does not sign what this database accepts."""
    pads = connection.scalar(
        text(
            f"SELECT inner_pad FROM public.{ActorKey.__tablename__}"  # noqa: S608 - a name of ours, no value
            " WHERE id = :id AND (retired_at IS NULL OR retired_at > now())"
        ),
        {"id": keys.signing_key.id},
    )
    if pads is None or bytes(pads) != keys.signing_key.inner_pad:
        yield "the key file does not belong to this database, or its key is retired: every session would see nothing"


def missing_extensions(connection: Connection, required: str) -> Iterator[str]:
    """Yield a sentence for every extension that the settings require and the database lacks."""
    present = set(connection.scalars(text("SELECT extname::text FROM pg_extension")))
    for name in (part.strip() for part in required.split(",")):
        if name and name not in present:
            yield f"the extension {name} is missing"


def _pairs(connection: Connection, query: str) -> set[tuple[str, str]]:
    return {(row[0], row[1]) for row in connection.execute(text(query))}
