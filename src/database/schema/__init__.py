"""What Alembic cannot see: functions, triggers, policies, grants, as one registry of SQL.

A migration holds a frozen copy of what it installs (`python -m src.database.scripts.schema_sql` prints the registry); a
test compares the catalog of a migrated database with one made by `create_all()`, so the two cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, MetaData, Table, event, inspect

from src.database.schema import (
    access,
    capture,
    explanation,
    grants,
    guards,
    identity,
    keeping,
    memory,
    roles,
    rows,
    sampling,
    sealing,
    search,
    search_query,
    search_text,
    sign_in,
    versions,
    work,
)
from src.database.schema.objects import ADMIN_ROLE, APP_ROLE, SESSION_ROLES, Function, Grant, Policy, Trigger
from src.errors import InvalidInput

HEAD = "0011"
"""The Alembic revision that this code expects; the database answers with `public.schema_revision()`."""

REVISION = Function(
    "public.schema_revision()",
    f"RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$ SELECT '{HEAD}'::text $body$",
    callers=("PUBLIC",),
)

FUNCTIONS: tuple[Function, ...] = (
    REVISION,
    *identity.FUNCTIONS,
    *sign_in.FUNCTIONS,
    *access.FUNCTIONS,
    *explanation.FUNCTIONS,
    *rows.FUNCTIONS,
    *guards.FUNCTIONS,
    *keeping.FUNCTIONS,
    *capture.FUNCTIONS,
    *memory.FUNCTIONS,
    *versions.FUNCTIONS,
    *sealing.FUNCTIONS,
    *search_text.FUNCTIONS,
    *search_query.FUNCTIONS,
    *search.FUNCTIONS,
    *work.FUNCTIONS,
)
TRIGGERS: tuple[Trigger, ...] = (
    *rows.TRIGGERS,
    *guards.TRIGGERS,
    *capture.TRIGGERS,
    *memory.TRIGGERS,
    *versions.TRIGGERS,
    *sealing.TRIGGERS,
)
POLICIES: tuple[Policy, ...] = access.POLICIES
GRANTS: tuple[Grant, ...] = grants.GRANTS


def before_tables() -> str:
    """Return the SQL that must run before the tables exist: roles, and functions that column defaults call."""
    # Function bodies name tables that come later.
    parts = [roles.CREATE, "SET LOCAL check_function_bodies = off;", *(function.create() for function in FUNCTIONS)]
    return "\n\n".join(parts)


def after_tables() -> str:
    """Return the SQL that makes the tables safe: partitions, triggers, row security, grants."""
    security = [f"ALTER TABLE public.{table} ENABLE ROW LEVEL SECURITY;" for table in access.PROTECTED_TABLES]
    parts = [
        memory.PARTITIONS,
        memory.ROW_TYPES,
        *(trigger.create() for trigger in TRIGGERS),
        "\n".join(security),
        *(policy.create() for policy in POLICIES),
        f"GRANT USAGE ON SCHEMA public TO {', '.join(SESSION_ROLES)};",
        "\n".join(grant.create() for grant in GRANTS),
        sampling.statements(),
    ]
    return "\n\n".join(parts)


def after_drop() -> str:
    """Return the SQL that removes what `before_tables` made, once the tables are gone."""
    return "\n".join([*(function.drop() for function in FUNCTIONS), roles.DROP])


def protect(metadata: MetaData) -> None:
    """Make `create_all()` install, and `drop_all()` remove, what the tables are not safe without.

    Both raise InvalidInput when they are asked for some of the tables only.
    """

    def execute(connection: Connection, sql: str) -> None:
        # Without parameters psycopg2 leaves the percent signs of the functions alone. Set for this statement only: set
        # on the connection, it would double those of the tables that are made next.
        connection.exec_driver_sql(sql, execution_options={"no_parameters": True})

    def install_functions(_: MetaData, connection: Connection, *, tables: Sequence[Table], **__: Any) -> None:
        absent = metadata.tables.keys() - {table.name for table in tables} - _existing(metadata, connection)
        if absent:
            raise InvalidInput(
                f"create_all() of some tables cannot protect them ({', '.join(sorted(absent))} would be missing);"
                " create all tables, or run: alembic upgrade head"
            )
        execute(connection, before_tables())

    def install_protection(_: MetaData, connection: Connection, **__: Any) -> None:
        execute(connection, after_tables())

    def refuse_remains(_: MetaData, connection: Connection, *, tables: Sequence[Table], **__: Any) -> None:
        # Removing the functions takes triggers and policies along, also those of a table that stays.
        remaining = _existing(metadata, connection) - {table.name for table in tables}
        if remaining:
            raise InvalidInput(
                f"drop_all() of some tables would leave others unprotected ({', '.join(sorted(remaining))});"
                " drop all tables"
            )

    def remove(_: MetaData, connection: Connection, **__: Any) -> None:
        execute(connection, after_drop())

    event.listen(metadata, "before_create", install_functions)
    event.listen(metadata, "after_create", install_protection)
    event.listen(metadata, "before_drop", refuse_remains)
    event.listen(metadata, "after_drop", remove)


def _existing(metadata: MetaData, connection: Connection) -> set[str]:
    return metadata.tables.keys() & set(inspect(connection).get_table_names("public"))


__all__ = [
    "ADMIN_ROLE",
    "APP_ROLE",
    "FUNCTIONS",
    "GRANTS",
    "HEAD",
    "POLICIES",
    "SESSION_ROLES",
    "TRIGGERS",
    "after_drop",
    "after_tables",
    "before_tables",
    "protect",
]
