"""Compare the tables of this layer with those that a subscription of logical replication receives."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from src.database.models import Base
from src.database.provisioning.differences import Difference, Kind

# With publish_via_partition_root the log arrives as one table, otherwise as its partitions.
_NOT_RECEIVED = text("""
    SELECT s.subname::text, c.relname::text
      FROM pg_subscription s JOIN pg_class c ON c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
     WHERE s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
       AND EXISTS (SELECT FROM pg_subscription_rel r JOIN pg_class t ON t.oid = r.srrelid
                    WHERE r.srsubid = s.oid AND t.relname = 'cases' AND t.relnamespace = c.relnamespace)
       AND (c.relname = ANY (:tables)
            OR c.oid IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = to_regclass('public.activity_logs')))
       AND NOT EXISTS (SELECT FROM pg_subscription_rel r WHERE r.srsubid = s.oid AND (r.srrelid = c.oid OR r.srrelid IN
                           (SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = c.oid))) ORDER BY 1, 2
""")


def compare_subscriptions(connection: Connection) -> Iterator[Difference]:
    """Yield each table whose rows a replica silently ignores: one that was added after the last refresh."""
    for subscription, table in connection.execute(_NOT_RECEIVED, {"tables": list(Base.metadata.tables)}):
        yield Difference(
            Kind.TABLE, table, f"the subscription {subscription} does not receive the table {table}",
            left=f'as an administrator of the server: ALTER SUBSCRIPTION "{subscription}" REFRESH PUBLICATION',
        )  # fmt: skip
