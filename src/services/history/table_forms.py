"""Compare tables with the models before they are read: whether a query of a table shows all of its rows, and no other.

Rows are hidden or replaced by a view, a foreign table, inheritance, a policy, or an index over a function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table
from sqlalchemy.orm import Session

from src.services.history.column_forms import Columns, read_columns
from src.services.history.findings import Finding
from src.services.history.trusted_reading import rows

_KINDS = {
    "r": "a table", "p": "a partitioned table", "v": "a view", "m": "a materialized view", "f": "a foreign table",
    "S": "a sequence", "c": "a type",
}  # fmt: skip
# 2 is the oid of heap.
_RELATIONS = """
    WITH RECURSIVE found AS (
        SELECT c.oid AS id, c.relname AS head, false AS is_child FROM pg_catalog.pg_class c
         WHERE c.relnamespace = pg_catalog.to_regnamespace('public') AND c.relname = ANY (:names)
        UNION
        SELECT i.inhrelid, f.head, true FROM found f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.id
    )
    SELECT c.oid AS id, pg_catalog.format('%s', f.head) AS head, f.is_child, pg_catalog.format('%s', c.relname) AS name,
           pg_catalog.format('%s', c.relkind) AS kind, c.relpersistence = 'p' AS is_permanent, c.relispartition,
           c.relam IN (0, 2) AS is_heap, c.relrowsecurity AS has_row_security, c.relforcerowsecurity AS is_forced,
           pg_catalog.row_security_active(c.oid) AS is_narrowed,
           EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid) AS inherits,
           ARRAY(SELECT pg_catalog.format('%s', r.rulename) FROM pg_catalog.pg_rewrite r
                  WHERE r.ev_class = c.oid ORDER BY r.rulename) AS rules,
           ARRAY(SELECT pg_catalog.format('%s', a.attname)
                   FROM pg_catalog.pg_index p JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
                  WHERE p.indrelid = c.oid AND p.indisprimary AND p.indisvalid AND a.attnum = ANY (p.indkey)) AS keys
      FROM found f JOIN pg_catalog.pg_class c ON c.oid = f.id ORDER BY f.head, f.is_child, c.relname
"""
# Indexes for words may call functions of `public`: they are not unique, and the verification does not read by them.
_INDEXES = """
    SELECT pg_catalog.format('%s', c.relname) AS table, pg_catalog.format('%s', x.relname) AS name
      FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
      JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = x.relam
     WHERE i.indrelid = ANY (:ids) AND (m.amname <> 'gin' OR i.indisunique OR i.indpred IS NOT NULL)
       AND (EXISTS (SELECT FROM pg_catalog.unnest(i.indclass) AS o (id) WHERE o.id >= 16384)
            OR EXISTS (SELECT FROM pg_catalog.unnest(i.indcollation) AS o (id) WHERE o.id >= 16384)
            OR EXISTS (SELECT FROM pg_catalog.pg_depend d
                        WHERE d.classid = pg_catalog.to_regclass('pg_catalog.pg_class') AND d.objid = x.oid
                          AND d.refobjid >= 16384 AND d.refclassid IN (
                              pg_catalog.to_regclass('pg_catalog.pg_proc'),
                              pg_catalog.to_regclass('pg_catalog.pg_operator'),
                              pg_catalog.to_regclass('pg_catalog.pg_type'),
                              pg_catalog.to_regclass('pg_catalog.pg_collation'))))
     ORDER BY 1, 2
"""
_POLICIES = """
    SELECT pg_catalog.format('%s', c.relname) AS table, pg_catalog.format('%s', p.polname) AS name,
           p.polpermissive AS is_permissive, pg_catalog.pg_get_expr(p.polqual, p.polrelid) AS condition
      FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
     WHERE p.polrelid = ANY (:ids) AND p.polcmd IN ('*', 'r')
       AND EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) AS o (id)
                    WHERE o.id = 0 OR pg_catalog.pg_has_role(o.id, 'USAGE'))
     ORDER BY 1, 2
