"""What protects the tables: SQL functions, and the policies, triggers and grants that declarations of tables turn into.

| module | what |
|---|---|
| `sql_files` | the functions, read from `src/database/sql` |
| `declaration` | what a table and its columns say about their protection |
| `derivation`, `policies` | what follows from that |
| `revisions` | which revisions of the tables there are |
| `creation` | the SQL around the tables, for `create_all()` and for migrations |
| `services` | the same for a table of a service's own: `protect_table` |
| `data_changes` | changing data in a revision, in batches: `update_in_batches` |
"""

from __future__ import annotations

from src.database.schema.data_changes import update_in_batches
from src.database.schema.declaration import CLOSED, LOOKUP, Protected
from src.database.schema.derivation import Derived, captured_tables, derive, derived
from src.database.schema.objects import ADMIN_ROLE, APP_ROLE, SESSION_ROLES, WIDE_ROLE, Grant, Policy, Trigger
from src.database.schema.permissions import CaseVerb
from src.database.schema.revisions import head, migrations_folder, require_revision
from src.database.schema.services import protect_table, record_columns, unprotect_table
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
    "require_revision",
    "unprotect_table",
    "update_in_batches",
]
