"""Archiving, restoring, moving and deleting recordings, with a fault at each step; storage usage."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from src.database import Database
from src.errors import (
    ConfigurationError,
    Conflict,
    IntegrityFailure,
    InvalidInput,
    LostUpdate,
    ObjectNotFound,
    StorageUnavailable,
    UnsupportedOperation,
)
from src.maintenance import sweeping
from src.services import cases, recordings
from src.storage import LocalStorage, open_backend, register_backend
from tests.services.recordings.conftest import CONTENT, log_outcomes, read_recording
from tests.storage.shelf import Shelf

ZERO = timedelta(0)


def test_archiving_and_restoring_copy_the_object_and_queue_the_old_one(db, case, audio, storage_fixture):
    with db.session(actor="alice") as session:
        archived = recordings.archive(session, audio, reason="finished")
    assert archived.path.startswith(f"archive/{audio.id}/")
    assert (archived.is_archived, archived.archive_reason) == (True, "finished")
    assert storage_fixture.object_states() == ["live", "superseded"]
    assert read_recording(db, audio) == CONTENT

    assert storage_fixture.sweep().removed_objects == 1
    with pytest.raises(ObjectNotFound):
        storage_fixture.storage.head(audio.path)

    with db.session(actor="alice") as session:
        restored = recordings.restore(session, audio)
    assert restored.path.startswith(f"cases/{case.id}/")
    assert (restored.is_archived, restored.archive_reason) == (False, None)
    storage_fixture.sweep()
    assert read_recording(db, audio) == CONTENT
    assert storage_fixture.object_states() == ["live"]
    assert (log_outcomes(db, case, "audio.archived"), log_outcomes(db, case, "audio.restored")) == (["done"], ["done"])


@pytest.mark.parametrize("step", ["copy.before", "copy.after_bytes", "copy.after"])
@pytest.mark.parametrize("operation", ["archive", "restore"])
def test_a_fault_at_any_step_leaves_the_recording_at_its_location(db, audio, step, operation, storage_fixture):
    if operation == "restore":
        with db.session(actor="alice") as session:
            recordings.archive(session, audio, reason="finished")
        storage_fixture.sweep()
    storage_fixture.storage.fail(step, StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable, match="gone"), db.session(actor="alice") as session:
        if operation == "archive":
            recordings.archive(session, audio, reason="finished")
        else:
            recordings.restore(session, audio)
    assert storage_fixture.object_states() == ["live", "pending"]
    assert read_recording(db, audio) == CONTENT
    assert storage_fixture.sweep().removed_objects == 1
    assert (storage_fixture.object_states(), len(list(storage_fixture.storage.list()))) == (["live"], 1)
    assert read_recording(db, audio) == CONTENT


@pytest.mark.parametrize("step", ["put.before", "put.after_bytes", "put.after"])
def test_a_fault_during_put_leaves_an_object_that_a_sweep_removes(db, case, tone, step, storage_fixture):
    storage_fixture.storage.fail(step, StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable), db.session(actor="alice") as session:
        recordings.ingest(session, case, tone)
    assert storage_fixture.object_states() == ["pending"]
    assert storage_fixture.sweep().removed_objects == 1
    assert (storage_fixture.object_states(), list(storage_fixture.storage.list())) == ([], [])


@pytest.mark.parametrize("rolled_back", ["transaction", "savepoint", "transaction after a released savepoint"])
def test_a_rolled_back_archiving_leaves_the_recording_at_its_location(db, audio, object_states, sweep, rolled_back):
    with pytest.raises(ZeroDivisionError), db.session(actor="alice") as session:
        if rolled_back == "transaction":
            recordings.archive(session, audio, reason="finished")
        else:
            savepoint = session.begin_nested()
            recordings.archive(session, audio, reason="finished")
            if rolled_back == "savepoint":
                savepoint.rollback()
            else:
                savepoint.commit()
        raise ZeroDivisionError
    assert (object_states(), read_recording(db, audio)) == (["live", "pending"], CONTENT)
    sweep()
    assert (object_states(), read_recording(db, audio)) == (["live"], CONTENT)


def test_a_rolled_back_savepoint_in_a_committed_transaction_keeps_the_bytes(db, audio, object_states, sweep):
    with db.session(actor="alice") as session:
        savepoint = session.begin_nested()
        recordings.archive(session, audio, reason="first")
        savepoint.rollback()
        recordings.archive(session, audio, reason="second")
    sweep()
    assert (object_states(), read_recording(db, audio)) == (["live"], CONTENT)


def test_of_two_concurrent_archivings_one_fails(db, audio, monkeypatch, storage_fixture):
    copy = storage_fixture.storage.copy

    def copy_after_concurrent_archiving(source, target):
        monkeypatch.setattr(storage_fixture.storage, "copy", copy)
        with db.session(actor="alice") as concurrent:
            recordings.archive(concurrent, audio, reason="first")
        return copy(source, target)

    monkeypatch.setattr(storage_fixture.storage, "copy", copy_after_concurrent_archiving)
    with pytest.raises(LostUpdate), db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="second")
    storage_fixture.sweep()
    assert (storage_fixture.object_states(), read_recording(db, audio)) == (["live"], CONTENT)


def test_damaged_bytes_are_not_archived(db, audio, storage, object_states):
    storage.corrupt(audio.path)
    with pytest.raises(IntegrityFailure), db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
    assert object_states() == ["live", "pending"]


def test_replaced_bytes_are_not_archived(db, audio, storage, object_states):
    storage.delete(audio.path)
    storage.put(audio.path, b"RIFF other")
    with pytest.raises(IntegrityFailure, match="not those that were ingested"), db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
    assert object_states() == ["live", "pending"]


@pytest.mark.parametrize("reason", ["", "  "])
def test_archiving_and_deleting_require_a_reason(db, audio, reason):
    for operation in (recordings.archive, recordings.delete):
        with pytest.raises(InvalidInput, match="reason"), db.session(actor="alice") as session:
            operation(session, audio, reason=reason)


def test_operations_that_would_change_nothing_are_rejected(db, audio):
    with db.session(actor="alice") as session:
        with pytest.raises(Conflict, match="neither"):
            recordings.restore(session, audio)
        recordings.archive(session, audio, reason="finished")
        with pytest.raises(Conflict, match="archived already"):
            recordings.archive(session, audio, reason="finished")
        recordings.delete(session, audio, reason="wrong person")
        with pytest.raises(Conflict, match="deleted already"):
            recordings.delete(session, audio, reason="wrong person")


def test_a_moved_recording_is_read_from_the_new_backend(db, audio, tmp_path, owner, speech_server, storage_fixture):  # noqa: PLR0917 - fixtures
    local = LocalStorage(tmp_path / "audio")
    with db.session(actor="alice") as session:
        moved = recordings.move(session, audio, local)
        with pytest.raises(Conflict, match="already"):
            recordings.move(session, audio, local)
    assert moved.storage_type == "local"
    assert read_recording(db, audio) == CONTENT
    with Session(owner) as session:
        done = sweeping.sweep(session, local, older_than=ZERO)
        assert (done.removed_objects, done.kept_back) == (0, 1)  # the old object is in the other backend
        done = sweeping.sweep(session, {"local": local, "memory": storage_fixture.storage}, older_than=ZERO)
        assert done.removed_objects == 1
    assert (read_recording(db, audio), storage_fixture.object_states()) == (CONTENT, ["live"])
    url, key = db.engine.url, speech_server.signing_key
    with Database(url, signing_key=key, storage=storage_fixture.storage) as other_db:
        with pytest.raises(ConfigurationError, match="local"):
            read_recording(other_db, audio)
        recordings.keep_backend(other_db, local)
        assert read_recording(other_db, audio) == CONTENT


def test_recordings_in_a_third_party_backend(open_database, owner, tone, tmp_path):
    register_backend("shelf", Shelf)
    shelf = open_backend("shelf", path=tmp_path / "shelf.sqlite")
    database = open_database(shelf)
    with database.session(actor="alice") as session:
        case = cases.open_case(session, title="Shelf")
        audio = recordings.ingest(session, case, tone)
    with database.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
    with Session(owner) as session:
        assert sweeping.sweep(session, shelf, older_than=ZERO).removed_objects == 1
    assert (read_recording(database, audio), len(list(shelf.list()))) == (tone, 1)
    with database.session(actor="alice") as session:
        assert [check.outcome for check in recordings.verify(session, case=case)] == ["sound"]


def test_url_fails_for_a_backend_without_presigned_urls(db, audio):
    with pytest.raises(UnsupportedOperation), db.session(actor="alice") as session:
        recordings.url(session, audio)


def test_storage_usage_counts_the_objects_of_a_case(db, case, audio):
    with db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
    with db.session(actor="alice") as session:
        usage = [(u.backend, u.state, u.objects, u.size_bytes) for u in recordings.storage_usage(session, case)]
    assert usage == [("memory", "live", 1, len(CONTENT)), ("memory", "superseded", 1, len(CONTENT))]
    with db.session(actor="bob") as session:
        assert recordings.storage_usage(session, case) == []
