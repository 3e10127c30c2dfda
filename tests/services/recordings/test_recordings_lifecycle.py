"""What becomes of recordings: archived, restored, moved, deleted, checked, counted; with faults at every step."""

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
from tests.services.recordings.conftest import BYTES, outcomes, read
from tests.storage.shelf import Shelf

NOW = timedelta(0)


def test_archiving_copies_switches_and_queues_and_restoring_goes_back(db, case, audio, store):
    with db.session(actor="alice") as session:
        archived = recordings.archive(session, audio, reason="finished")
    assert archived.path.startswith(f"archive/{audio.id}/")
    assert (archived.is_archived, archived.archive_reason) == (True, "finished")
    assert store.states() == ["deleting", "live"]
    assert read(db, audio) == BYTES

    assert store.sweep().removed_objects == 1
    with pytest.raises(ObjectNotFound):
        store.storage.head(audio.path)

    with db.session(actor="alice") as session:
        restored = recordings.restore(session, audio)
    assert restored.path.startswith(f"cases/{case.id}/")
    assert (restored.is_archived, restored.archive_reason) == (False, None)
    store.sweep()
    assert read(db, audio) == BYTES
    assert store.states() == ["live"]
    assert (outcomes(db, case, "audio.archived"), outcomes(db, case, "audio.restored")) == (["done"], ["done"])


@pytest.mark.parametrize("step", ["copy.before", "copy.after_bytes", "copy.after"])
@pytest.mark.parametrize("verb", ["archive", "restore"])
def test_a_fault_at_any_step_leaves_the_recording_where_it_was(db, audio, step, verb, store):
    if verb == "restore":
        with db.session(actor="alice") as session:
            recordings.archive(session, audio, reason="finished")
        store.sweep()
    store.storage.fail(step, StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable, match="gone"), db.session(actor="alice") as session:
        if verb == "archive":
            recordings.archive(session, audio, reason="finished")
        else:
            recordings.restore(session, audio)
    assert store.states() == ["live", "pending"]
    assert read(db, audio) == BYTES
    assert store.sweep().removed_objects == 1
    assert (read(db, audio), store.states(), len(list(store.storage.list()))) == (BYTES, ["live"], 1)


@pytest.mark.parametrize("step", ["put.before", "put.after_bytes", "put.after"])
def test_a_fault_while_storing_leaves_garbage_that_a_sweep_finds(db, case, tone, step, store):
    store.storage.fail(step, StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable), db.session(actor="alice") as session:
        recordings.ingest(session, case, tone)
    assert store.states() == ["pending"]
    assert store.sweep().removed_objects == 1
    assert (store.states(), list(store.storage.list())) == ([], [])


@pytest.mark.parametrize("how", ["rollback", "savepoint", "released savepoint, then rollback"])
def test_what_is_taken_back_leaves_the_recording_where_it_was(db, audio, states, sweep, how):
    with pytest.raises(ZeroDivisionError), db.session(actor="alice") as session:
        if how == "rollback":
            recordings.archive(session, audio, reason="finished")
        else:
            point = session.begin_nested()
            recordings.archive(session, audio, reason="finished")
            if how == "savepoint":
                point.rollback()
            else:
                point.commit()
        raise ZeroDivisionError
    assert (states(), read(db, audio)) == (["live", "pending"], BYTES)
    sweep()
    assert (states(), read(db, audio)) == (["live"], BYTES)


def test_a_savepoint_that_is_taken_back_inside_a_transaction_that_commits_keeps_the_bytes(db, audio, states, sweep):
    with db.session(actor="alice") as session:
        point = session.begin_nested()
        recordings.archive(session, audio, reason="too early")
        point.rollback()
        recordings.archive(session, audio, reason="now")
    sweep()
    assert (states(), read(db, audio)) == (["live"], BYTES)


def test_of_two_concurrent_archivings_one_fails(db, audio, monkeypatch, store):
    copy = store.storage.copy

    def overtaken(source, target):
        monkeypatch.setattr(store.storage, "copy", copy)
        with db.session(actor="alice") as other:
            recordings.archive(other, audio, reason="mine")
        return copy(source, target)

    monkeypatch.setattr(store.storage, "copy", overtaken)
    with pytest.raises(LostUpdate), db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="mine too")
    store.sweep()
    assert (store.states(), read(db, audio)) == (["live"], BYTES)


