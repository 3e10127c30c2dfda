"""Tables of services: the protection of this layer for a table in the Alembic history of a service.

    def upgrade() -> None:
        case_id = sa.Column("case_id", sa.Integer, sa.ForeignKey("cases.id", ondelete="CASCADE"), nullable=False)
        table = op.create_table("case_tags", *record_columns(), case_id, sa.Column("tag", sa.Text, nullable=False))
        protect_table(op, table, insert=("case_id", "tag"), update=("tag",))

Declarations are stored in `protected_tables`, so that `init_db --check` and `alembic upgrade` of this layer check and
repair the protection of these tables too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Identity,
    MetaData,
    Table,
    TableClause,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS
from sqlalchemy.types import NULLTYPE

from src.database.schema.creation import execute
from src.database.schema.declaration import PERSONAL, SECRET, SIGNED, UNREADABLE, UNSAMPLED, WRITTEN, Protected, declare
from src.database.schema.derivation import Derived, derive
from src.database.schema.objects import SESSION_ROLES
from src.database.schema.sql_files import functions
from src.errors import InvalidInput

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# The longest policy name adds 13 characters, and names have at most 63.
_LONGEST_TABLE = 50
_REQUIRED = ("id", "created_at", "updated_at")
_SET_BY_SERVER = {*_REQUIRED, "row_version"}

# A single statement, which is atomic even if a service migrates without a transaction.
_CLEAR = """
DO $clear$
DECLARE
    place regclass := to_regclass('public.{name}');
    old text;
BEGIN
    IF NOT EXISTS (SELECT FROM public.protected_tables p WHERE p.name = '{name}') THEN
        {unless_registered}
    END IF;
    IF place IS NULL THEN
        RETURN;
    END IF;
    REVOKE ALL ON public.{name} FROM {roles}, PUBLIC;
    FOR old IN
        SELECT 'DROP POLICY ' || quote_ident(p.polname) FROM pg_policy p WHERE p.polrelid = place AND p.polpermissive
        UNION ALL SELECT 'DROP TRIGGER ' || quote_ident(o.tgname) FROM ({triggers}) o
    LOOP
        EXECUTE old || ' ON public.{name}';
    END LOOP;
END $clear$;
""".strip()
# Values that drivers cannot read: see src/database/sql/readable_values_1.sql. A CHECK of the service that calls such a
# function with the column is kept: it may have another size.
_LIMIT = r"""
DO $limit$
DECLARE
    place regclass := to_regclass('public.{name}');
    rule text;
    c record;
BEGIN
    FOR c IN SELECT a.attnum, a.attname, b.typcategory, b.typelem,
                    CASE WHEN b.typtype = 'd' THEN b.typbasetype ELSE b.oid END::regtype::text AS type
               FROM pg_attribute a JOIN pg_type b ON b.oid = a.atttypid
              WHERE a.attrelid = place AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
              ORDER BY a.attnum
    LOOP
        rule := CASE c.type
            WHEN 'timestamp with time zone' THEN 'public.readable_time_1(%I)'
            WHEN 'timestamp without time zone' THEN 'public.readable_time_1(%I AT TIME ZONE ''UTC'')'
            WHEN 'date' THEN 'public.readable_date_1(%I)'
            WHEN 'jsonb' THEN 'public.readable_json_1(%I, {size})'
            WHEN 'json' THEN 'public.readable_json_1(%I::jsonb, {size})'
        END;
        IF c.type IN ('interval', 'refcursor') OR c.typcategory IN ('R', 'C')
           OR c.typcategory = 'A' AND c.type ~ '^(timestamp|date|json|interval|.*range)' THEN
            RAISE EXCEPTION 'the column %.% has the type %, which has values that drivers cannot read; use timestamptz,'
                ' date, bigint or jsonb', place, c.attname, c.type USING ERRCODE = 'invalid_table_definition';
        END IF;
        IF rule IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_constraint k WHERE k.conrelid = place AND k.contype = 'c' AND k.conkey = ARRAY[c.attnum]
               AND pg_get_constraintdef(k.oid) ~ 'readable_(time|date|json)_1\(') THEN
            EXECUTE format('ALTER TABLE public.{name} ADD CONSTRAINT %I CHECK (' || rule || ')',
                left(format('{name}_%s_readable_check', c.attname), 63), c.attname);
        END IF;
    END LOOP;
