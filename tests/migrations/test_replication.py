"""A replica by logical replication, with the defaults of PostgreSQL: every table arrives, and the log only once."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from src.database.connection.engine import PoolOptions, make_engine
from src.database.embedded import EmbeddedServer
from src.database.provisioning.apply import apply
from src.database.provisioning.comparison import compare
from src.database.schema import sql_files
from src.database.schema.creation import execute
from src.database.testing import FAST
from tests.migrations.conftest import contents, finish, outside, programs_for, start

CHANGES = """
INSERT INTO users (username, role_id) SELECT 'carol', id FROM user_roles WHERE code = 'user';
UPDATE cases SET title = 'Another title';
INSERT INTO case_participants (case_id, user_id, role) SELECT c.id, u.id, 'viewer' FROM cases c, users u
 WHERE u.username = 'carol';
INSERT INTO sentiments (code, name) VALUES ('odd', 'Odd'); DELETE FROM sentiments WHERE code = 'odd';
UPDATE storage_objects SET state = 'deleting' WHERE state = 'pending';
"""
# Both ends in one statement: the slot is behind until the worker has confirmed what it wrote.
BEHIND = text(
    "SELECT count(*) FROM pg_replication_slots, pg_sleep(0.02) WHERE slot_name = 'replica'"
    " AND confirmed_flush_lsn < CAST(:lsn AS pg_lsn)"
)
LOGGED_UPDATES = text("SELECT count(*) FROM activity_logs WHERE entity = 'case_statuses' AND operation = 'update'")
UNREADY = text("SELECT count(*) FROM pg_subscription_rel, pg_sleep(0.02) WHERE srsubstate <> 'r'")


class Pair:
    """A publisher and a replica: two databases of one cluster, as their superuser."""

    def __init__(self, server: EmbeddedServer, binaries: Path, folder: Path) -> None:
        self.server, self._binaries, self._folder = server, binaries, folder
        self.publisher, self.replica = (make_engine(self.url(name), PoolOptions(size=2)) for name in ("source", "copy"))

    def url(self, database: str) -> URL:
        return self.server.url(database)

    def copy(self, source: URL, target: str, *options: str) -> None:
        file = self._folder / f"{target}.sql"
        finish(
            start(self._binaries / "pg_dump", "-f", file, *options, environment=outside(source), folder=self._folder)
        )
        restore = [self._binaries / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file]
        finish(start(*restore, environment=outside(self.url(target)), folder=self._folder))

    def run(self, database: str, *statements: str) -> None:
        engine = make_engine(self.url(database), PoolOptions(size=1))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                execute(connection, statement)
        engine.dispose()

    def wait(self) -> None:
        """Wait until the replica has every table and every change."""
        with self.replica.connect() as connection:
            _until_zero(connection, UNREADY, {})
        with self.publisher.connect() as connection:
            lsn = connection.scalar(text("SELECT pg_current_wal_insert_lsn()::text"))
            _until_zero(connection, BEHIND, {"lsn": lsn})


def _until_zero(connection, query, parameters) -> None:
    for _ in range(1500):
        if connection.scalar(query, parameters) == 0:
            return
        connection.rollback()
    raise AssertionError("the replica does not catch up; see the log of the server")


@pytest.fixture
def pair(filled_url, tmp_path):
    binaries = programs_for(filled_url)
    folder = Path(tempfile.mkdtemp(prefix="sti-replica-"))
    folder.chmod(0o711)
    settings = {**FAST, "wal_level": "logical"}
    try:
        with EmbeddedServer(folder / "postgres", binaries=binaries, settings=settings) as server:
            pair = Pair(server, binaries, tmp_path)
            pair.run("postgres", "CREATE DATABASE source", "CREATE DATABASE copy", sql_files.roles())
            pair.copy(filled_url, "source", "--no-owner")
            pair.copy(pair.url("source"), "copy", "--schema-only")
            pair.run(
                "source", "CREATE PUBLICATION everything FOR ALL TABLES",
                # Within one cluster CREATE SUBSCRIPTION would wait for its own transaction.
                "SELECT pg_create_logical_replication_slot('replica', 'pgoutput')",
            )  # fmt: skip
            source = pair.url("source")
            address = f"host={source.query['host']} port={source.query['port']} user={source.username}"
            pair.run(
                "copy", f"CREATE SUBSCRIPTION replica CONNECTION '{address} password={source.password} dbname=source'"
                " PUBLICATION everything WITH (create_slot = false)",
            )  # fmt: skip
            yield pair
            pair.run("copy", "ALTER SUBSCRIPTION replica DISABLE", "ALTER SUBSCRIPTION replica SET (slot_name = NONE)",
                     "DROP SUBSCRIPTION IF EXISTS replica")  # fmt: skip
            pair.publisher.dispose()
            pair.replica.dispose()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rows(engine) -> dict[str, list[str]]:
    with engine.connect() as connection:
        return contents(connection)


def test_a_replica_has_every_row_once_and_can_become_a_database_of_its_own(pair):
    pair.wait()
    assert rows(pair.replica) == rows(pair.publisher)
    assert all(rows(pair.replica).values())

    with pair.publisher.begin() as connection:
        execute(connection, CHANGES)
        execute(connection, "SELECT public.ensure_activity_partitions(4)")
    pair.wait()
    assert rows(pair.replica) == rows(pair.publisher)

    # A partition that the replica got later is not received before a refresh.
    with pair.replica.begin() as connection:
        execute(connection, "SELECT public.ensure_activity_partitions(4)")
    with pair.replica.connect() as connection:
        reported = [str(one) for one in compare(connection)]
    assert sum("the subscription replica does not receive the table activity_logs_" in one for one in reported) == 1
    pair.run("copy", "ALTER SUBSCRIPTION replica REFRESH PUBLICATION WITH (copy_data = false)")
    with pair.replica.connect() as connection:
        reported = [str(one) for one in compare(connection)]
    # Values of sequences do not arrive; a dump lacks the statistics targets of indexes of constraints.
    assert all(one.startswith(("the next number of ", "ANALYZE samples ")) for one in reported), reported
    assert any(one.startswith("the next number of cases.id is taken: 0 were given") for one in reported)

    # Changes of the replica itself are logged there.
    pair.run("copy", "ALTER SUBSCRIPTION replica DISABLE")
    assert apply(pair.replica) == []
    before = len(rows(pair.replica)["activity_logs"])
    with pair.replica.begin() as connection:
        connection.execute(text("UPDATE cases SET title = 'Its own title'"))
    assert len(rows(pair.replica)["activity_logs"]) == before + 1

    # A subscription that does not receive the log is a writer like any other.
    pair.run("source", "DROP PUBLICATION everything", "CREATE PUBLICATION everything FOR TABLE case_statuses")
    pair.run("copy", "ALTER SUBSCRIPTION replica ENABLE", "ALTER SUBSCRIPTION replica REFRESH PUBLICATION")
    with pair.publisher.begin() as connection:
        connection.execute(text("UPDATE case_statuses SET name = name || '!'"))
        changed = connection.scalar(text("SELECT count(*) FROM case_statuses"))
    pair.wait()
    with pair.replica.connect() as connection:
        assert connection.scalar(LOGGED_UPDATES) == changed
