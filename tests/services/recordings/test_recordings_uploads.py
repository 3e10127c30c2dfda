"""How bytes come in: received without a session, uploaded by a client, twice, or again because they were lost."""

from __future__ import annotations

import io
import threading
import urllib.request
from datetime import timedelta

import pytest
from sqlalchemy import text

from src.errors import Conflict, Forbidden, InvalidInput, NotAudio, NotFound, StorageUnavailable, UnsupportedOperation
from src.services import activity, cases, recordings

pytestmark = pytest.mark.shared_database

NOW = timedelta(0)


def test_what_was_received_is_attached_in_a_short_transaction(db, case, tone, states):
    received = recordings.receive(db, case, io.BytesIO(tone), actor="alice", name="Интервью.wav")
    assert states() == ["pending"]
    assert (received.size_bytes, received.facts.duration_ms) == (len(tone), 500)
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, received, language="ru")
    assert (audio.name, audio.duration_ms, audio.language.code) == ("Интервью.wav", 500, "ru")
    with db.session(actor="alice") as session, recordings.open(session, audio) as file:
        assert file.read() == tone
    with pytest.raises(Conflict, match="already ingested"), db.session(actor="alice") as session:
        recordings.ingest(session, case, received)
    assert states() == ["live"]


@pytest.mark.own_database
def test_bytes_that_a_killed_sweep_removed_become_no_recording(db, case, tone, storage, states):
    received = recordings.receive(db, case, tone, actor="alice")
    storage.delete(received.key)  # what a sweep does last, and a kill before its commit leaves the row
    with pytest.raises(Conflict, match="upload them again"), db.session(actor="alice") as session:
        recordings.ingest(session, case, received)
    assert states() == ["pending"]


def test_receiving_holds_no_connection_of_the_sessions(db, case, tone, storage, monkeypatch):
    held = []
    put = storage.put

    def watched(*arguments, **options):
        held.append((db.engine.pool.checkedout(), db.side_engine.pool.checkedout()))
        return put(*arguments, **options)

    monkeypatch.setattr(storage, "put", watched)
    recordings.receive(db, case, tone, actor="alice")
    assert held == [(0, 1)]


def test_transactions_that_wait_for_bytes_may_idle(db, case, tone, storage, monkeypatch):
    waiting, seen = [], []

    def look():
        seen.append(waiting[-1].scalar(text("SHOW idle_in_transaction_session_timeout")))

    class Stream(io.BytesIO):
        def read(self, *arguments):
            look()
            return super().read(*arguments)

    def watched(verb):
        def run(*arguments, **options):
            look()
            return verb(*arguments, **options)

        return run

    for verb in ("put", "copy"):
        monkeypatch.setattr(storage, verb, watched(getattr(storage, verb)))
    with db.session(actor="alice") as session:
        waiting.append(session)
        look()
        audio = recordings.ingest(session, case, Stream(tone))
    with db.session(actor="alice") as session:
        waiting.append(session)
        recordings.archive(session, audio, reason="finished")
    lock_object = recordings.uploads.lock_object
    monkeypatch.setattr(
        recordings.uploads, "lock_object", lambda side, key: (waiting.append(side), lock_object(side, key))
    )
    recordings.receive(db, case, tone, actor="alice")
    assert seen[0] != "0"
    assert len(seen) >= 5
    assert set(seen[1:]) == {"0"}


@pytest.mark.own_database
@pytest.mark.parametrize("step", ["put.before", "put.after_bytes", "put.after"])
def test_receiving_that_fails_leaves_a_row_that_a_sweep_finds(db, case, tone, store, step):
    store.storage.fail(step, StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable):
        recordings.receive(db, case, tone, actor="alice")
    assert store.states() == ["pending"]
    store.sweep()
    assert (store.states(), list(store.storage.list())) == ([], [])


def test_who_may_not_write_receives_nothing(db, case, tone, states):
    with pytest.raises(NotFound):
        recordings.receive(db, case, tone, actor="bob")
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer")
    with pytest.raises(Forbidden):
        recordings.receive(db, case.id, tone, actor="bob")
    assert states() == []


def test_what_was_received_for_one_case_is_not_attached_to_another(db, case, tone):
    received = recordings.receive(db, case, tone, actor="alice")
    with pytest.raises(InvalidInput, match="received for case"), db.session(actor="alice") as session:
        recordings.ingest(session, cases.open_case(session, title="Other"), received)


@pytest.mark.parametrize("content", [b"no audio at all", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_input_that_is_not_audio_is_stored_when_allowed(db, case, content):
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, content, name="x.wav", allow_non_audio=True)
    assert (audio.duration_ms, audio.codec, audio.content_type) == (None, None, "application/octet-stream")
    with pytest.raises(NotAudio, match="empty"), db.session(actor="alice") as session:
        recordings.ingest(session, case, b"", allow_non_audio=True)


def test_the_type_is_that_of_the_content_whatever_the_name(db, case, tone):
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, tone, name="song.mp3")
    assert (audio.content_type, audio.codec) == ("audio/wav", "pcm_s16le")


