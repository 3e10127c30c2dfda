"""Compare tables: columns, constraints and indexes with their definitions, partitions, statistics targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection, text

from src.database.models import Base
from src.database.provisioning.catalog import Catalog, Column, Key
from src.database.provisioning.differences import Difference, Kind
from src.database.schema import Derived
from src.database.schema.creation import PARTITIONS, ROW_TYPES

_BY_REVISION = "tables change by revisions; run: alembic upgrade head, or restore it by hand: {}"


def compare_tables(present: Catalog, expected: Catalog, services: Sequence[Derived] = ()) -> Iterator[Difference]:
    """Yield the differences of tables; columns, constraints and indexes of `services` belong to their migrations."""
    known = set(Base.metadata.tables) & present.row_security.keys()
    for table in sorted(set(Base.metadata.tables) - known):
        yield Difference(
            Kind.TABLE, table, f"the table {table} is missing", left=_BY_REVISION.format("from a backup")
        )  # fmt: skip
    yield from _columns(present, expected, known)
    yield from _named(Kind.CONSTRAINT, "constraint", present.constraints, expected.constraints, known)
    yield from _named(Kind.INDEX, "index", present.indexes, expected.indexes, known)
    protected = known | {each.table for each in services} & present.row_security.keys()
    for table, name in sorted(key for key in present.rules if key.table in protected):
        left = f"this layer has no rules; unless it is intended: DROP RULE {name} ON public.{table}"
        yield Difference(Kind.TABLE, table, f"the rule {name} on {table} rewrites statements", left=left)
    for table in sorted(present.forced & protected):
        sentence = f"row security is forced on {table}, so it applies to triggers of this layer too"
        mend = f"ALTER TABLE public.{table} NO FORCE ROW LEVEL SECURITY;"
        yield Difference(Kind.ROW_SECURITY, table, sentence, (mend,))
    owner = present.owners.get("cases")
    for table in sorted(protected):
        if owner is not None and present.owners[table] != owner:
            sentence = f"the table {table} belongs to {present.owners[table]}, not to {owner}"
            left = f"as an administrator of the server: ALTER TABLE public.{table} OWNER TO {owner}"
            yield Difference(Kind.TABLE, table, sentence, left=left)


def _columns(present: Catalog, expected: Catalog, known: set[str]) -> Iterator[Difference]:
    for key in sorted(key for key in expected.columns if key.table in known):
        declared, found = expected.columns[key], present.columns.get(key)
        if found == declared:
            continue
        what = "is missing" if found is None else f"is {found}, not {declared}"
        sentence = f"the column {key.table}.{key.name} {what}"
        yield Difference(Kind.COLUMN, key.table, sentence, left=_BY_REVISION.format(_repaired(key, found, declared)))
    for key in sorted(key for key in present.columns.keys() - expected.columns.keys() if key.table in known):
        sentence = f"the column {key.table}.{key.name} is unknown to this version"
        yield Difference(Kind.COLUMN, key.table, sentence, left="no session may write it", foreign=True)


def _named(
    kind: Kind, word: str, present: Mapping[Key, str], expected: Mapping[Key, str], tables: set[str]
) -> Iterator[Difference]:
    for key in sorted(key for key in expected if key.table in tables):
        declared, found = expected[key], present.get(key)
        if found == declared:
            continue
        what = "is missing" if found is None else f"is {found}, not {declared}"
        statement = (_index if kind is Kind.INDEX else _constraint)(key, found, declared)
        yield Difference(
            kind, key.table, f"the {word} {key.name} on {key.table} {what}", left=_BY_REVISION.format(statement)
        )
    if kind is Kind.CONSTRAINT:
        for key in sorted(key for key in present.keys() - expected.keys() if key.table in tables):
            yield Difference(
                kind, key.table, f"the {word} {key.name} on {key.table} is unknown to this version",
                left="it only restricts the stored rows", foreign=True,
            )  # fmt: skip


def _repaired(key: Key, found: Column | None, wanted: Column) -> str:
    """Return the statement that changes a column to its declaration."""
    change = f"ALTER TABLE public.{key.table}"
    if found is None or found.generated != wanted.generated or (wanted.generated and found.default != wanted.default):
        return f"{change}{'' if found is None else f' DROP {key.name},'} ADD {key.name} {wanted}"
    column, parts = f"ALTER {key.name}", []
    if found.type != wanted.type:
        parts.append(f"{column} TYPE {wanted.type}")
    if found.required != wanted.required:
        parts.append(f"{column} {'SET' if wanted.required else 'DROP'} NOT NULL")
    if found.default != wanted.default:
        parts.append(f"{column} DROP DEFAULT" if wanted.default is None else f"{column} SET DEFAULT {wanted.default}")
    if found.identity != wanted.identity:
        always = "ALWAYS" if wanted.identity == "a" else "BY DEFAULT"
        if not wanted.identity:
            parts.append(f"{column} DROP IDENTITY")
        else:
            parts.append(f"{column} {'SET' if found.identity else 'ADD'} GENERATED {always}"
                         + ("" if found.identity else " AS IDENTITY"))  # fmt: skip
    return f"{change} {', '.join(parts)}"


def _constraint(key: Key, found: str | None, wanted: str) -> str:
    change = f"ALTER TABLE public.{key.table}"
    if found == f"{wanted} NOT VALID":
        return f"{change} VALIDATE CONSTRAINT {key.name}"
    return f"{change}{'' if found is None else f' DROP CONSTRAINT {key.name},'} ADD CONSTRAINT {key.name} {wanted}"


def _index(key: Key, found: str | None, wanted: str) -> str:
    if " ON ONLY " in wanted:
        # Of the partitioned log: PostgreSQL creates it concurrently on single partitions only.
        create = wanted.replace(" ON ONLY ", " ON ", 1)
        return create if found is None else f"DROP INDEX public.{key.name}; {create}"
    if found == f"{wanted} INVALID":
        return f"REINDEX INDEX CONCURRENTLY public.{key.name}"
    create = wanted.replace("INDEX", "INDEX CONCURRENTLY", 1)
    return create if found is None else f"DROP INDEX CONCURRENTLY public.{key.name}; {create}"


def compare_partitions(connection: Connection) -> Iterator[Difference]:
    if connection.scalar(text("SELECT to_regclass('public.activity_logs') IS NULL")):
        return
    if connection.scalar(text("SELECT to_regclass('public.activity_logs_default') IS NULL")):
        yield Difference(
            Kind.PARTITION,
            "activity_logs",
            "the partition activity_logs_default is missing: writes will fail outside the monthly partitions",
            (PARTITIONS,),
        )
    if connection.scalar(text("SELECT to_regclass('public.activity_types') IS NULL")):
        return
    present = set(connection.scalars(text("SELECT code FROM public.activity_types")))
    missing = [code for code in ("row.insert", "row.update", "row.delete", "row.baseline", "history.erased",
                                 "history.archived", "schema.applied") if code not in present]  # fmt: skip
    if missing:
        yield Difference(
            Kind.ROW_TYPE,
            "activity_types",
            f"activity types are missing: {', '.join(missing)}",
            # Inserting a type is captured, which needs the missing type; the next round repairs the triggers.
            (
                "ALTER TABLE public.activity_types DISABLE TRIGGER USER;",
                ROW_TYPES,
                "ALTER TABLE public.activity_types ENABLE TRIGGER USER;",
            ),
        )


def compare_statistics(present: Catalog, expected: Catalog, protected: Sequence[Derived]) -> Iterator[Difference]:
    for table in protected:
        for statement in table.unsampled:
            wrong = [
                key
                for key, target in expected.statistics.items()
                if target == 0 and present.statistics.get(key, 0) != 0
                and (f"ALTER TABLE public.{key.table} " in statement or f"ALTER INDEX public.{key.table} " in statement)
            ]  # fmt: skip
            if wrong:
                what = ", ".join(sorted(f"{key.table}.{key.name}" for key in wrong))
                yield Difference(Kind.STATISTICS, table.table, f"ANALYZE samples text of cases: {what}", (statement,))
