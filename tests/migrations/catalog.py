"""A complete picture of the schema of a database, read from the catalog; two pictures can be compared.

`alembic check` compares tables, columns, indexes and foreign keys, but not the protection: CHECKs, functions, triggers,
policies, grants. Excluded here: objects of extensions, the table of Alembic, the monthly partitions (they depend on the
day), and the order of columns (a column added by a migration comes last).
"""

from __future__ import annotations

from sqlalchemy import Connection, text

Picture = dict[str, str]


def no_extension(catalog: str, row: str) -> str:
    """SQL condition: the object of this catalog row does not belong to an extension."""
    return (
        f"NOT EXISTS (SELECT FROM pg_depend e"
        f" WHERE e.classid = '{catalog}'::regclass AND e.objid = {row}.oid AND e.deptype = 'e')"
    )


def rights(acl: str, owner: str, kind: str | None = None) -> str:
    """SQL expression: the privileges. A null ACL is the built-in default of `kind`; the owner is printed as OWNER."""
    complete = f"coalesce({acl}, acldefault('{kind}', {owner}))" if kind else acl
    return f"""
        (SELECT string_agg(format('%s=%s%s', CASE a.grantee WHEN {owner} THEN 'OWNER' WHEN 0 THEN 'PUBLIC'
                                             ELSE a.grantee::regrole::text END,
                                  a.privilege_type, CASE WHEN a.is_grantable THEN '*' END), ' '
                           ORDER BY a.grantee::regrole::text, a.privilege_type)
           FROM aclexplode({complete}) a)
    """


# Relations except those of extensions and of Alembic, and partitions. `c` is the pg_class row.
RELATIONS = f"""
    c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version' AND NOT c.relispartition
    AND {no_extension("pg_class", "c")}
"""

