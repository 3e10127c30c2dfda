"""The SQL of `alembic upgrade head --sql` around the revisions, for an administrator who runs it by hand.

Nothing can be compared there. Functions and grants are made unconditionally, which disturbs nobody; triggers and
policies, which need strong locks, only where the database does not say that this build has been applied already.
"""

from __future__ import annotations

from src.database.models import Base
from src.database.schema import derived, functions, head, sql_files
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
        RAISE EXCEPTION 'newer code has applied its functions here: install the newer version of this package';
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
    """Return what makes the tables safe: grants for all, triggers and policies in a guarded block for each table."""
    parts = [PARTITIONS, ROW_TYPES, USAGE]
    for table in derived(Base.metadata):
        strong = [table.row_security, *(trigger.create() for trigger in table.triggers),
                  *(policy.create() for policy in table.policies), *table.unsampled]  # fmt: skip
        statements = "\n".join(f"        {line}" for statement in strong for line in statement.splitlines())
        parts.append(_filled(_UNLESS_APPLIED, statements))
        parts += (grant.create() for grant in table.grants)
    return "\n\n".join([*parts, "BEGIN;", recorded(head()), ROW_TYPES_IN_LOG, "COMMIT;"]) + "\n"


def _filled(block: str, statements: str = "") -> str:
    return block.format(revision=f"'{head()}'::text", build=code_build(), statements=statements)
