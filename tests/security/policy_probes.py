"""Probes for the order of conditions: what a condition of a caller on a hidden row shows.

A probe runs a query twice, with a condition that is true for the hidden row and with one that is false, and compares
everything that the caller can observe: the plan with its row counts and the parts that were never executed, the
counters of scans and rows, the result, the error. Row security holds when both runs look the same.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Table, UniqueConstraint, text
from sqlalchemy.exc import DBAPIError

from src.database.models import Base
from src.database.schema import APP_ROLE
from src.database.schema.declaration import SECRET, sets, with_mark
from tests.declared import known_words
from tests.security.population import CASE_TABLES

# The kind of conditions that cost nothing to the planner.
FREE = "free"


@dataclass(frozen=True)
class Condition:
    """A condition on a column of a table: `true` holds for the hidden row and `false` does not; `kind` is its form."""

    table: str
    column: str
    kind: str
    true: str
    false: str


@dataclass(frozen=True)
class Shape:
    """A form of a query with settings; `{t}` is the table, `{cond}` the condition, `{row}` a condition on the id."""

    name: str
    query: str
    settings: tuple[str, ...] = ()


_NO_SEQUENTIAL = ("enable_seqscan = off",)
SHAPES = (
    Shape("scan", "SELECT {id} FROM {t} WHERE {cond}"),
    Shape("sequential", "SELECT {id} FROM {t} WHERE {cond}", ("enable_indexscan = off", "enable_bitmapscan = off",
                                                             "enable_indexonlyscan = off")),
    Shape("by id", "SELECT {id} FROM {t} WHERE {row} AND {cond}"),
    Shape("index", "SELECT {id} FROM {t} WHERE {cond}", _NO_SEQUENTIAL),
    Shape("bitmap", "SELECT {id} FROM {t} WHERE {cond}", (*_NO_SEQUENTIAL, "enable_indexscan = off")),
    Shape("free operators", "SELECT {id} FROM {t} WHERE {cond}", ("cpu_operator_cost = 0",)),
    Shape("dear operators", "SELECT {id} FROM {t} WHERE {row} AND {cond}", ("cpu_operator_cost = 1e300",)),
    Shape("count", "SELECT count(*) FROM {t} WHERE {cond}"),
    Shape("limit", "SELECT {id} FROM {t} WHERE {cond} ORDER BY id DESC LIMIT 1"),
    Shape("fence", "SELECT 1 FROM (SELECT * FROM {t} OFFSET 0) s WHERE {cond}"),
    Shape("subquery", "SELECT 1 FROM (SELECT * FROM {t}) s WHERE {cond}"),
    Shape("cte", "WITH s AS (SELECT * FROM {t}) SELECT 1 FROM s WHERE {cond}"),
    Shape("exists", "SELECT 1 WHERE EXISTS (SELECT FROM {t} WHERE {cond})"),
    Shape("join", "SELECT 1 FROM (VALUES (1)) v (n) JOIN {t} ON {cond}"),
    Shape("outer join", "SELECT 1 FROM (VALUES (1)) v (n) LEFT JOIN {t} ON {cond}"),
    Shape("self join", "SELECT 1 FROM {t} JOIN (SELECT id FROM {t}) b USING (id) WHERE {cond}",
          ("enable_hashjoin = off",)),
    Shape("lateral", "SELECT 1 FROM (VALUES (1)) v (n), LATERAL (SELECT * FROM {t} WHERE {cond} LIMIT 1) s"),
    Shape("parallel", "SELECT {id} FROM {t} WHERE {cond}", ("parallel_setup_cost = 0", "parallel_tuple_cost = 0",
                                                           "min_parallel_table_scan_size = 0")),
    Shape("share", "SELECT {id} FROM {t} WHERE {cond} FOR SHARE"),
    Shape("update", "UPDATE {t} SET {set} WHERE {cond}"),
    Shape("delete", "DELETE FROM {t} WHERE {cond}"),
    Shape("merge", "MERGE INTO {t} USING (VALUES (1)) v (n) ON {cond} WHEN MATCHED THEN DELETE"),
    Shape("union all", "SELECT 1 FROM (SELECT * FROM {t} UNION ALL SELECT * FROM {t}) {t} WHERE {cond}"),
)  # fmt: skip
# A plan for IS NULL differs from one for IS NOT NULL, whatever the rows are, unless it is a sequential scan.
WRITES = ("update", "delete", "merge")
SHAPES_FOR_NULL = ("sequential", "union all")

_CONDITION = re.compile(r"((?:Filter|Index Cond|Recheck Cond|Join Filter|Hash Cond|Merge Cond|Sort Key)): .*")
_COUNTS = re.compile(r"actual rows=\S+ loops=\d+")
_COUNTERS = text("""
    SELECT c.relname, pg_stat_get_xact_numscans(c.oid), pg_stat_get_xact_tuples_returned(c.oid),
           pg_stat_get_xact_tuples_fetched(c.oid)
      FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'i', 'I', 't')
     ORDER BY 1
