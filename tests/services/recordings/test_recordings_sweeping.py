"""What a sweep takes, and what it never takes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from src.database import AudioFile, StorageObject
from src.errors import Conflict, StorageUnavailable, UnsupportedOperation
from src.maintenance import sweeping
from src.services import recordings
from tests.conftest import wav

NOW = timedelta(0)


def test_a_sweep_never_takes_what_is_on_its_way(db, case, tone, store, monkeypatch):
    put = store.storage.put
    swept = []

    def slow(*arguments, **options):
        swept.append(store.sweep())
        stored = put(*arguments, **options)
        swept.append(store.sweep())
        return stored

    monkeypatch.setattr(store.storage, "put", slow)
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, tone)
        swept.append(store.sweep())
    received = recordings.receive(db, case, tone, actor="alice")
    assert [(done.removed_objects, done.kept_back) for done in swept] == [(0, 1)] * 5
    assert store.sweep().removed_objects == 1  # nobody holds it between receive and ingest
    with pytest.raises(Conflict, match="upload them again"), db.session(actor="alice") as session:
        recordings.ingest(session, case, received)
    with db.session(actor="alice") as session, recordings.open(session, audio) as file:
        assert file.read() == tone


def test_a_writer_that_paused_before_it_held_its_key_stores_nothing(db, case, tone, store, monkeypatch):
    announce = recordings.context.announce

    def paused(*arguments):
        announce(*arguments)
        assert store.sweep().removed_objects == 1

    monkeypatch.setattr(recordings.context, "announce", paused)
    with pytest.raises(Conflict, match="removed by a sweep"), db.session(actor="alice") as session:
        recordings.ingest(session, case, tone)
    assert (store.states(), list(store.storage.list())) == ([], [])


def test_a_key_that_nobody_announced_cannot_be_ingested(db, case, tone, storage, owner):
    key = f"cases/{case.id}/00000000-0000-4000-8000-000000000000.wav"
    storage.put(key, tone)
    with pytest.raises(Conflict), db.session(actor="alice") as session:
        recordings.ingest(session, case, recordings.Uploaded(key))
    with Session(owner) as session:
        assert list(sweeping.unknown_objects(session, storage, older_than=NOW)) == [key]
        assert list(sweeping.unknown_objects(session, storage)) == []
        assert sweeping.remove_unknown(session, storage, older_than=NOW) == [key]
    assert list(storage.list()) == []


def test_a_sweep_goes_on_past_what_cannot_be_removed_and_remembers_why(db, case, store, owner, tone):
    with pytest.raises(ZeroDivisionError), db.session(actor="alice") as session:
        recordings.ingest(session, case, tone)
        recordings.ingest(session, case, wav(0.1))
        raise ZeroDivisionError
    store.storage.fail("delete.before", UnsupportedOperation("locked"))
    done = store.sweep()
    assert (done.removed_objects, list(done.failed.values())) == (1, ["locked"])
    with owner.connect() as connection:
        assert connection.execute(select(StorageObject.attempts, StorageObject.last_error)).all() == [(1, "locked")]
    store.storage.fail("delete.after", StorageUnavailable("the answer got lost"))
    assert len(store.sweep().failed) == 1
    assert (store.sweep().removed_objects, store.states(), list(store.storage.list())) == (1, [], [])
    with owner.connect() as connection:
        entries = connection.scalars(
            text(
                "SELECT l.new ->> 'outcome' FROM activity_logs l JOIN activity_types t ON t.id = l.activity_type_id"
                " WHERE t.code = 'storage.swept' ORDER BY l.id"
            )
        ).all()
    assert entries == ["failed", "failed", "done"]


def test_a_storage_that_does_not_answer_is_asked_once(db, case, storage, tone, sweep):
    with pytest.raises(ZeroDivisionError), db.session(actor="alice") as session:
        recordings.ingest(session, case, tone)
        recordings.ingest(session, case, tone)
        raise ZeroDivisionError
    storage.fail("delete.before", StorageUnavailable("no answer"), times=None)
    done = sweep()
    assert (len(done.failed), done.kept_back, done.incomplete) == (1, 1, 0)
    with db.session(actor="alice") as session:
        assert session.scalars(select(AudioFile)).all() == []