def test_damaged_bytes_are_not_archived(db, audio, storage, states):
    storage.corrupt(audio.path)
    with pytest.raises(IntegrityFailure), db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
    assert states() == ["live", "pending"]


def test_other_bytes_that_a_copy_takes_for_whole_are_not_archived(db, audio, storage, states):
    storage.delete(audio.path)
    storage.put(audio.path, b"RIFF of somebody else")
    with pytest.raises(IntegrityFailure, match="not those that were ingested"), db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
    assert states() == ["live", "pending"]


@pytest.mark.parametrize("reason", ["", "  "])
def test_archiving_and_deleting_need_a_reason(db, audio, reason):
    for verb in (recordings.archive, recordings.delete):
        with pytest.raises(InvalidInput, match="reason"), db.session(actor="alice") as session:
            verb(session, audio, reason=reason)


def test_what_is_done_already_is_refused(db, audio):
    with db.session(actor="alice") as session:
        with pytest.raises(Conflict, match="neither"):
            recordings.restore(session, audio)
        recordings.archive(session, audio, reason="finished")
        with pytest.raises(Conflict, match="archived already"):
            recordings.archive(session, audio, reason="finished")
        recordings.delete(session, audio, reason="wrong person")
        with pytest.raises(Conflict, match="deleted already"):
            recordings.delete(session, audio, reason="wrong person")


def test_moving_to_another_backend_and_reading_it_there(db, audio, tmp_path, owner, speech_server, store):  # noqa: PLR0917 - fixtures
    local = LocalStorage(tmp_path / "audio")
    with db.session(actor="alice") as session:
        moved = recordings.move(session, audio, local)
        with pytest.raises(Conflict, match="already"):
            recordings.move(session, audio, local)
    assert moved.storage_type == "local"
    assert read(db, audio) == BYTES
    with Session(owner) as session:
        first = sweeping.sweep(session, local, older_than=NOW)
        assert (first.removed_objects, first.kept_back) == (0, 1)  # not its backend
        assert sweeping.sweep(session, {"local": local, "memory": store.storage}, older_than=NOW).removed_objects == 1
    assert (read(db, audio), store.states()) == (BYTES, ["live"])
    url, key = db.engine.url, speech_server.signing_key
    with Database(url, signing_key=key, storage=store.storage) as stranger:
        with pytest.raises(ConfigurationError, match="local"):
            read(stranger, audio)
        recordings.keep_backend(stranger, local)
        assert read(stranger, audio) == BYTES


def test_a_backend_of_a_third_party_keeps_recordings_like_ours(opened, owner, tone, tmp_path):
    register_backend("shelf", Shelf)
    shelf = open_backend("shelf", path=tmp_path / "shelf.sqlite")
    database = opened(shelf)
    with database.session(actor="alice") as session:
        elsewhere = cases.open_case(session, title="Elsewhere")
        kept = recordings.ingest(session, elsewhere, tone)
    with database.session(actor="alice") as session:
        recordings.archive(session, kept, reason="finished")
    with Session(owner) as session:
        assert sweeping.sweep(session, shelf, older_than=NOW).removed_objects == 1
    assert (read(database, kept), len(list(shelf.list()))) == (tone, 1)
    with database.session(actor="alice") as session:
        assert [check.outcome for check in recordings.verify(session, case=elsewhere)] == ["sound"]


def test_an_address_where_the_backend_has_none(db, audio):
    with pytest.raises(UnsupportedOperation), db.session(actor="alice") as session:
        recordings.url(session, audio)


def test_usage_counts_what_a_case_keeps(db, case, audio):
    with db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
    with db.session(actor="alice") as session:
        entries = [(s.backend, s.state, s.objects, s.size_bytes) for s in recordings.storage_usage(session, case)]
    assert entries == [("memory", "deleting", 1, len(BYTES)), ("memory", "live", 1, len(BYTES))]
    with db.session(actor="bob") as session:
        assert recordings.storage_usage(session, case) == []
