"""The protection of the tables: SQL functions, and the policies, triggers and grants derived from declarations.

| module | contents |
|---|---|
| `sql_files` | the functions, read from `src/database/sql` |
| `declaration` | the declarations of tables and columns |
| `derivation`, `policies` | triggers, grants and policies derived from the declarations |
| `revisions` | the revisions of the tables |
| `creation` | the SQL around the tables, for `create_all()` and for migrations |
| `services` | protection for tables of services: `protect_table` |
| `data_changes` | data migrations in batches: `update_in_batches` |
"""

from __future__ import annotations

from src.database.schema.data_changes import update_in_batches
from src.database.schema.declaration import CLOSED, LOOKUP, Protected
from src.database.schema.derivation import Derived, captured_tables, derive, derived
from src.database.schema.objects import ADMIN_ROLE, APP_ROLE, SESSION_ROLES, WIDE_ROLE, Grant, Policy, Trigger
from src.database.schema.permission_subjects import register_permissions, unregister_permissions
from src.database.schema.permissions import CaseVerb
from src.database.schema.revisions import head, migrations_folder, require_revision
from src.database.schema.service_tables import protect_table, record_columns, unprotect_table
from src.database.schema.sql_files import Function, functions

__all__ = [
    "ADMIN_ROLE",
    "APP_ROLE",
    "CLOSED",
    "LOOKUP",
    "SESSION_ROLES",
    "WIDE_ROLE",
    "CaseVerb",
    "Derived",
    "Function",
    "Grant",
    "Policy",
    "Protected",
    "Trigger",
    "captured_tables",
    "derive",
    "derived",
    "functions",
    "head",
    "migrations_folder",
    "protect_table",
    "record_columns",
    "register_permissions",
    "require_revision",
    "unprotect_table",
    "unregister_permissions",
    "update_in_batches",
]
