from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from src.database import Database, StorageObject
from src.maintenance import sweeping
from src.services import activity, cases, recordings
from src.storage import MemoryStorage
from tests.storage.conftest import _clients, _proxy, moto_url, no_waiting, proxy, s3, spoiled  # noqa: F401 - fixtures

BYTES = b"RIFF and so on"
NOW = timedelta(0)


@pytest.fixture
def storage():
    return MemoryStorage()


@pytest.fixture
def opened(speech_server, owner_url):
    """Open a Database over the same rows with another storage."""
    databases = []

    def open_with(storage):
        url = speech_server.serving_url(owner_url)
        databases.append(Database(url, signing_key=speech_server.signing_key, storage=storage))
        return databases[-1]

    yield open_with
    for database in databases:
        database.close()


@pytest.fixture
def db(opened, storage, shared_database):
    if shared_database is None:
        return opened(storage)
    shared_database.database.storage, shared_database.database.storages = storage, {}
    return shared_database.database


@pytest.fixture
def case(db):
    with db.session(actor="alice") as session:
        return cases.open_case(session, title="Harbour interviews")


@pytest.fixture
def audio(db, case, make_audio):
    with db.session(actor="alice") as session:
        return make_audio(session, case, content=BYTES)


@pytest.fixture
def objects_before(shared_database):
    """The number of the last object that was there when this test began."""
    return 0 if shared_database is None else shared_database.last_object


@pytest.fixture
def states(owner, objects_before):
    def read():
        with owner.connect() as connection:
            return sorted(connection.scalars(select(StorageObject.state).where(StorageObject.id > objects_before)))

    return read


@pytest.fixture
def sweep(owner, storage):
    def run(**options):
        with Session(owner) as session:
            return sweeping.sweep(session, storage, **{"older_than": NOW, **options})

    return run


@pytest.fixture
def store(states, sweep, storage):
    """What is in the storage, as rows and as bytes, and the broom."""
    return SimpleNamespace(states=states, sweep=sweep, storage=storage)


def read(db, audio, actor="alice"):
    with db.session(actor=actor) as session, recordings.open(session, audio) as file:
        return file.read()


def details_of(db, case, kind):
    """The details of one type of entry about a case in the log, as alice reads it."""
    with db.session(actor="alice") as session:
        return [entry.detail for entry in activity.feed(session, case=case, type=kind)]


def outcomes(db, case, kind):
    return [detail["outcome"] for detail in details_of(db, case, kind)]