QUERIES = {
    "schema": f"""
        SELECT n.nspname, concat_ws(' | ', obj_description(n.oid, 'pg_namespace'),
                                    {rights("n.nspacl", "n.nspowner", "n")})
          FROM pg_namespace n WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    """,
    "default grant": """
        SELECT concat_ws(' ', d.defaclrole::regrole, d.defaclnamespace::regnamespace, d.defaclobjtype),
               d.defaclacl::text FROM pg_default_acl d
    """,
    "relation": f"""
        SELECT c.relname, concat_ws(' | ', 'kind ' || c.relkind::text, 'persistence ' || c.relpersistence::text,
                   'row security ' || c.relrowsecurity, 'forced ' || c.relforcerowsecurity,
                   'replica identity ' || c.relreplident::text,
                   pg_get_partkeydef(c.oid), array_to_string(c.reloptions, ','),
                   CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
                   obj_description(c.oid, 'pg_class'),
                   {rights("c.relacl", "c.relowner", "r")})
          FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {RELATIONS}
    """,
    "default partition": """
        SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relispartition
           AND pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT' AND c.relkind = 'r'
    """,
    "column": f"""
        SELECT c.relname || '.' || a.attname, concat_ws(' | ', format_type(a.atttypid, a.atttypmod),
                   CASE WHEN a.attnotnull THEN 'not null' END, 'default ' || pg_get_expr(d.adbin, d.adrelid),
                   'identity ' || nullif(a.attidentity, '')::text, 'generated ' || nullif(a.attgenerated, '')::text,
                   'collation ' || nullif(a.attcollation, t.typcollation)::regcollation::text,
                   'storage ' || a.attstorage::text, 'compression ' || nullif(a.attcompression, '')::text,
                   'statistics ' || coalesce(a.attstattarget, -1),
                   col_description(c.oid, a.attnum), {rights("a.attacl", "c.relowner")})
          FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {RELATIONS}
    """,
    "sequence": f"""
        SELECT c.relname, concat_ws(' | ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin,
                   s.seqmax, s.seqcache, s.seqcycle,
                   (SELECT format('%s of %s', d.deptype, d.refobjid::regclass) FROM pg_depend d
                     WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')),
                   {rights("c.relacl", "c.relowner", "s")})
          FROM pg_class c JOIN pg_sequence s ON s.seqrelid = c.oid WHERE {RELATIONS}
    """,
    "constraint": f"""
        SELECT concat_ws('.', c.relname, k.conname), concat_ws(' | ', k.contype, pg_get_constraintdef(k.oid),
                   CASE WHEN NOT k.convalidated THEN 'not valid' END, obj_description(k.oid, 'pg_constraint'))
          FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE {RELATIONS}
    """,
    "index": f"""
        SELECT i.indexrelid::regclass::text, concat_ws(' | ', pg_get_indexdef(i.indexrelid),
                   obj_description(i.indexrelid, 'pg_class'),
                   (SELECT 'classes ' || string_agg(o.opcname, ' ' ORDER BY k.place)
                      FROM unnest(i.indclass) WITH ORDINALITY AS k (class, place) JOIN pg_opclass o ON o.oid = k.class),
                   (SELECT 'statistics ' || string_agg(coalesce(a.attstattarget, -1)::text, ' ' ORDER BY a.attnum)
                      FROM pg_attribute a WHERE a.attrelid = i.indexrelid),
                   CASE WHEN NOT i.indisvalid THEN 'invalid' END, CASE WHEN i.indisreplident THEN 'identity' END)
          FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE {RELATIONS}
    """,
    "function": f"""
        SELECT p.oid::regprocedure::text, concat_ws(' | ', pg_get_functiondef(p.oid), 'definer ' || p.prosecdef,
                   array_to_string(p.proconfig, ','), obj_description(p.oid, 'pg_proc'),
                   {rights("p.proacl", "p.proowner", "f")})
          FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prokind <> 'a'
           AND {no_extension("pg_proc", "p")}
    """,
    "trigger": f"""
        SELECT c.relname || '.' || t.tgname, concat_ws(' | ', pg_get_triggerdef(t.oid), 'enabled ' || t.tgenabled::text)
          FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND {RELATIONS}
    """,
    "event trigger": "SELECT t.evtname, concat_ws(' | ', t.evtevent, t.evtfoid::regproc) FROM pg_event_trigger t",
    "policy": f"""
        SELECT c.relname || '.' || p.polname, concat_ws(' | ', p.polcmd, 'permissive ' || p.polpermissive,
                   (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END, ', ' ORDER BY r)
                      FROM unnest(p.polroles) r),
                   'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid))
          FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE {RELATIONS}
    """,
    "type": f"""
        SELECT t.typname, concat_ws(' | ', t.typtype, (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
                                                         FROM pg_enum e WHERE e.enumtypid = t.oid),
                   format_type(nullif(t.typbasetype, 0), t.typtypmod),
                   {rights("t.typacl", "t.typowner", "T")})
          FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
         WHERE t.typnamespace = 'public'::regnamespace AND t.typcategory <> 'A' AND coalesce(c.relkind, 'c') = 'c'
           AND {no_extension("pg_type", "t")}
    """,
}


def read(connection: Connection) -> Picture:
    """Return the objects in the catalog: `kind name` → definition. Ends the transaction of the connection."""
    connection.rollback()
    # With an empty search_path PostgreSQL qualifies all names.
    connection.execute(text("SELECT set_config('search_path', '', true)"))
    picture = look(connection)
    connection.rollback()
    return picture


def look(connection: Connection) -> Picture:
    """Return the objects in the catalog as seen by this transaction; its search_path must be empty."""
    return {
        f"{kind} {name}": definition
        for kind, query in QUERIES.items()
        for name, definition in connection.execute(text(query))
    }


def differences(left: Picture, right: Picture) -> list[str]:
    """Return a line for each object that is missing from one picture or differs; an empty list when equal."""
    return [
        f"{name}:\n  left:  {left.get(name, 'absent')}\n  right: {right.get(name, 'absent')}"
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    ]
