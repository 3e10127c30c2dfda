"""Tables of services beside those of this layer: the same protection for a table in a service's own Alembic history.

    def upgrade() -> None:
        case_id = sa.Column("case_id", sa.Integer, sa.ForeignKey("cases.id", ondelete="CASCADE"), nullable=False)
        table = op.create_table("case_tags", *record_columns(), case_id, sa.Column("tag", sa.Text, nullable=False))
        protect_table(op, table, insert=("case_id", "tag"), update=("tag",))

What is declared stands in `protected_tables`, so that `init_db --check` and `alembic upgrade` of this layer keep the
table's protection like that of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Identity, MetaData, Table, TableClause, func, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS
from sqlalchemy.types import NULLTYPE

from src.database.schema.creation import execute
from src.database.schema.declaration import SECRET, SENSITIVE, SIGNED, UNSAMPLED, WRITTEN, Protected, declare
from src.database.schema.derivation import Derived, derive
from src.database.schema.objects import SESSION_ROLES
from src.database.schema.sql_files import functions
from src.errors import InvalidInput

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# The longest name of a policy adds 13 characters, and a name has 63.
_LONGEST_TABLE = 50
_NEEDED = ("id", "created_at", "updated_at")
_KEPT_BY_THE_SERVER = {*_NEEDED, "row_version"}

# Run as one statement, also where a service migrates without a transaction.
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
_REFUSE = """
        IF EXISTS ({triggers}) THEN
            RAISE EXCEPTION 'the table {name} is protected already, and not by protect_table'
                USING ERRCODE = 'invalid_table_definition';
        END IF;
""".strip()


def record_columns(*, versioned: bool = False) -> tuple[Column[Any], ...]:
    """Return the columns that every protected table has: `id`, `created_at`, `updated_at`, all set by the server.

    `versioned` adds `row_version`, counted by a trigger: map it as the model's version counter.
    """
    moment = TIMESTAMP(timezone=True)
    columns: list[Column[Any]] = [
        Column("id", BigInteger, Identity(), primary_key=True),
        Column("created_at", moment, server_default=func.now(), nullable=False),
        Column("updated_at", moment, server_default=func.now(), nullable=False),
    ]
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
    unsampled: Collection[str] = (),
    protected: Protected | None = None,
) -> None:
    """Give a table of a service row security, capture, guards and grants, and remember that it has them.

    `op` is Alembic's, `table` what `op.create_table` returned: a table in `public` with `record_columns()` and, unless
    `protected` says otherwise, a `case_id` (integer) that leads to `cases.id`; no name may need quotes. Sessions may
    set the columns of `insert` and change those of `update`; a column of `signed` may name the actor only; of
    `sensitive` ones the log keeps a salted hash, and so it does of `secret` ones, which no session may read; of
    `unsampled` ones ANALYZE takes no samples, as text of cases needs. The verbs that commands take in the case are
    those of `protected`, by default write, write, delete.

    Safe to repeat: another declaration takes the place of the one before. A later revision names the table with all its
    columns, `sa.table("case_tags", sa.column("id"), ...)`. What the table had before goes: permissive policies, rights
    of sessions, triggers of this layer. Its rows get their first entry from `history baseline`. Nobody else reaches the
    table until the transaction ends. Raises InvalidInput for a table or a column that cannot be protected; a table of
    this layer is refused by the database.
    """
    protected = protected or Protected()
    marked = {"insert": insert, "update": update, "signed": signed, "sensitive": sensitive, "secret": secret,
              "unsampled": unsampled}  # fmt: skip
    declaration = {
        "columns": [column.name for column in table.columns],
        **{mark: list(names) for mark, names in marked.items()},
        "protected": {name: value for name, value in asdict(protected).items() if name != "triggers"},
    }
    if protected.triggers:
        raise InvalidInput("protect_table takes no triggers; create them in the revision of the service.")
    if table.schema not in {None, "public"}:
        raise InvalidInput(
            f"protect_table: {table.name} is in the schema {table.schema}; tables are protected in public."
        )
    _require(table, declaration, protected)
    derived = _derived(table.name, declaration)
    document = json.dumps(declaration, sort_keys=True).replace("'", "''")
    # Row security comes first: it takes the strongest lock. After a weaker one, a session that has read and now writes
    # would wait for this transaction, and this one for that session.
    _run(op, derived.row_security)
    _run(op, _clear(table.name, _REFUSE))
    _run(op, derived.create())
    _run(
        op,
        f"INSERT INTO public.protected_tables (name, declaration) VALUES ('{table.name}', '{document}')"
        " ON CONFLICT (name) DO UPDATE SET declaration = excluded.declaration;",
    )


def unprotect_table(op: Any, name: str) -> None:
    """Take back what `protect_table` did, before `op.drop_table`.

    A table that stays keeps row security, without policies and rights: no session reaches it. Does nothing where
    `protect_table` was not called. Raises InvalidInput for a name that needs quotes.
    """
    _require_plain(name)
    _run(op, _clear(name, "RETURN;"))
    _run(op, f"DELETE FROM public.protected_tables WHERE name = '{name}';")


def registered(connection: Connection) -> tuple[Derived, ...]:
    """Return what follows from the declarations of services' tables that are there."""
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
                f"protect_table: {name!r} would need quotes; give lowercase letters, digits and underscores, and no"
                " reserved word of SQL."
            )