""")
_OPERATORS = text("""
    SELECT format_type(o.oprleft, NULL), o.oprname FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
     WHERE p.proleakproof AND o.oprleft = o.oprright AND o.oprresult = 'boolean'::regtype
       AND o.oprnamespace = 'pg_catalog'::regnamespace ORDER BY 1, 2
""")


# Values next to that of the hidden row, by type: (a greater one, a smaller one), as SQL over {v}.
_NEIGHBOURS = {
    "text": ("{v} || '~'", "left({v}, -1)"),
    "bigint": ("{v} + 1", "{v} - 1"),
    "integer": ("{v} + 1", "{v} - 1"),
    "double precision": ("{v} + 1", "{v} - 1"),
    "timestamp with time zone": ("{v} + interval '1 s'", "{v} - interval '1 s'"),
    "bytea": ("{v} || '\\x00'::bytea", "''::bytea"),
    "xid8": ("({v}::text::bigint + 1)::text::xid8", "({v}::text::bigint - 1)::text::xid8"),
}
# The value with which a condition is false for the hidden row, and whether its own value makes it true.
_FALSE_WITH = {"=": "greater", ">=": "greater", "<=": "smaller", ">": "greater", "<": "smaller", "<>": "own"}


def conditions(owner: Connection, table: Table, hidden: int) -> Iterator[Condition]:
    """Yield conditions on the columns that sessions may read: each leakproof operator of the type, and free forms.

    Both conditions of a pair have the same form and different constants, so that the planner treats them alike.
    """
    operators: dict[str, set[str]] = {}
    for kind, operator in owner.execute(_OPERATORS):
        operators.setdefault(kind, set()).add(operator)
    # The existence of ids is known: they are dense. The time of an entry is part of its key.
    left_out = {*with_mark(table.columns, SECRET), "id", "case_id", "search"}
    left_out |= {"created_at"} if table.name == "activity_logs" else set()
    # A CHECK of known words lets the planner answer without reading.
    for column in (column for column in table.columns if column.name not in left_out and not known_words(column)):
        kind = owner.scalar(
            text(
                "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = to_regclass(:t) AND attname = :c"
            ),
            {"t": table.name, "c": column.name},
        )
        own = owner.scalar(text(f"SELECT {column.name}::text FROM {table.name} WHERE id = :id"), {"id": hidden})
        if own is None or column.nullable:
            false = "IS NOT NULL" if own is None else "IS NULL"
            true = "IS NULL" if own is None else "IS NOT NULL"
            yield Condition(table.name, column.name, FREE, f"{column.name} {true}", f"{column.name} {false}")
        if own is not None:
            yield from _of_value(owner, column, kind, own, operators.get(kind, set()))


def _of_value(owner: Connection, place: Column[Any], kind: str, own: str, operators: set[str]) -> Iterator[Condition]:
    table, column = place.table.name, place.name

    def literal(plain: str) -> str:
        escaped = plain.replace("\\", "\\\\").replace("'", "''")
        return f"E'{escaped}'::{kind}"

    def neighbour(side: int) -> str:
        sql = f"SELECT ({_NEIGHBOURS[kind][side].format(v=literal(own))})::text"
        return literal(owner.exec_driver_sql(sql, execution_options={"no_parameters": True}).scalar_one())

    if kind == "boolean":
        negated = "NOT " if own.startswith("f") else ""
        yield Condition(table, column, FREE, f"{negated}{column}", f"{'' if negated else 'NOT '}{column}")
    if kind not in _NEIGHBOURS:
        return
    values = {"own": literal(own), "greater": neighbour(0), "smaller": neighbour(1)}
    for operator in sorted(operators & _FALSE_WITH.keys()):
        false = _FALSE_WITH[operator]
        true = {"<>": "greater", ">": "smaller", "<": "greater"}.get(operator, "own")
        for form in ("{c} {op} {v}", "({c} {op} {v}) IS TRUE", "{c} {op} ANY (ARRAY[{v}])"):
            yield Condition(
                table,
                column,
                operator,
                *(form.format(c=column, op=operator, v=values[which]) for which in (true, false)),
            )
    if kind == "integer":
        yield Condition(table, column, FREE, f"(array_fill(true, ARRAY[1], ARRAY[{own}]))[{column}]",
                        f"(array_fill(true, ARRAY[1], ARRAY[-7]))[{column}]")  # fmt: skip
    if kind == "text":
        right, wrong = (json.dumps({key: 1}).replace("'", "''") for key in (own, f"{own}-"))
        yield Condition(table, column, FREE, f"('{right}'::jsonb)[{column}] IS NOT NULL",
                        f"('{wrong}'::jsonb)[{column}] IS NOT NULL")  # fmt: skip


def hidden_rows(owner: Connection, name: str = "bob") -> dict[str, int]:
    """Return the id of a row in each table below a case that this user opened."""
    case = owner.scalar(
        text("SELECT min(c.id) FROM cases c JOIN users u ON u.id = c.opened_by_id WHERE u.username = :name"),
        {"name": name},
    )
    return {
        table: owner.scalar(
            text(f"SELECT min(id) FROM {table} WHERE {'id' if table == 'cases' else 'case_id'} = :case"), {"case": case}
        )
        for table in CASE_TABLES
    }


def probes(owner: Connection, hidden: dict[str, int]) -> list[tuple[Condition, Shape]]:
    """Return all pairs of a condition and a shape for the hidden rows, by table.

    Conditions that a CHECK excludes are left out: the planner answers them without reading.
    """
    found = []
    owner.exec_driver_sql("SET LOCAL constraint_exclusion = on")
    for name, row in hidden.items():
        for condition in conditions(owner, Base.metadata.tables[name], row):
            if _is_excluded(owner, condition):
                continue
            of_null = "NULL" in condition.true
            found += [(condition, shape) for shape in SHAPES if not of_null or shape.name in SHAPES_FOR_NULL]
    return found


def _is_excluded(owner: Connection, condition: Condition) -> bool:
    return any(
        "One-Time Filter" in line
        for each in (condition.true, condition.false)
        for line in owner.exec_driver_sql(
            f"EXPLAIN (COSTS OFF) SELECT FROM {condition.table} WHERE {each}",
            execution_options={"no_parameters": True},
        ).scalars()
    )


def _updatable(table: str) -> str:
    columns = Base.metadata.tables[table].columns
    return next((column.name for column in columns if sets(column, "UPDATE")), "id")


def remains(condition: Condition, shape: Shape, *, is_wide: bool) -> bool:
    """Return whether docs/security.md names what this probe shows as remaining.

    Conditions of cost zero above a UNION ALL; conditions on the columns that follow the case in an index, where no
    condition on the case is part of the index scan; and ids and times of entries of the log.
    """
    if (condition.kind, shape.name) == (FREE, "union all"):
        return True
    table = Base.metadata.tables[condition.table]
    open_to_all = table.name in {"activity_logs", "cases"} or is_wide
    return any(
        condition.column in columns[1:] and (open_to_all or not columns[0]) for columns in _columns_of_indexes(table)
    )


def _columns_of_indexes(table: Table) -> Iterator[list[str]]:
    for index in table.indexes:
        yield [getattr(expression, "name", "") for expression in index.expressions]
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield [column.name for column in constraint.columns]


def observe(connection: Connection, shape: Shape, condition: str, table: str, hidden: int) -> tuple[Any, ...]:
    """Return everything that the caller can observe of one query, apart from time; the query is rolled back."""
    column = _updatable(table)
    query = shape.query.format(
        t=table, cond=condition, row=f"{table}.id = {hidden}", id=f"{table}.id", set=f"{column} = {column}"
    )
    savepoint = connection.begin_nested()
    try:
        for setting in shape.settings:
            connection.exec_driver_sql(f"SET LOCAL {setting}")
        before = connection.execute(_COUNTERS).all()
        explain = f"EXPLAIN (ANALYZE, BUFFERS OFF, TIMING OFF, COSTS OFF, SUMMARY OFF) {query}"
        plan = connection.exec_driver_sql(explain, execution_options={"no_parameters": True}).scalars().all()
        after = connection.execute(_COUNTERS).all()
        differences = [
            (new[0], *(now - past for now, past in zip(new[1:], old[1:], strict=True)))
            for old, new in zip(before, after, strict=True)
            if tuple(old) != tuple(new)
        ]
        # Which process of a parallel scan finds a row is random, and triggers of a write cache their plans.
        lines = [_COUNTS.sub("", line) if "Parallel" in line else line for line in plan if "Heap Blocks" not in line]
        lines = [_CONDITION.sub(r"\1", line) for line in lines]
        is_counted = shape.name not in WRITES and not any("Gather" in line for line in lines)
        return (lines, differences if is_counted else [])
    except DBAPIError as error:
        return (str(error.orig).partition("\n")[0].replace(condition, ""),)
    finally:
        savepoint.rollback()


def _own_rows(connection: Connection, condition: Condition) -> tuple[int, int]:
    """Return for how many rows that the caller may see the two forms differ, and how many match either."""
    query = (
        f"SELECT count(*) FILTER (WHERE t IS DISTINCT FROM f), count(*) FILTER (WHERE t OR f) FROM"
        f" (SELECT ({condition.true}) IS TRUE, ({condition.false}) IS TRUE FROM {condition.table}) AS s (t, f)"
    )
    savepoint = connection.begin_nested()
    # In another role than the one it was given, an actor does not see these rows, but may.
    connection.exec_driver_sql(f"SET LOCAL ROLE {APP_ROLE}")
    differing, matching = connection.exec_driver_sql(query, execution_options={"no_parameters": True}).one()
    savepoint.rollback()
    return differing, matching


def difference_of(connection: Connection, condition: Condition, shape: Shape, hidden: int) -> str | None:
    """Return what differs between a true and a false condition on the hidden row; None when nothing does.

    Conditions that differ for a row that the caller may see are not compared; nor are writes to such rows, since scans
    count the dead versions that the previous write left.
    """
    differing, matching = _own_rows(connection, condition)
    if differing or (matching and shape.name in WRITES):
        return None
    answers = []
    for asked in (condition.true, condition.false):
        observe(connection, shape, asked, condition.table, hidden)  # plans and caches are warm
        answers.append(observe(connection, shape, asked, condition.table, hidden))
    if answers[0] == answers[1]:
        return None
    lines = (
        [str(item) for part in answer for item in ([part] if isinstance(part, str) else part)] for answer in answers
    )
    return "; ".join(line for line in difflib.unified_diff(*lines, "true", "false", n=0, lineterm=""))
