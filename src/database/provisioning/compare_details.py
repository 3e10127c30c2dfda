"""Compare storage, comments, numbering, replica identity and the like; partitions; keys that are not enforced.

A restore without some of its parts leaves such differences: sequences without their values, partitions that are not
attached, triggers of foreign keys that `pg_restore --disable-triggers` disabled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import Connection, text

from src.database.models import Base
from src.database.provisioning.catalog import Catalog, Key
from src.database.provisioning.catalog_details import DetailKey
from src.database.provisioning.differences import Difference, Kind
from src.database.provisioning.extensions import NAME_INDEXES

# init_db numbers signing keys itself, as a continuation of those in key files; seals are numbered without gaps.
_NUMBERED_OTHERWISE = {"activity_seals", "actor_keys"}
# These change no row, and hold their lock for a moment only.
_MENDED = {"comment", "table comment", "replica identity"}
_WORDS = {
    "storage": "the storage of the column {key.table}.{key.name}",
    "compression": "the compression of the column {key.table}.{key.name}",
    "comment": "the comment on the column {key.table}.{key.name}",
    "table comment": "the comment on the table {key.table}",
    "numbers": "the numbering of the column {key.table}.{key.name}",
    "replica identity": "the replica identity of the table {key.table}",
    "persistence": "the persistence of the table {key.table}",
    "partitioning": "the partitioning of the table {key.table}",
    "options": "the options of the index {key.name} on {key.table}",
}
_DETACHED = text("""
    SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
       AND NOT c.relispartition AND c.relname ~ '^activity_logs_([0-9]{4}_[0-9]{2}|default)$' ORDER BY 1
""")
_OF_PARTITIONS = text("""
    SELECT c.relname::text, c.relpersistence = 'u', c.relreplident <> 'd' FROM pg_class c
     WHERE c.relnamespace = 'public'::regnamespace AND c.relispartition AND c.relkind = 'r'
       AND (c.relpersistence = 'u' OR c.relreplident <> 'd') ORDER BY 1
""")
_NOT_ENFORCED = text("""
    SELECT DISTINCT c.relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
     WHERE t.tgisinternal AND t.tgenabled <> 'O' AND t.tgconstraint <> 0
       AND c.relnamespace = 'public'::regnamespace ORDER BY 1
