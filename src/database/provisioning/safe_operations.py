"""Rendering of `alembic revision --autogenerate`: operations without long locks, which may run twice.

Only alembic/env.py imports this module. The default operations of Alembic hold a lock while they scan a table.
"""

from __future__ import annotations

from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op, renderers
from alembic.operations import ops
from sqlalchemy import CheckConstraint, TextClause

from src.database.schema.moments import Moment

# Compares CHECKs by name, which Alembic does only with this plugin.
PLUGINS = ("alembic.autogenerate.*", "alembic.ext.checkconstraint_byname")


class SafeCheck(ops.MigrateOperation):
    """A CHECK of an existing table: added as NOT VALID, then validated without blocking writers."""

    def __init__(self, constraint: CheckConstraint) -> None:
        self.constraint = constraint


class SafeIndex(ops.MigrateOperation):
    """An index of an existing table: created concurrently."""

    def __init__(self, created: ops.CreateIndexOp) -> None:
        self.created = created


def make_safe(context: Any, revision: Any, directives: list[ops.MigrationScript]) -> None:  # noqa: ARG001 - Alembic's signature
    """Replace operations that would block sessions: `process_revision_directives=` of Alembic.

    Operations before a block with its own commit get `if_not_exists`, so that the revision can be repeated.
    """
    for upgrade in (upgrade for script in directives for upgrade in script.upgrade_ops_list):
        created = {op.table_name for op in upgrade.ops if isinstance(op, ops.CreateTableOp)}
        for changes in upgrade.ops:
            if isinstance(changes, ops.ModifyTableOps) and changes.table_name not in created:
                changes.ops = [_safe(op) for op in changes.ops]
        safe = [op for changes in upgrade.ops if isinstance(changes, ops.ModifyTableOps) for op in changes.ops]
        if any(isinstance(op, SafeCheck | SafeIndex) for op in safe):
            for op in (*safe, *upgrade.ops):
                if isinstance(op, ops.AddColumnOp | ops.CreateTableOp | ops.CreateIndexOp):
                    op.if_not_exists = True


def render_check(kind: str, thing: Any, autogen_context: AutogenContext) -> Any:
    """Render types and CHECKs of new tables: `render_item=` of Alembic.

    A moment as PostgreSQL's type, a CHECK with its short name and unescaped percent signs.
    """
    if kind == "type" and isinstance(thing, Moment):
        autogen_context.imports.add("from sqlalchemy.dialects import postgresql")
        return "postgresql.TIMESTAMP(timezone=True)"
    if kind != "check" or not isinstance(thing, CheckConstraint):
        return False
    return f"sa.CheckConstraint({_condition(thing)!r}, name={_short_name(thing)!r})"


def _safe(op: ops.MigrateOperation) -> ops.MigrateOperation:
    if isinstance(op, ops.CreateCheckConstraintOp):
        return SafeCheck(op.to_constraint())
    return SafeIndex(op) if isinstance(op, ops.CreateIndexOp) else op


@renderers.dispatch_for(SafeCheck)
def _render_safe_check(autogen_context: AutogenContext, op: SafeCheck) -> list[str]:  # noqa: ARG001 - Alembic's signature
    table, name, condition = op.constraint.table.name, _short_name(op.constraint), _condition(op.constraint)
    return [
        # An interrupted revision leaves the constraint behind.
        f"op.drop_constraint({name!r}, {table!r}, type_='check', if_exists=True)",
        f"op.create_check_constraint({name!r}, {table!r}, {condition!r}, postgresql_not_valid=True)",
        "with op.get_context().autocommit_block():",
        f"op.execute('ALTER TABLE {table} VALIDATE CONSTRAINT {op.constraint.name}')",
        "",
    ]


@renderers.dispatch_for(SafeIndex)
def _render_safe_index(autogen_context: AutogenContext, op: SafeIndex) -> list[str]:
    created = op.created
    created.kw["postgresql_concurrently"] = True
    return [
        "with op.get_context().autocommit_block():",
        # An interrupted revision leaves an invalid index behind.
        f"op.drop_index({created.index_name!r}, {created.table_name!r}, if_exists=True, postgresql_concurrently=True)",
        *render_op(autogen_context, created),
        "",
    ]


def _condition(constraint: CheckConstraint) -> str:
    expression = constraint.sqltext
    return expression.text if isinstance(expression, TextClause) else str(expression)


def _short_name(constraint: CheckConstraint) -> str:
    """Return the name without the prefix and suffix of the naming convention."""
    return str(constraint.name).removeprefix(f"{constraint.table.name}_").removesuffix("_check")
