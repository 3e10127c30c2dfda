"""Name the objects that belong neither to this layer, nor to a service that registered them, nor to an extension.

Overloads, operators, casts and types change what unchanged expressions mean: `jsonb_build_object('new', x)` calls the
function in `public` whose arguments match better than those of PostgreSQL's own. Casts, event triggers and languages
belong to no schema. Superusers can also add objects to `pg_catalog`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import Connection, text

from src.database.provisioning.differences import Difference, Kind
from src.database.schema import credential_view

# Objects with lower numbers were created by initdb.
_FIRST_OF_USERS = 16384
_PLACES = "('public'::regnamespace, 'pg_catalog'::regnamespace)"
_OBJECTS = text(
    rf"""
    SELECT o.what, o.name, o.is_weakness FROM (
        SELECT 'pg_proc'::regclass AS catalog, p.oid,
               CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END AS what,
               p.pronamespace::regnamespace || '.' || p.proname || '('
                   || array_to_string(p.proargtypes::regtype[], ', ') || ')' AS name,
               p.pronamespace = 'pg_catalog'::regnamespace OR EXISTS (SELECT FROM pg_proc b
                   WHERE b.proname = p.proname AND b.pronamespace = 'pg_catalog'::regnamespace) AS is_weakness
          FROM pg_proc p WHERE p.pronamespace IN {_PLACES}
        UNION ALL
        -- A function of PostgreSQL itself, replaced by a superuser: its languages are internal, c and sql.
        SELECT 'pg_proc'::regclass, NULL, 'replaced function', 'pg_catalog.' || p.proname || '('
                   || array_to_string(p.proargtypes::regtype[], ', ') || ')', true
          FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
         WHERE p.oid < {_FIRST_OF_USERS} AND p.pronamespace = 'pg_catalog'::regnamespace
           AND l.lanname NOT IN ('internal', 'c', 'sql')
        UNION ALL
        SELECT 'pg_operator'::regclass, r.oid, 'operator', r.oprnamespace::regnamespace || '.' || r.oprname || ' ('
                   || r.oprleft::regtype || ', ' || r.oprright::regtype || ')', true
          FROM pg_operator r WHERE r.oprnamespace IN {_PLACES}
        UNION ALL
        SELECT 'pg_cast'::regclass, c.oid, 'cast',
               '(' || c.castsource::regtype || ' AS ' || c.casttarget::regtype || ')', true
          FROM pg_cast c
        UNION ALL
        -- Without the types of rows, and of arrays of other types.
        SELECT 'pg_type'::regclass, t.oid, CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END,
               t.typnamespace::regnamespace || '.' || t.typname, EXISTS (SELECT FROM pg_type b
                   WHERE b.typname = t.typname AND b.typnamespace = 'pg_catalog'::regnamespace AND b.oid <> t.oid)
          FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
         WHERE t.typnamespace IN {_PLACES} AND coalesce(c.relkind, 'c') = 'c'
           AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
        UNION ALL
        SELECT 'pg_class'::regclass, c.oid,
               CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END,
               c.relnamespace::regnamespace || '.' || c.relname, c.relnamespace = 'pg_catalog'::regnamespace
          FROM pg_class c WHERE c.relnamespace IN {_PLACES} AND c.relkind IN ('v', 'm', 'f')
        UNION ALL
        SELECT 'pg_opclass'::regclass, o.oid, 'operator class', o.opcnamespace::regnamespace || '.' || o.opcname, true
          FROM pg_opclass o
        UNION ALL
        SELECT 'pg_collation'::regclass, n.oid, 'collation', n.collnamespace::regnamespace || '.' || n.collname, false
          FROM pg_collation n WHERE n.collnamespace IN {_PLACES}
        UNION ALL
        SELECT 'pg_conversion'::regclass, v.oid, 'conversion', v.connamespace::regnamespace || '.' || v.conname, true
          FROM pg_conversion v
        UNION ALL
        SELECT 'pg_ts_config'::regclass, f.oid, 'text search configuration',
               f.cfgnamespace::regnamespace || '.' || f.cfgname, EXISTS (SELECT FROM pg_ts_config b
                   WHERE b.cfgname = f.cfgname AND b.cfgnamespace = 'pg_catalog'::regnamespace AND b.oid <> f.oid)
          FROM pg_ts_config f WHERE f.cfgnamespace IN {_PLACES}
        UNION ALL
        SELECT 'pg_event_trigger'::regclass, e.oid, 'event trigger', e.evtname::text, true FROM pg_event_trigger e
        UNION ALL
        SELECT 'pg_language'::regclass, l.oid, 'language', l.lanname::text, true FROM pg_language l
        UNION ALL
        -- In the default search path it comes before public.
        SELECT 'pg_namespace'::regclass, n.oid, 'schema', n.nspname::text, true
          FROM pg_namespace n
         WHERE n.nspname IN (session_user, (SELECT pg_get_userbyid(c.relowner) FROM pg_class c
                                             WHERE c.oid = to_regclass('public.cases')))
    ) AS o (catalog, oid, what, name, is_weakness)
     WHERE coalesce(o.oid >= {_FIRST_OF_USERS}, true)
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.catalog AND d.objid = o.oid AND d.deptype = 'e')
     ORDER BY o.what, o.name
""".replace("::", r"\:\:")
)  # text() reads colons as parameters


def compare_objects(connection: Connection, known_functions: Collection[str]) -> Iterator[Difference]:
    """Yield the unknown objects; `known_functions` are identities such as `actor_id()`.

    One that can change the meaning of expressions is a weakness; the others are reported. The search path must be
    `pg_catalog`.
    """
    known = {f"public.{identity}" for identity in known_functions} | {f"public.{credential_view.NAME}"}
    names = {identity.partition("(")[0] for identity in known}
    for what, name, is_weakness in connection.execute(_OBJECTS):
        if name in known:
            continue
        kind = Kind.FUNCTION if what in {"function", "aggregate", "procedure", "replaced function"} else Kind.OBJECT
        sentence = f"the {what} {name} is unknown to this version"
        # An overload of a function of this layer.
        if is_weakness or (kind is Kind.FUNCTION and name.partition("(")[0] in names):
            left = f"it can change what expressions mean; unless it is intended, drop the {what}"
            yield Difference(kind, name, sentence, left=left)
        else:
            yield Difference(
                kind, name, sentence, left="this layer does not use it; unless it is intended, drop it", foreign=True
            )
