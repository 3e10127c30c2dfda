"""Sweeps: which objects they remove, and which they never remove."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from src.database import AudioFile, StorageObject
from src.errors import Conflict, StorageUnavailable, UnsupportedOperation
from src.maintenance import unknown_objects
from src.services import recordings
from tests.conftest import wav

ZERO = timedelta(0)


def test_a_sweep_never_removes_objects_that_are_being_written(db, case, tone, storage_fixture, monkeypatch):
    put = storage_fixture.storage.put
    sweeps = []

    def put_between_sweeps(*arguments, **options):
        sweeps.append(storage_fixture.sweep())
        stored = put(*arguments, **options)
        sweeps.append(storage_fixture.sweep())
        return stored

    monkeypatch.setattr(storage_fixture.storage, "put", put_between_sweeps)
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, tone)
        sweeps.append(storage_fixture.sweep())
    received = recordings.receive(db, case, tone, actor="alice")
    assert [(done.removed_objects, done.kept_back) for done in sweeps] == [(0, 1)] * 5
    assert storage_fixture.sweep().removed_objects == 1  # not locked between receive and ingest
    with pytest.raises(Conflict, match="upload them again"), db.session(actor="alice") as session:
        recordings.ingest(session, case, received)
    with db.session(actor="alice") as session, recordings.open(session, audio) as file:
        assert file.read() == tone


def test_a_writer_whose_object_is_swept_before_it_is_locked_stores_nothing(
    db, case, tone, storage_fixture, monkeypatch
):
    announce = recordings.context.announce

    def announce_and_sweep(*arguments):
        announce(*arguments)
        assert storage_fixture.sweep().removed_objects == 1

    monkeypatch.setattr(recordings.context, "announce", announce_and_sweep)
    with pytest.raises(Conflict, match="removed by a sweep"), db.session(actor="alice") as session:
        recordings.ingest(session, case, tone)
    assert (storage_fixture.object_states(), list(storage_fixture.storage.list())) == ([], [])


def test_a_key_that_was_not_announced_cannot_be_ingested(db, case, tone, storage, owner):
    key = f"cases/{case.id}/00000000-0000-4000-8000-000000000000.wav"
    storage.put(key, tone)
    with pytest.raises(Conflict), db.session(actor="alice") as session:
        recordings.ingest(session, case, recordings.Uploaded(key))
    with Session(owner) as session:
        assert list(unknown_objects.unknown_objects(session, storage, older_than=ZERO)) == [key]
        assert list(unknown_objects.unknown_objects(session, storage)) == []
        assert unknown_objects.remove_unknown(session, storage, older_than=ZERO) == [key]
    assert list(storage.list()) == []


def test_a_sweep_continues_after_an_object_that_cannot_be_removed_and_stores_the_error(
    db, case, storage_fixture, owner, tone
):
    with pytest.raises(ZeroDivisionError), db.session(actor="alice") as session:
        recordings.ingest(session, case, tone)
        recordings.ingest(session, case, wav(0.1))
        raise ZeroDivisionError
    storage_fixture.storage.fail("delete.before", UnsupportedOperation("locked"))
    done = storage_fixture.sweep()
    assert (done.removed_objects, list(done.failed.values())) == (1, ["locked"])
    with owner.connect() as connection:
        assert connection.execute(select(StorageObject.attempts, StorageObject.last_error)).all() == [(1, "locked")]
    storage_fixture.storage.fail("delete.after", StorageUnavailable("the response was lost"))
    assert len(storage_fixture.sweep().failed) == 1
    assert storage_fixture.sweep().removed_objects == 1
    assert (storage_fixture.object_states(), list(storage_fixture.storage.list())) == ([], [])
    with owner.connect() as connection:
        outcomes = connection.scalars(
            text(
                "SELECT l.new ->> 'outcome' FROM activity_logs l JOIN activity_types t ON t.id = l.activity_type_id"
                " WHERE t.code = 'storage.swept' ORDER BY l.id"
            )
        ).all()
    assert outcomes == ["failed", "failed", "done"]


def test_an_unavailable_storage_is_called_once(db, case, storage, tone, sweep):
    with pytest.raises(ZeroDivisionError), db.session(actor="alice") as session:
        recordings.ingest(session, case, tone)
        recordings.ingest(session, case, tone)
        raise ZeroDivisionError
    storage.fail("delete.before", StorageUnavailable("no answer"), times=None)
    done = sweep()
    assert (len(done.failed), done.kept_back, done.incomplete) == (1, 1, 0)
    with db.session(actor="alice") as session:
        assert session.scalars(select(AudioFile)).all() == []