END $limit$;
""".strip()
_LARGEST_DOCUMENT = 16 << 20
_REFUSE = """
        IF EXISTS ({triggers}) THEN
            RAISE EXCEPTION 'the table {name} is already protected, but not by protect_table'
                USING ERRCODE = 'invalid_table_definition';
        END IF;
""".strip()


def record_columns(*, versioned: bool = False) -> tuple[Column[Any], ...]:
    """Return the required columns of a protected table: `id`, `created_at`, `updated_at`, all set by the server.

    `versioned` adds `row_version`, counted by a trigger: map it as the version counter of the model.
    """
    columns: list[Column[Any]] = [Column("id", BigInteger, Identity(), primary_key=True)]
    for name in ("created_at", "updated_at"):
        limit = CheckConstraint(f"public.readable_time_1({name})", name=f"{name}_range")
        columns.append(Column(name, TIMESTAMP(timezone=True), limit, server_default=func.now(), nullable=False))
    if versioned:
        columns.append(
            Column("row_version", BigInteger, server_default="1", nullable=False, comment="counted by a trigger")
        )
    return tuple(columns)


def protect_table(
    op: Any,
    table: TableClause,
    *,
    insert: Collection[str] = (),
    update: Collection[str] = (),
    signed: Collection[str] = (),
    sensitive: Collection[str] = (),
    secret: Collection[str] = (),
    personal: Collection[str] = (),
    unsampled: Collection[str] = (),
    protected: Protected | None = None,
) -> None:
    """Protect a table of a service with row security, capture, guards and grants, and store the declaration.

    `op` is Alembic's, `table` the result of `op.create_table`: a table in `public` with `record_columns()` and, unless
    `protected` declares otherwise, a `case_id` (integer) that references `cases.id`; names must not need quotes.
    Sessions may set the columns `insert` on INSERT and `update` on UPDATE; `signed` columns may only be set to the
    actor; of `sensitive` and `secret` columns the log contains a salted hash, and no session may read a `secret`
    column. `personal` columns contain what people said or wrote: the log keeps their values under the rights of the
    case. ANALYZE samples neither those nor `unsampled` columns. The verbs that the commands require in the case are
    those of `protected`, by default write, write, delete.

    Repeatable: a new declaration replaces the previous one. A later revision passes the table with all its columns,
    `sa.table("case_tags", sa.column("id"), ...)`. Existing permissive policies, privileges of sessions and triggers of
    this layer are dropped. Timestamps, dates and JSON documents get a CHECK that every client can read them (JSON:
    16 MiB, unless a CHECK of the service calls `readable_json_1`). Existing rows get their first entry from `history
    baseline`. The table is locked until the transaction ends. Raises InvalidInput for a table or a column that cannot
    be protected; the database raises an error for a table of this layer, for a column of a type that cannot be limited
    (intervals, ranges, arrays of times or documents), and for rows that violate the limits.
    """
    protected = protected or Protected()
    marked = {"insert": insert, "update": update, "signed": signed, "sensitive": sensitive, "secret": secret,
              "personal": personal, "unsampled": unsampled}  # fmt: skip
    declaration = {
        "columns": [column.name for column in table.columns],
        **{mark: list(names) for mark, names in marked.items()},
        "protected": {name: value for name, value in asdict(protected).items() if name != "triggers"},
    }
    if protected.triggers:
        raise InvalidInput("protected: must not have triggers; create them in the revision of the service.")
    if table.schema not in {None, "public"}:
        raise InvalidInput(
            f"protect_table: {table.name} is in the schema {table.schema}; only tables in public can be protected."
        )
    _require(table, declaration, protected)
    derived = _derived(table.name, declaration)
    document = json.dumps(declaration, sort_keys=True).replace("'", "''")
    # Row security first, since it takes the strongest lock: upgrading from a weaker lock could deadlock with a session
    # that has read the table and now writes to it.
    run(op, derived.row_security)
    run(op, _clear(table.name, _REFUSE))
    run(op, _LIMIT.format(name=table.name, size=_LARGEST_DOCUMENT))
    run(op, derived.create())
    run(
        op,
        f"INSERT INTO public.protected_tables (name, declaration) VALUES ('{table.name}', '{document}')"
        " ON CONFLICT (name) DO UPDATE SET declaration = excluded.declaration;",
    )


def unprotect_table(op: Any, name: str) -> None:
    """Undo `protect_table`, before `op.drop_table`.

    If the table is kept, row security stays enabled without policies and privileges: sessions have no access. Does
    nothing without a previous `protect_table`. Raises InvalidInput for a name that needs quotes.
    """
    _require_plain(name)
    run(op, _clear(name, "RETURN;"))
    run(op, f"DELETE FROM public.protected_tables WHERE name = '{name}';")


def registered(connection: Connection) -> tuple[Derived, ...]:
    """Return the objects derived from the stored declarations of existing tables of services."""
    if connection.scalar(text("SELECT to_regclass('public.protected_tables') IS NULL")):
        return ()
    rows = connection.execute(
        text(
            "SELECT name, declaration FROM public.protected_tables"
            " WHERE to_regclass('public.' || quote_ident(name)) IS NOT NULL ORDER BY name"
        )
    )
    return tuple(_derived(name, declaration) for name, declaration in rows)


def _require_plain(*names: str) -> None:
    for name in names:
        if not _NAME.fullmatch(name) or name in RESERVED_WORDS:
            raise InvalidInput(
                f"protect_table: {name!r} would need quotes; use lowercase letters, digits and underscores, and no"
                " reserved word of SQL."
            )


def _require(table: TableClause, declaration: dict[str, Any], protected: Protected) -> None:
    _require_plain(table.name, *declaration["columns"])
    if len(table.name) > _LONGEST_TABLE:
        raise InvalidInput(
            f"protect_table: the name {table.name} has {len(table.name)} characters; at most {_LONGEST_TABLE}, since"
            " the names of its policies are longer."
        )
    present = set(declaration["columns"])
    required = [*_REQUIRED, *([protected.case] if protected.case else [])]
    if missing := [name for name in required if name not in present]:
        raise InvalidInput(
            f"The table {table.name} needs the columns {', '.join(missing)}; record_columns() returns id, created_at"
            " and updated_at."
        )
    for mark in ("insert", "update", "signed", "sensitive", "secret", "personal", "unsampled"):
        if unknown := sorted(set(declaration[mark]) - present):
            raise InvalidInput(f"{mark}: the table {table.name} has no column {', '.join(unknown)}.")
        if mark in {"insert", "update"} and (generated := sorted(_SET_BY_SERVER & set(declaration[mark]))):
            raise InvalidInput(f"{mark}: the server sets {', '.join(generated)}; remove it.")
    if unwritten := sorted(set(declaration["signed"]) - {*declaration["insert"], *declaration["update"]}):
        raise InvalidInput(f"signed: {', '.join(unwritten)} must be one of the columns of insert or update.")


def _derived(name: str, declaration: dict[str, Any]) -> Derived:
    marks = {"signed": SIGNED, "secret": UNREADABLE, "unsampled": UNSAMPLED, "personal": PERSONAL}
    columns = []
    for column in declaration["columns"]:
        # A declaration from before a mark was known lacks it.
        info: dict[str, Any] = {mark: column in declaration.get(key, ()) for key, mark in marks.items()}
        # Of both the log contains only a hash.
        info[SECRET] = column in declaration["sensitive"] or info[UNREADABLE]
        info[UNSAMPLED] = info[UNSAMPLED] or info[PERSONAL] or info[SECRET]
        info[WRITTEN] = tuple(
            command for command, key in (("INSERT", "insert"), ("UPDATE", "update")) if column in declaration[key]
        )
        columns.append(Column(column, NULLTYPE, info=info))
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in declaration["protected"].items()
    }
    table = Table(name, MetaData(), *columns)
    declare(table, Protected(**fields))
    return derive(table)


def _clear(name: str, unless_registered: str) -> str:
    """Return the SQL that removes privileges, permissive policies and triggers of this layer from a table."""
    names = ", ".join(f"'{each.name}'" for each in functions() if "\nRETURNS trigger " in each.definition)
    return _CLEAR.replace("{unless_registered}", unless_registered).format(
        name=name,
        roles=", ".join(SESSION_ROLES),
        triggers="SELECT t.tgname FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid WHERE t.tgrelid = place"
        f" AND f.pronamespace = 'public'::regnamespace AND f.proname IN ({names})",
    )


def run(op: Any, sql: str) -> None:
    """Execute SQL literally: without interpreting colons and percent signs, for every paramstyle of a service."""
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(f"{sql}\n")
    else:
        execute(op.get_bind(), sql)
