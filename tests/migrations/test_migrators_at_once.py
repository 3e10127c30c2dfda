"""Concurrent processes: migrations are serialised, initialisations apply the seeds once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from src.database.connection.key_file import KeyFile
from src.database.provisioning.comparison import compare
from src.database.provisioning.migrate import migration_lock, upgrade
from src.database.provisioning.seeding import hold_lock, missing
from src.errors import Conflict
from tests.migrations import catalog
from tests.migrations.conftest import engine_of, finish, outside, picture_of, start, start_alembic
from tests.warm import ANNOUNCEMENT

WAITING = """
    SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database, pg_sleep(0.02)
     WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted
"""


@pytest.fixture
def absent_url(speech_server) -> Iterator[URL]:
    """The URL of the owner, for a database that does not exist; if created, it is removed afterwards."""
    with speech_server.empty() as url:
        speech_server.drop(str(url.database))
        yield url
        speech_server.drop(str(url.database))
    maintenance = speech_server.owner.set(database=speech_server.maintenance.database)
    with engine_of(maintenance) as engine, engine.begin() as connection:
        connection.exec_driver_sql(f'DROP ROLE IF EXISTS "{url.database}_app"')


def init_db(url: URL, folder: Path, *arguments: str):
    environment = outside(url, KEY_FILE=os.fspath(folder / "keys.json"))
    command = [sys.executable, "-m", "src.database.scripts.init_db", *arguments]
    return start(*command, environment=environment, folder=folder)


def test_concurrent_upgrades_succeed(empty_url, owner_url, tmp_path):
    for process in [start_alembic(empty_url, tmp_path, "upgrade", "head") for _ in range(2)]:
        finish(process)

    assert catalog.differences(picture_of(owner_url), picture_of(empty_url)) == []
    assert list(tmp_path.iterdir()) == []


def test_concurrent_initialisations_of_a_missing_database_apply_seeds_once(absent_url, owner_url, tmp_path):
    outputs = [finish(process) for process in [init_db(absent_url, tmp_path) for _ in range(2)]]

    assert sum("created" in output for output in outputs) == 1
    assert sorted("languages: 0 inserted" in output for output in outputs) == [False, True]
    keys = KeyFile.load(tmp_path / "keys.json")
    with engine_of(absent_url) as engine, engine.connect() as connection:
        assert missing(connection) == []
        assert compare(connection, keys.roles_of_logins) == []
        assert connection.scalar(text("SELECT count(*) FROM actor_keys")) == 1
        codes = connection.execute(text("SELECT code FROM languages ORDER BY code")).scalars().all()
    with engine_of(owner_url) as engine, engine.connect() as connection:
        assert codes == connection.execute(text("SELECT code FROM languages ORDER BY code")).scalars().all()

    assert "the database is ready" in finish(init_db(absent_url, tmp_path, "--check"))


def test_initialisations_are_serialised_and_apply_seeds_once(absent_url, speech_server, tmp_path):
    speech_server.create(str(absent_url.database))
    upgrade(absent_url)
    with engine_of(absent_url) as engine:
        with engine.begin() as connection:
            hold_lock(connection)
            processes = [init_db(absent_url, tmp_path) for _ in range(2)]
            deadline = time.monotonic() + 60
            while connection.scalar(text(WAITING)) < 2:
                assert time.monotonic() < deadline, "an initialisation does not wait for the running one"
                assert all(process.poll() is None for process in processes)
        outputs = [finish(process) for process in processes]

        assert sorted("languages: 0 inserted" in output for output in outputs) == [False, True]
        with engine.connect() as connection:
            assert missing(connection) == []
            assert connection.scalar(text("SELECT count(*) FROM actor_keys")) == 1


def test_a_lock_timeout_names_the_holder_in_this_database(empty_url, owner_url):
    with (
        engine_of(owner_url) as elsewhere,
        engine_of(empty_url, "the holder") as holder,
        engine_of(empty_url) as waiter,
        # Locks are local to a database, although pg_locks lists those of the whole server.
        migration_lock(elsewhere),
        migration_lock(holder),
    ):
        with waiter.connect() as connection:
            find = text("SELECT pid FROM pg_stat_activity WHERE application_name = 'the holder'")
            pid = connection.scalar(find)

        message = rf"backend {pid}\b.*pg_terminate_backend\({pid}\)"
        with pytest.raises(Conflict, match=message), migration_lock(waiter, wait_seconds=0.05):
            pass


def test_the_lock_is_released_when_its_holder_fails(empty_url):
    class MigrationFailed(Exception):
        pass

    with engine_of(empty_url) as holder, engine_of(empty_url) as waiter:
        with pytest.raises(MigrationFailed), migration_lock(holder):
            raise MigrationFailed
        with migration_lock(waiter, wait_seconds=0):
            pass


def test_an_error_of_alembic_is_one_line_and_exit_code_3(empty_url, tmp_path):
    process = start_alembic(empty_url.set(database="no_such_database"), tmp_path, "upgrade", "head")
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 3
    assert ANNOUNCEMENT.sub("", errors).count("\n") == 1
    assert "createdb no_such_database" in errors
    assert str(empty_url.password) not in errors
