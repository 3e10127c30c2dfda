from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from src.database import StorageObject
from src.maintenance import sweeping
from src.services import activity, cases, recordings
from src.storage import MemoryStorage
from tests.storage.conftest import _clients, _proxy, moto_url, no_waiting, proxy, s3, spoiled  # noqa: F401 - fixtures

CONTENT = b"RIFF and so on"
ZERO = timedelta(0)


@pytest.fixture
def storage():
    return MemoryStorage()


@pytest.fixture
def open_database(speech_server, owner_url):
    """A function that opens the PostgreSQL database of the test with the given storage."""
    databases = []

    def open_with(storage):
        databases.append(speech_server.database(owner_url, storage=storage))
        return databases[-1]

    yield open_with
    for database in databases:
        database.close()


@pytest.fixture
def db(open_database, storage, shared_database):
    if shared_database is None:
        return open_database(storage)
    shared_database.database.storage, shared_database.database.storages = storage, {}
    return shared_database.database


@pytest.fixture
def case(db):
    with db.session(actor="alice") as session:
        return cases.open_case(session, title="Harbour interviews")


@pytest.fixture
def audio(db, case, make_audio):
    with db.session(actor="alice") as session:
        return make_audio(session, case, content=CONTENT)


@pytest.fixture
def last_object_id(shared_database):
    """The highest id in `storage_objects` before this test; 0 in a separate database."""
    return 0 if shared_database is None else shared_database.last_object


@pytest.fixture
def object_states(owner, last_object_id):
    """A function that returns the states of the objects that this test created, sorted."""

    def read():
        with owner.connect() as connection:
            return sorted(connection.scalars(select(StorageObject.state).where(StorageObject.id > last_object_id)))

    return read


@pytest.fixture
def sweep(owner, storage):
    def run(**options):
        with Session(owner) as session:
            return sweeping.sweep(session, storage, **{"older_than": ZERO, **options})

    return run


@pytest.fixture
def storage_fixture(object_states, sweep, storage):
    """The storage, the states of its objects in the database, and the function that sweeps it."""
    return SimpleNamespace(object_states=object_states, sweep=sweep, storage=storage)


def read_recording(db, audio, actor="alice"):
    with db.session(actor=actor) as session, recordings.open(session, audio) as file:
        return file.read()


def log_details(db, case, entry_type):
    """Return the details of a case's log entries of one type, as alice reads them."""
    with db.session(actor="alice") as session:
        return [entry.detail for entry in activity.feed(session, case=case, type=entry_type)]


def log_outcomes(db, case, entry_type):
    return [detail["outcome"] for detail in log_details(db, case, entry_type)]
