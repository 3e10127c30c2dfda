"""Read from the catalog what definitions of tables, constraints and indexes do not contain.

Storage, compression and comments of columns, numbers of identity columns, comments, replica identity, persistence and
partitioning of tables, options of the indexes of keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class DetailKey(NamedTuple):
    """A property of a table, or of a column or index of it; then `name` is not empty."""

    table: str
    what: str
    name: str


class Detail(NamedTuple):
    """A value as it is reported, and the statement that sets it; None when it cannot be set in place."""

    value: str
    statement: str | None


Details = Mapping[DetailKey, Detail]


def as_details(rows: Iterable[Sequence[str]]) -> Details:
    """Return the rows of `details_query` by their key."""
    return {DetailKey(table, what, name): Detail(value, statement) for table, what, name, value, statement in rows}


def details_query(tables: str) -> str:
    """Return the query for the tables that the condition `tables` admits; `c` is the row of pg_class."""
    return _QUERY.format(tables=tables)


# Temporary copies have another persistence than tables; all of them are permanent here.
_QUERY = """
    SELECT c.relname::text, 'storage', a.attname::text, s.name,
           format('ALTER TABLE public.%I ALTER %I SET STORAGE %s', c.relname, a.attname, s.name)
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
           LATERAL (SELECT CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN'
                                             ELSE 'EXTENDED' END) AS s (name) WHERE {tables}
    UNION ALL
    SELECT c.relname::text, 'compression', a.attname::text, s.name,
           format('ALTER TABLE public.%I ALTER %I SET COMPRESSION %s', c.relname, a.attname, s.name)
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
           LATERAL (SELECT CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE 'default' END)
               AS s (name) WHERE {tables}
    UNION ALL
    SELECT c.relname::text, 'comment', a.attname::text, d.description,
           format('COMMENT ON COLUMN public.%I.%I IS %L', c.relname, a.attname, d.description)
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid = a.attnum
     WHERE {tables}
    UNION ALL
    SELECT c.relname::text, 'table comment', '', obj_description(c.oid, 'pg_class'),
           format('COMMENT ON TABLE public.%I IS %L', c.relname, obj_description(c.oid, 'pg_class'))
      FROM pg_class c WHERE obj_description(c.oid, 'pg_class') IS NOT NULL AND {tables}
    UNION ALL
    SELECT c.relname::text, 'numbers', a.attname::text,
           format('%s START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s%s', s.seqtypid::regtype, s.seqstart,
                  s.seqincrement, s.seqmin, s.seqmax, s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END),
           format('ALTER SEQUENCE public.%I AS %s START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s %sCYCLE',
                  q.relname, s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
                  CASE WHEN s.seqcycle THEN '' ELSE 'NO ' END)
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attidentity <> ''
      JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.refclassid = d.classid AND d.refobjid = c.oid
                          AND d.refobjsubid = a.attnum AND d.deptype = 'i'
      JOIN pg_sequence s ON s.seqrelid = d.objid JOIN pg_class q ON q.oid = d.objid WHERE {tables}
    UNION ALL
    SELECT c.relname::text, 'replica identity', '', r.name,
           format('ALTER TABLE public.%I REPLICA IDENTITY DEFAULT', c.relname)
      FROM pg_class c, LATERAL (SELECT CASE c.relreplident WHEN 'd' THEN 'the primary key' WHEN 'n' THEN 'nothing'
                                                           WHEN 'f' THEN 'the full row' ELSE 'another index' END)
               AS r (name) WHERE {tables}
    UNION ALL
    SELECT c.relname::text, 'persistence', '', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE 'LOGGED' END,
           format('ALTER TABLE public.%I SET LOGGED', c.relname) FROM pg_class c WHERE {tables}
    UNION ALL
    SELECT c.relname::text, 'partitioning', '', coalesce(pg_get_partkeydef(c.oid), 'none'), NULL
      FROM pg_class c WHERE {tables}
    UNION ALL
    SELECT c.relname::text, 'options', x.relname::text, coalesce(array_to_string(x.reloptions, ', '), 'none'),
           CASE WHEN x.reloptions IS NULL THEN NULL
                ELSE format('ALTER INDEX public.%I SET (%s)', x.relname, array_to_string(x.reloptions, ', ')) END
      FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
     WHERE EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.oid AND k.conrelid = c.oid
                      AND k.contype IN ('p', 'u', 'x')) AND {tables}
"""