"""
_OF_INDEXES = re.compile(r"_\d+\(")
_SEES_ALL = "( SELECT public.actor_may('*'::text, '*'::text) AS actor_may)"


@dataclass
class Forms:
    """The tables whose form can be trusted, with their columns, and whether their indexes can be."""

    tables: dict[str, Columns] = field(default_factory=dict)
    has_trusted_indexes: bool = True

    def lacking(self, needs: Mapping[str, Iterable[str]]) -> list[str]:
        """Return the tables and columns that are needed and cannot be read."""
        missing: list[str] = []
        for table, columns in needs.items():
            found = self.tables.get(table)
            absent = () if found is None else (f"{table}.{name}" for name in columns if name not in found.trusted)
            missing += [table] if found is None else absent
        return missing


def compare_forms(
    session: Session, models: Mapping[str, Table | None], forms: Forms, *, is_owner: bool
) -> Iterator[Finding]:
    """Yield how tables differ from their models, and add those that can be trusted to `forms`.

    A table without a model (None) may be missing.
    """
    relations = rows(session, _RELATIONS, {"names": list(models)})
    heads = {relation.name: relation for relation in relations if not relation.is_child}
    distrusted: set[str] = set()
    for name in [name for name, model in models.items() if model is not None and name not in heads]:
        yield Finding("table", f"the table {name} is missing")
    for relation in relations:
        model = models[relation.head]
        hidden = [*(_of_child(relation, model) if relation.is_child else _hidden(relation, model, is_owner=is_owner))]
        if hidden:
            distrusted.add(relation.head)
        for sentence in (*hidden, *(() if relation.is_child else _unusual(relation, model))):
            yield Finding("table", sentence)
    ids = {relation.id: relation.head for relation in relations}
    if not is_owner:
        yield from _policies(session, {id_: head for id_, head in ids.items() if head == heads[head].name}, distrusted)
    for index in rows(session, _INDEXES, {"ids": list(ids)}):
        if index.name in _calling(models.get(index.table)):
            continue
        forms.has_trusted_indexes = False
        yield Finding("table", f"the index {index.name} on {index.table} depends on functions outside pg_catalog")
    trusted = {relation.id: name for name, relation in heads.items() if name not in distrusted}
    yield from read_columns(session, trusted, models, forms.tables)


def _hidden(relation: Any, model: Table | None, *, is_owner: bool) -> Iterator[str]:
    """Yield why a query of a relation may not show what the table of this name contains."""
    name = relation.name
    kinds = ("r", "p") if model is None else ("p",) if _is_partitioned(model) else ("r",)
    if relation.kind not in kinds:
        yield f"{name} is {_KINDS.get(relation.kind, 'no table')}, not {_KINDS[kinds[0]]}"
    elif not relation.is_heap:
        yield f"the table {name} has an access method that is not built in"
    if is_owner and relation.is_narrowed:
        yield f"row security applies to the owner on {name}, so policies could hide rows"


def _unusual(relation: Any, model: Table | None) -> Iterator[str]:
    """Yield other differences, which hide no row now."""
    name = relation.name
    if not relation.is_permanent:
        yield f"the table {name} is unlogged or temporary, so the server empties it"
    if relation.inherits:
        yield f"the table {name} is a part of another table"
    for rule in relation.rules:
        yield f"the rule {rule} on {name} rewrites statements"
    if relation.is_forced:
        yield f"row security is forced on {name}"
    if model is None:
        return
    if not relation.has_row_security:
        yield f"row security is off on {name}"
    if sorted(relation.keys) != sorted(column.name for column in model.primary_key.columns):
        yield f"the table {name} has lost its primary key, so it can contain a row twice"


def _of_child(relation: Any, model: Table | None) -> Iterator[str]:
    if not relation.relispartition:
        yield f"the table {relation.name} inherits from {relation.head}, so queries of {relation.head} show its rows"
    elif not (model is None or _is_partitioned(model)) or relation.kind not in ("r", "p") or not relation.is_heap:
        yield f"the partition {relation.name} of {relation.head} is {_KINDS.get(relation.kind, 'no table')}"


def _is_partitioned(model: Table) -> bool:
    return bool(model.dialect_options["postgresql"]["partition_by"])


def _calling(model: Table | None) -> set[str]:
    """Return the declared indexes of a table that call functions of `public`, whose names end in a number."""
    indexes = () if model is None else model.indexes
    return {str(index.name) for index in indexes if any(_OF_INDEXES.search(str(part)) for part in index.expressions)}


def _policies(session: Session, ids: Mapping[int, str], distrusted: set[str]) -> Iterator[Finding]:
    """Yield the tables whose policies may not show all rows to an administrator."""
    found: dict[str, list[Any]] = {table: [] for table in ids.values()}
    for policy in rows(session, _POLICIES, {"ids": list(ids)}):
        found[policy.table].append(policy)
    for table, policies in found.items():
        for policy in policies:
            if not policy.is_permissive or policy.condition != _SEES_ALL:
                distrusted.add(table)
                yield Finding("table", f"the policy {policy.name} on {table} may hide rows from administrators")
        if not policies:
            distrusted.add(table)
            yield Finding("table", f"the table {table} has no policy that shows its rows to administrators")