def test_the_same_bytes_are_added_returned_or_refused(db, case, tone, states):
    with db.session(actor="alice") as session:
        first = recordings.ingest(session, case, tone, name="one.wav")
        again = recordings.ingest(session, case, tone, on_duplicate="return")
        assert again.id == first.id
        with pytest.raises(Conflict, match=r"one\.wav"):
            recordings.ingest(session, case, tone, on_duplicate="refuse")
        assert recordings.ingest(session, case, tone).id != first.id
        other = cases.open_case(session, title="Other")
        assert recordings.ingest(session, other, tone, on_duplicate="refuse").id != first.id
        with pytest.raises(InvalidInput, match="on_duplicate"):
            recordings.ingest(session, case, tone, on_duplicate="ignore")
    assert states() == ["live"] * 3  # what was known is not stored at all


def test_of_two_who_bring_the_same_bytes_at_once_one_is_given_the_others(db, case, tone):
    start, found = threading.Barrier(2), []

    def bring():
        start.wait()
        with db.session(actor="alice") as session:
            found.append(recordings.ingest(session, case, tone, on_duplicate="return").id)

    threads = [threading.Thread(target=bring) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert len(set(found)) == 1


@pytest.mark.parametrize("on_duplicate", ["add", "return", "refuse"])
def test_the_same_bytes_repair_a_recording_whose_file_is_missing(db, case, tone, store, on_duplicate):
    with db.session(actor="alice") as session:
        lost = recordings.ingest(session, case, tone, name="one.wav")
    store.storage.delete(lost.path)
    with db.session(actor="alice") as session:
        repaired = recordings.ingest(session, case, tone, on_duplicate=on_duplicate)
    assert (repaired.id, repaired.name) == (lost.id, "one.wav")
    with db.session(actor="alice") as session, recordings.open(session, lost) as file:
        assert file.read() == tone
    with db.session(actor="alice") as session:
        entries = [entry.type for entry in activity.feed(session, case=case, type="audio.repaired")]
    assert entries == ["audio.repaired"]
    store.sweep()
    assert store.states() == ["live"]


def test_what_was_archived_is_repaired_in_the_archive(db, case, tone, store):
    with db.session(actor="alice") as session:
        lost = recordings.ingest(session, case, tone, name="one.wav")
        recordings.archive(session, lost, reason="finished")
    store.sweep()
    store.storage.delete(lost.path)
    with db.session(actor="alice") as session:
        repaired = recordings.ingest(session, case, tone)
    assert (repaired.id, repaired.is_archived, repaired.archive_reason) == (lost.id, True, "finished")
    assert repaired.path.startswith(f"archive/{lost.id}/")
    store.sweep()
    assert (store.states(), [found.key for found in store.storage.list()]) == (["live"], [repaired.path])
    with db.session(actor="alice") as session, recordings.open(session, lost) as file:
        assert file.read() == tone


def test_uploads_by_clients_need_a_backend_with_addresses(db, case, states):
    with pytest.raises(UnsupportedOperation), db.session(actor="alice") as session:
        recordings.upload_url(session, case, "a.wav", size=10)
    for wrong in ({"size": 0}, {"size": 1, "expires_in": timedelta(days=2)}, {"size": 1, "expires_in": NOW}):
        with pytest.raises(InvalidInput), db.session(actor="alice") as session:
            recordings.upload_url(session, case, "a.wav", **wrong)
    assert states() == []


@pytest.fixture
def by_address(opened, s3):
    return opened(s3())


def test_what_a_client_uploaded_is_read_hashed_and_decoded_here(by_address, tone, states):
    with by_address.session(actor="alice") as session:
        case = cases.open_case(session, title="By address")
    with by_address.session(actor="alice") as session:
        address = recordings.upload_url(session, case, "a.wav", size=len(tone), content_type="audio/wav")
    assert states() == ["pending"]
    request = urllib.request.Request(address.url, data=tone, method="PUT", headers=address.headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    uploaded = recordings.Uploaded(address.key)
    with pytest.raises(InvalidInput, match="another case"), by_address.session(actor="alice") as session:
        recordings.ingest(session, cases.open_case(session, title="Other"), uploaded)
    with by_address.session(actor="alice") as session:
        audio = recordings.ingest(session, case, uploaded, name="a.wav")
    assert (audio.path, audio.duration_ms, audio.size_bytes) == (address.key, 500, len(tone))
    with by_address.session(actor="alice") as session:
        with urllib.request.urlopen(recordings.url(session, audio), timeout=10) as answer:
            assert answer.read() == tone
        with pytest.raises(Conflict, match="already ingested"):
            recordings.ingest(session, case, uploaded)
