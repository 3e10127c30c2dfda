"""Reading PostgreSQL's own catalog: what stands there, in a form in which two schemas can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

# A name in the temporary schema stands for the same name in `public`.
_NEUTRAL = "regexp_replace({}, '\\mpg_temp(_[0-9]+)?[.]', 'public.', 'g')"
_SCHEMA = "(CASE :schema WHEN 'pg_temp' THEN pg_my_temp_schema() ELSE 'public'::regnamespace::oid END)"
_NO_EXTENSION = (
    "NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{catalog}'::regclass AND e.objid = {row}.oid"
    " AND e.deptype = 'e')"
)


class Key(NamedTuple):
    """An object of a table: the table and its own name."""

    table: str
    name: str


class Trigger(NamedTuple):
    definition: str
    state: str
    calls: str


class Policy(NamedTuple):
    """What a policy says; `permissive` widens what is seen, a restrictive one narrows it."""

    permissive: bool
    command: str
    roles: str
    using: str | None
    check: str | None


class Function(NamedTuple):
    definition: str
    is_definer: bool
    has_owner_of_tables: bool
    callers: frozenset[str]


class Right(NamedTuple):
    """A right of a role on a table, or on one of its columns."""

    table: str
    role: str
    right: str
    column: str | None


@dataclass(frozen=True)
class Catalog:
    """One schema as the catalog shows it. Partitions and what belongs to an extension are left out."""

    row_security: Mapping[str, bool]
    forced: frozenset[str]
    owners: Mapping[str, str]
    columns: Mapping[Key, str]
    constraints: Mapping[Key, str]
    indexes: Mapping[Key, str]
    statistics: Mapping[Key, int]
    triggers: Mapping[Key, Trigger]
    policies: Mapping[Key, Policy]
    functions: Mapping[str, Function]
    rules: frozenset[Key]


def read_catalog(connection: Connection, schema: str) -> Catalog:
    """Return what stands in `public` or in `pg_temp`. The search path must be `pg_catalog`."""

    def rows(query: str) -> list[Any]:
        return list(connection.execute(text(query), {"schema": schema}))

    tables = rows(_TABLES)
    return Catalog(
        row_security={name: on for name, on, _, _ in tables},
        forced=frozenset(name for name, _, forced, _ in tables if forced),
        owners={name: owner for name, _, _, owner in tables},
        columns={Key(table, name): definition for table, name, definition in rows(_COLUMNS)},
        constraints={Key(table, name): definition for table, name, definition in rows(_CONSTRAINTS)},
        indexes={Key(table, name): definition for table, name, definition in rows(_INDEXES)},
        statistics={Key(table, name): target for table, name, target in rows(_STATISTICS)},
        triggers={Key(table, name): Trigger(*rest) for table, name, *rest in rows(_TRIGGERS)},
        policies={Key(table, name): Policy(*rest) for table, name, *rest in rows(_POLICIES)},
        functions={
            identity: Function(definition, definer, own, frozenset(callers))
            for identity, definition, definer, own, callers in rows(_FUNCTIONS)
        },
        rules=frozenset(Key(table, name) for table, name in rows(_RULES)),
    )


def read_rights(connection: Connection) -> dict[Right, bool]:
    """Return every right on a relation of `public` that is not its owner's, and whether it may be passed on.

    Sequences and partitions are included.
    """
    rows = connection.execute(
        text(
            "SELECT c.relname::text, coalesce(r.rolname::text, 'PUBLIC'), a.privilege_type, NULL::text, a.is_grantable"
            " FROM pg_class c,"
            " aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')"
            f" AND a.grantee <> c.relowner AND {_NO_EXTENSION.format(catalog='pg_class', row='c')}"
            " UNION ALL SELECT c.relname::text, coalesce(r.rolname::text, 'PUBLIC'), a.privilege_type,"
            " t.attname::text, a.is_grantable FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid,"
            " aclexplode(t.attacl) a"
            " LEFT JOIN pg_roles r ON r.oid = a.grantee"
            " WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner"
            f" AND {_NO_EXTENSION.format(catalog='pg_class', row='c')}"
        )
    )
    return {Right(*right): passed_on for *right, passed_on in rows}


_TABLES = f"""
    SELECT c.relname::text, c.relrowsecurity, c.relforcerowsecurity, c.relowner::regrole::text FROM pg_class c
     WHERE c.relnamespace = {_SCHEMA} AND c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND {_NO_EXTENSION.format(catalog="pg_class", row="c")}
