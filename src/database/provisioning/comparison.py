"""Compare the catalog with the code: every difference has a sentence and, where that is safe, the SQL to repair it.

The comparison is used by `init_db --check`, at the end of `init_db` and of `alembic upgrade`, and by the tests. Objects
outside this layer that only narrow access (a restrictive policy, a trigger that calls no function of this layer, a
column, a CHECK) are reported and kept; objects that widen access or duplicate effects are removed. Tables are never
changed here, only by revisions.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from src.database.models import Base
from src.database.provisioning.catalog import read_catalog, read_rights
from src.database.provisioning.compare_case_access import compare_case_access
from src.database.provisioning.compare_credential_view import compare_credential_view
from src.database.provisioning.compare_details import compare_added_indexes, compare_completeness, compare_details
from src.database.provisioning.compare_functions import compare_functions
from src.database.provisioning.compare_logins import compare_logins, compare_role_settings
from src.database.provisioning.compare_protection import (
    compare_policies,
    compare_row_security,
    compare_triggers,
    compare_triggers_of_partitions,
)
from src.database.provisioning.compare_rights import Roles, compare_rights, compare_schema
from src.database.provisioning.compare_subscriptions import compare_subscriptions
from src.database.provisioning.compare_tables import compare_partitions, compare_statistics, compare_tables
from src.database.provisioning.differences import Difference
from src.database.provisioning.expectation import expected_catalog
from src.database.provisioning.restored import compare_restored
from src.database.schema import derived, functions
from src.database.schema.service_tables import registered

# The search path, and settings of the owner that change how definitions are written and literals are read.
_SETTINGS = """
SELECT set_config('search_path', 'pg_catalog', true), set_config('quote_all_identifiers', 'off', true),
       set_config('standard_conforming_strings', 'on', true)
"""


def compare(connection: Connection, logins: Roles | None = None) -> list[Difference]:
    """Return every difference between the catalog and this code; an empty list without differences.

    With `logins`, the logins that serve sessions are compared too: the roles of each. Changes nothing.
    """
    # The savepoint is rolled back, so the caller's transaction is unchanged.
    savepoint = connection.begin_nested()
    try:
        # With this path the catalog functions qualify all names, so objects of other schemas are not confused with
        # ours.
        connection.execute(text(_SETTINGS))
        tables = derived(Base.metadata)
        services = registered(connection)
        protected = (*tables, *services)
        present = read_catalog(connection, "public")
        expected = expected_catalog(connection, functions(), tables, services)
        return [
            *compare_functions(connection, present, expected),
            *compare_restored(present, expected),
            *compare_tables(present, expected, services),
            *compare_details(present, expected),
            *compare_added_indexes(connection, present, expected),
            *compare_completeness(connection, present),
            *compare_partitions(connection),
            *compare_subscriptions(connection),
            *compare_row_security(connection, present, protected),
            *compare_triggers(present, expected, protected),
            *compare_triggers_of_partitions(connection),
            *compare_policies(present, expected, protected),
            *compare_statistics(present, expected, protected),
            *compare_rights(present, read_rights(connection), protected, logins or {}),
            *compare_credential_view(connection),
            *compare_case_access(connection),
            *compare_schema(connection, logins or {}),
            *compare_role_settings(connection, logins or {}),
            *compare_logins(connection, logins or {}),
        ]
    finally:
        savepoint.rollback()
