"""The SQL of `alembic upgrade head --sql` around the revisions, for an administrator who runs it by hand.

The catalog cannot be compared offline. Functions and grants are created unconditionally, which needs no strong locks;
triggers and policies, which do, only if the database does not record that this build was applied.
"""

from __future__ import annotations

from src.database.models import Base
from src.database.schema import credential_view, derived, functions, head, sql_files
from src.database.schema.creation import PARTITIONS, ROW_TYPES, ROW_TYPES_IN_LOG, USAGE, code_build, recorded

_REFUSE_OLDER = """
DO $guard$
DECLARE
    newer boolean := false;
BEGIN
    IF to_regprocedure('public.schema_build()') IS NOT NULL THEN
        EXECUTE 'SELECT (public.schema_revision(), public.schema_build()) > ($1, $2)'
           INTO newer USING {revision}, {build};
    END IF;
    IF newer THEN
        RAISE EXCEPTION 'the functions were applied by newer code: install the newer version of this package';
    END IF;
END $guard$;
""".strip()

_UNLESS_APPLIED = """
DO $apply$
DECLARE
    applied boolean := false;
BEGIN
    IF to_regprocedure('public.schema_build()') IS NOT NULL THEN
        EXECUTE 'SELECT (public.schema_revision(), public.schema_build()) = ($1, $2)'
           INTO applied USING {revision}, {build};
    END IF;
    IF NOT applied THEN
{statements}
    END IF;
END $apply$;
""".strip()


def before_migrations() -> str:
    """Return the guard against older code, the roles and all functions."""
    bodies = "\n\n".join(function.create() for function in functions())
    return f"{_filled(_REFUSE_OLDER)}\n\n{sql_files.roles()}\nSET check_function_bodies = off;\n\n{bodies}\n"


def after_migrations() -> str:
    """Return the protection of the tables: grants, and a guarded block with triggers and policies for each table."""
    parts = [PARTITIONS, ROW_TYPES, USAGE, _filled(_UNLESS_APPLIED, _indented(credential_view.CREATE))]
    for table in derived(Base.metadata):
        strong = [table.row_security, *(trigger.create() for trigger in table.triggers),
                  *(policy.create() for policy in table.policies), *table.unsampled]  # fmt: skip
        parts.append(_filled(_UNLESS_APPLIED, _indented("\n".join(strong))))
        parts += (grant.create() for grant in table.grants)
    return "\n\n".join([*parts, "BEGIN;", recorded(head()), ROW_TYPES_IN_LOG, "COMMIT;"]) + "\n"


def _indented(sql: str) -> str:
    return "\n".join(f"        {line}" for line in sql.splitlines())


def _filled(block: str, statements: str = "") -> str:
    return block.format(revision=f"'{head()}'::text", build=code_build(), statements=statements)