"""
_OURS = f"c.relnamespace = {_SCHEMA} AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
_COLUMNS = f"""
    SELECT c.relname::text, a.attname::text, concat_ws(' ', format_type(a.atttypid, a.atttypmod),
               CASE WHEN a.attnotnull THEN 'NOT NULL' END,
               'DEFAULT ' || {_NEUTRAL.format("pg_get_expr(d.adbin, d.adrelid)")},
               'IDENTITY ' || nullif(a.attidentity, '')::text, 'GENERATED ' || nullif(a.attgenerated, '')::text)
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE {_OURS}
"""
# NOT NULL stands with its column; since version 18 it is a constraint too.
_CONSTRAINTS = rf"""
    SELECT c.relname::text, k.conname::text,
           regexp_replace({_NEUTRAL.format("pg_get_constraintdef(k.oid)")},
                          'REFERENCES (\w+\()', 'REFERENCES public.\1')
           || CASE WHEN k.convalidated THEN '' ELSE ' NOT VALID' END
      FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE k.contype <> 'n' AND k.contype <> 't' AND {_OURS}
"""
_INDEXES = f"""
    SELECT c.relname::text, x.relname::text, {_NEUTRAL.format("pg_get_indexdef(i.indexrelid)")}
           || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END
      FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid WHERE {_OURS}
"""
_STATISTICS = f"""
    SELECT c.relname::text, a.attname::text, coalesce(a.attstattarget, -1)::integer
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE {_OURS}
    UNION ALL
    SELECT x.relname::text, 'first expression', coalesce(a.attstattarget, -1)::integer
      FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
      JOIN pg_attribute a ON a.attrelid = x.oid AND a.attnum = 1 WHERE i.indkey[0] = 0 AND {_OURS}
"""
_TRIGGERS = f"""
    SELECT c.relname::text, t.tgname::text, {_NEUTRAL.format("pg_get_triggerdef(t.oid)")}, t.tgenabled::text,
           p.proname::text || CASE WHEN p.pronamespace = 'public'::regnamespace THEN ''
                                   ELSE ' of ' || p.pronamespace::regnamespace END
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
     WHERE NOT t.tgisinternal AND {_OURS}
"""
_POLICIES = f"""
    SELECT c.relname::text, p.polname::text, p.polpermissive, p.polcmd::text,
           (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END, ', ' ORDER BY r)
              FROM unnest(p.polroles) r),
           {_NEUTRAL.format("pg_get_expr(p.polqual, p.polrelid)")},
           {_NEUTRAL.format("pg_get_expr(p.polwithcheck, p.polrelid)")}
      FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE {_OURS}
"""
_FUNCTIONS = f"""
    SELECT p.proname || '(' || array_to_string(p.proargtypes::regtype[], ', ') || ')',
           {_NEUTRAL.format("pg_get_functiondef(p.oid)")}, p.prosecdef,
           coalesce(p.proowner = (SELECT c.relowner FROM pg_class c WHERE c.oid = to_regclass('public.cases')), true),
           ARRAY(SELECT coalesce(r.rolname::text, 'PUBLIC')
                   FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                   LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> p.proowner)
      FROM pg_proc p WHERE p.prokind IN ('f', 'p') AND p.pronamespace = {_SCHEMA}
       AND {_NO_EXTENSION.format(catalog="pg_proc", row="p")}
"""
_RULES = f"""
    SELECT c.relname::text, r.rulename::text FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE {_OURS}
"""