def _require(table: TableClause, declaration: dict[str, Any], protected: Protected) -> None:
    _require_plain(table.name, *declaration["columns"])
    if len(table.name) > _LONGEST_TABLE:
        raise InvalidInput(
            f"protect_table: the name {table.name} has more than {_LONGEST_TABLE} characters; names of its policies"
            " would be cut."
        )
    present = set(declaration["columns"])
    needed = [*_NEEDED, *([protected.case] if protected.case else [])]
    if missing := [name for name in needed if name not in present]:
        raise InvalidInput(
            f"The table {table.name} needs the columns {', '.join(missing)}; record_columns() gives id, created_at and"
            " updated_at."
        )
    for mark in ("insert", "update", "signed", "sensitive", "secret", "unsampled"):
        if unknown := sorted(set(declaration[mark]) - present):
            raise InvalidInput(f"{mark}: the table {table.name} has no column {', '.join(unknown)}.")
        if mark in {"insert", "update"} and (kept := sorted(_KEPT_BY_THE_SERVER & set(declaration[mark]))):
            raise InvalidInput(f"{mark}: the server sets {', '.join(kept)}, and no session may.")
    if unwritten := sorted(set(declaration["signed"]) - {*declaration["insert"], *declaration["update"]}):
        raise InvalidInput(f"signed: {', '.join(unwritten)} must be one of the columns of insert or update.")


def _derived(name: str, declaration: dict[str, Any]) -> Derived:
    marks = {"signed": SIGNED, "secret": SECRET, "unsampled": UNSAMPLED}
    columns = []
    for column in declaration["columns"]:
        info: dict[str, Any] = {mark: column in declaration[key] for key, mark in marks.items()}
        # What no session may read stands in no entry either.
        info[SENSITIVE] = column in declaration["sensitive"] or info[SECRET]
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
    """Return the SQL that takes rights, permissive policies and triggers of this layer off a table."""
    names = ", ".join(f"'{each.name}'" for each in functions() if "\nRETURNS trigger " in each.definition)
    return _CLEAR.replace("{unless_registered}", unless_registered).format(
        name=name,
        roles=", ".join(SESSION_ROLES),
        triggers="SELECT t.tgname FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid WHERE t.tgrelid = place"
        f" AND f.pronamespace = 'public'::regnamespace AND f.proname IN ({names})",
    )


def _run(op: Any, sql: str) -> None:
    """Run SQL as it stands: neither colons nor percent signs mean parameters, whatever paramstyle a service has set."""
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(f"{sql}\n")
    else:
        execute(op.get_bind(), sql)
