"""Copies of the files of a cluster: a promoted replica goes on, and of two that are used the later one stops.

A base backup has the identifier of its cluster and the oids of its databases, so nothing in it says that it is not
the original. What differs is the number in the marker of a storage, which each of them raises.

python tests/torture/physical_copies.py
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psycopg2
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.database import StorageObject
from src.database.connection.engine import PoolOptions, make_engine
from src.database.embedded import EmbeddedServer
from src.database.embedded.account import server_account
from src.database.schema import sql_files
from src.database.schema.creation import execute
from src.database.testing import FAST
from src.errors import ConfigurationError, Quarantined, ServerUnreachable
from src.maintenance import claiming, confirming, sweeping
from src.services.recordings.registered import read_register
from src.storage import LocalStorage
from tests.migrations.conftest import finish, outside, programs_for, start
from tests.services.recordings.conftest import ZERO

KEY = "cases/1/00000000-0000-4000-8000-00000000000{}.wav"


class Cluster:
    """A running cluster with the database `copied`, as its superuser."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self.engine = make_engine(server.url("copied"), PoolOptions(size=2))

    @contextmanager
    def session(self):
        with Session(self.engine) as session:
            yield session

    def sweep(self, storage):
        with self.session() as session:
            return sweeping.sweep(session, LocalStorage(storage.root), older_than=ZERO, grace=ZERO)

    def quarantine(self):
        with self.session() as session:
            return read_register(session).quarantine

    def stop(self):
        self.engine.dispose()
        self.server.stop()


@pytest.fixture
def clusters(owner_url, tmp_path):
    """The original with a claimed storage, and a function that makes base backups of it."""
    binaries, folder = programs_for(owner_url), Path(tempfile.mkdtemp(prefix="sti-physical-"))
    if not (binaries / "pg_basebackup").is_file():
        pytest.skip("this installation has no pg_basebackup")
    folder.chmod(0o711)
    account = server_account(folder / "original")
    settings = {**FAST, "wal_level": "replica", "hot_standby": "on"}
    storage = LocalStorage(tmp_path / "audio")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)

        def started(name):
            server = EmbeddedServer(folder / name, binaries=binaries, settings=settings)
            stack.callback(server.stop)
            server.start()
            return server

        original = started("original")
        original.ensure_database("copied")
        dump = tmp_path / "copied.sql"
        finish(start(binaries / "pg_dump", "--no-owner", "-f", dump, environment=outside(owner_url), folder=tmp_path))
        url = original.url("copied")
        engine = make_engine(url, PoolOptions(size=1))
        with engine.begin() as connection:
            execute(connection, sql_files.roles())
        engine.dispose()
        psql = [binaries / "psql", "-X", "-q", "-f", dump]
        finish(start(*psql, environment=outside(url), folder=tmp_path))
        first = Cluster(original)
        stack.callback(first.engine.dispose)
        with first.session() as session:
            claiming.claim(session, storage)

        def copied(name, *options):
            (folder / name).mkdir()
            shutil.chown(folder / name, account.uid, account.gid)
            address = f"host={url.query['host']} port={url.query['port']} user={url.username} password={url.password}"
            backup = [binaries / "pg_basebackup", "-D", "data", "-X", "stream", "-c", "fast", "-d", address, *options]
            assert account.run(backup, folder=folder / name) == 0
            shutil.copy2(original.folder / "password", folder / name / "password")
            shutil.chown(folder / name / "password", account.uid, account.gid)
            copy = Cluster(started(name))
            stack.callback(copy.engine.dispose)
            return copy

        yield first, copied, storage


def test_a_promoted_replica_goes_on_without_a_step(clusters):
    original, copied, storage = clusters
    original.sweep(storage)
    replica = copied("replica", "-R")
    with pytest.raises(ServerUnreachable, match=r"The server is a standby: .* Connect to the primary server"):
        replica.sweep(storage)
    original.stop()
    plain = psycopg2.connect(
        replica.server.url("copied").render_as_string(hide_password=False).replace("+psycopg2", "")
    )
    with plain.cursor() as cursor:
        cursor.execute("SELECT pg_promote(true, 60)")
        assert cursor.fetchone() == (True,)
    plain.close()
    assert replica.sweep(storage).failed == {}
    assert replica.quarantine() is None

    # The former primary is started again by mistake: it is the older one now.
    original.server.start()
    with pytest.raises(Quarantined, match="this is a copy or a restored backup"):
        original.sweep(storage)
    assert "storage confirm" in original.quarantine()


def test_of_an_original_and_its_copy_the_one_that_works_later_stops_and_an_operator_decides(clusters):
    original, copied, storage = clusters
    original.sweep(storage)
    copy = copied("copy")
    # Undecidable: both say that they are the same database, at the same number.
    with original.session() as one, copy.session() as other:
        assert read_register(one) == read_register(other)
        assert read_register(other).quarantine is None
    storage.put(KEY.format(1), b"RIFF of the original")  # stored after the copy was made

    copy.sweep(storage)
    with pytest.raises(Quarantined):
        original.sweep(storage)
    assert [info.key for info in storage.list()] == [KEY.format(1)], "nothing is removed"

    with original.session() as session:
        (known,) = claiming.registered(session).storages
        confirming.confirm(session, [(known, storage)], leave=False)
    assert original.sweep(storage).failed == {}
    with pytest.raises(ConfigurationError, match="which belongs to database"):
        copy.sweep(storage)
    with copy.session() as session:
        assert session.scalar(select(func.count()).select_from(StorageObject)) == 0
    assert [info.key for info in storage.list()] == [KEY.format(1)]


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q", "-p", "no:cacheprovider"]))