""")


def compare_details(present: Catalog, expected: Catalog) -> Iterator[Difference]:
    known = set(Base.metadata.tables) & present.row_security.keys()
    for key in sorted(key for key in expected.details if key.table in known):
        declared, found = expected.details[key], present.details.get(key)
        part = Key(key.table, key.name)
        if (found is not None and found.value == declared.value) or (key.name and not _exists(part, present)):
            continue
        value = "missing" if found is None else found.value
        sentence = f"{_WORDS[key.what].format(key=key)} is {value}, not {declared.value}"
        statement = declared.statement if key.what != "options" else _options(key, value, declared.statement)
        if key.what in _MENDED and statement is not None:
            yield Difference(Kind.TABLE, key.table, sentence, (f"{statement};",))
        elif statement is None:
            yield Difference(Kind.TABLE, key.table, sentence, left="only a backup restores it")
        else:
            left = f"tables change by revisions; restore it by hand: {statement}"
            yield Difference(Kind.TABLE, key.table, sentence, left=left)


def _exists(part: Key, present: Catalog) -> bool:
    """Whether the column or the key exists; a missing one is reported as such."""
    return part in present.columns or part in present.constraints


def _options(key: DetailKey, found: str, setting: str | None) -> str:
    names = ", ".join(re.findall(r"(\w+)=", found))
    return setting or f"ALTER INDEX public.{key.name} RESET ({names})"


def compare_added_indexes(connection: Connection, present: Catalog, expected: Catalog) -> Iterator[Difference]:
    """Yield indexes that no model declares, and those of name search that are not as init_db creates them."""
    schema = connection.scalar(
        text("SELECT quote_ident(extnamespace::regnamespace::text) FROM pg_extension WHERE extname = 'pg_trgm'")
    )
    for key in sorted(key for key in present.indexes.keys() - expected.indexes.keys()):
        if key.table not in Base.metadata.tables:
            continue
        if key.name in NAME_INDEXES:
            table, expression = NAME_INDEXES[key.name]
            declared = f"CREATE INDEX {key.name} ON public.{table} USING gin ({expression} {schema}.gin_trgm_ops)"
            if present.indexes[key] != declared:
                yield Difference(
                    Kind.INDEX, key.table,
                    f"the index {key.name} on {key.table} is {present.indexes[key]}, not {declared}",
                    left=f"init_db creates it again after: DROP INDEX CONCURRENTLY public.{key.name}",
                )  # fmt: skip
            continue
        yield Difference(
            Kind.INDEX, key.table, f"the index {key.name} on {key.table} is unknown to this version",
            left=f"the plans of queries may reveal hidden rows by it; if nobody needs it: DROP INDEX public.{key.name}",
            foreign=True,
        )  # fmt: skip


def compare_completeness(connection: Connection, present: Catalog) -> Iterator[Difference]:
    """Yield partitions that are not attached or not logged, keys that are not enforced, numbers that would repeat."""
    for name in connection.scalars(_DETACHED):
        yield Difference(
            Kind.PARTITION, "activity_logs",
            f"the table {name} is not a partition: its entries are missing from the log",
            left=f"with the bounds in a backup: ALTER TABLE public.activity_logs ATTACH PARTITION public.{name}",
        )  # fmt: skip
    for name, is_unlogged, has_identity in connection.execute(_OF_PARTITIONS):
        if is_unlogged:
            sentence = f"the persistence of the partition {name} is UNLOGGED, not LOGGED"
            left = f"tables change by revisions; restore it by hand: ALTER TABLE public.{name} SET LOGGED"
            yield Difference(Kind.PARTITION, name, sentence, left=left)
        if has_identity:
            sentence = f"the replica identity of the partition {name} is not the primary key"
            yield Difference(Kind.PARTITION, name, sentence, (f"ALTER TABLE public.{name} REPLICA IDENTITY DEFAULT;",))
    for name in connection.scalars(_NOT_ENFORCED):
        yield Difference(
            Kind.TRIGGER, name, f"foreign keys of {name} are not enforced, since their triggers are disabled",
            left=f"as an administrator of the server: ALTER TABLE public.{name} ENABLE TRIGGER ALL, then init_db",
        )  # fmt: skip
    yield from _numbering(connection, present)


def _numbering(connection: Connection, present: Catalog) -> Iterator[Difference]:
    numbered = [
        (table.name, column.name)
        for table in Base.metadata.sorted_tables
        if table.name not in _NUMBERED_OTHERWISE
        for column in table.columns
        if column.identity is not None and (found := present.columns.get(Key(table.name, column.name))) is not None
        and found.identity
    ]  # fmt: skip
    if not numbered:
        return
    named = connection.execute(
        text(
            "SELECT t.name, pg_get_serial_sequence('public.' || t.name, t.number) AS sequence"
            " FROM unnest(CAST(:tables AS text[]), CAST(:columns AS text[])) AS t (name, number)"
        ),
        {"tables": [table for table, _ in numbered], "columns": [column for _, column in numbered]},
    )
    sequences = {row.name: row.sequence for row in named}
    parts = [
        f"SELECT '{table}', '{column}', (SELECT max({column}) FROM public.{table}) AS last,"
        f" (SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM {sequences[table]}) AS given"
        for table, column in numbered
    ]
    behind = text(f"SELECT * FROM ({' UNION ALL '.join(parts)}) AS n (name, number, last, given) WHERE last > given")
    for table, column, last, given in connection.execute(behind):
        set_value = f"SELECT setval('{sequences[table]}', max({column})) FROM public.{table} HAVING max({column}) >"
        yield Difference(
            Kind.TABLE, table, f"the next number of {table}.{column} is taken: {given} were given, the last is {last}",
            (f"{set_value} (SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM {sequences[table]});",),
        )  # fmt: skip
