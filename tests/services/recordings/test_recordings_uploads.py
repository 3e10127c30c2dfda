"""Uploads: `receive` without a session, uploads by clients, duplicates, and repair of missing files."""

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

ZERO = timedelta(0)


def test_received_bytes_are_ingested_in_a_short_transaction(db, case, tone, object_states):
    received = recordings.receive(db, case, io.BytesIO(tone), actor="alice", name="Интервью.wav")
    assert object_states() == ["pending"]
    assert (received.size_bytes, received.facts.duration_ms) == (len(tone), 500)
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, received, language="ru")
    assert (audio.name, audio.duration_ms, audio.language.code) == ("Интервью.wav", 500, "ru")
    with db.session(actor="alice") as session, recordings.open(session, audio) as file:
        assert file.read() == tone
    with pytest.raises(Conflict, match="already ingested"), db.session(actor="alice") as session:
        recordings.ingest(session, case, received)
    assert object_states() == ["live"]


@pytest.mark.own_database
def test_bytes_that_a_killed_sweep_removed_cannot_be_ingested(db, case, tone, storage, object_states):
    received = recordings.receive(db, case, tone, actor="alice")
    storage.delete(received.key)  # as by a sweep that is killed before it commits, which leaves the row
    with pytest.raises(Conflict, match="upload them again"), db.session(actor="alice") as session:
        recordings.ingest(session, case, received)
    assert object_states() == ["pending"]


def test_receive_uses_one_side_connection_and_none_of_the_sessions_pool(db, case, tone, storage, monkeypatch):
    checked_out = []
    put = storage.put

    def observed_put(*arguments, **options):
        checked_out.append((db.engine.pool.checkedout(), db.side_engine.pool.checkedout()))
        return put(*arguments, **options)

    monkeypatch.setattr(storage, "put", observed_put)
    recordings.receive(db, case, tone, actor="alice")
    assert checked_out == [(0, 1)]


def test_idle_timeouts_are_disabled_while_bytes_are_transferred(db, case, tone, storage, monkeypatch):
    sessions, timeouts = [], []

    def record_timeout():
        timeouts.append(sessions[-1].scalar(text("SHOW idle_in_transaction_session_timeout")))

    class Stream(io.BytesIO):
        def read(self, *arguments):
            record_timeout()
            return super().read(*arguments)

    def observed(operation):
        def run(*arguments, **options):
            record_timeout()
            return operation(*arguments, **options)

        return run

    for name in ("put", "copy"):
        monkeypatch.setattr(storage, name, observed(getattr(storage, name)))
    with db.session(actor="alice") as session:
        sessions.append(session)
        record_timeout()
        audio = recordings.ingest(session, case, Stream(tone))
    with db.session(actor="alice") as session:
        sessions.append(session)
        recordings.archive(session, audio, reason="finished")
    lock_object = recordings.uploads.lock_object
    monkeypatch.setattr(
        recordings.uploads, "lock_object", lambda side, key: (sessions.append(side), lock_object(side, key))
    )
    recordings.receive(db, case, tone, actor="alice")
    assert timeouts[0] != "0"
    assert len(timeouts) >= 5
    assert set(timeouts[1:]) == {"0"}


@pytest.mark.own_database
@pytest.mark.parametrize("step", ["put.before", "put.after_bytes", "put.after"])
def test_a_failed_receive_leaves_an_object_that_a_sweep_removes(db, case, tone, storage_fixture, step):
    storage_fixture.storage.fail(step, StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable):
        recordings.receive(db, case, tone, actor="alice")
    assert storage_fixture.object_states() == ["pending"]
    storage_fixture.sweep()
    assert (storage_fixture.object_states(), list(storage_fixture.storage.list())) == ([], [])


def test_receive_requires_the_right_to_write(db, case, tone, object_states):
    with pytest.raises(NotFound):
        recordings.receive(db, case, tone, actor="bob")
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer")
    with pytest.raises(Forbidden):
        recordings.receive(db, case.id, tone, actor="bob")
    assert object_states() == []


def test_bytes_received_for_one_case_cannot_be_ingested_in_another(db, case, tone):
    received = recordings.receive(db, case, tone, actor="alice")
    with pytest.raises(InvalidInput, match="received for case"), db.session(actor="alice") as session:
        recordings.ingest(session, cases.open_case(session, title="Other"), received)


@pytest.mark.parametrize("content", [b"this is text", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_input_that_is_not_audio_is_stored_when_allowed(db, case, content):
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, content, name="x.wav", allow_non_audio=True)
    assert (audio.duration_ms, audio.codec, audio.content_type) == (None, None, "application/octet-stream")
    with pytest.raises(NotAudio, match="empty"), db.session(actor="alice") as session:
        recordings.ingest(session, case, b"", allow_non_audio=True)


def test_the_content_type_depends_on_the_content_and_not_on_the_name(db, case, tone):
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, tone, name="song.mp3")
    assert (audio.content_type, audio.codec) == ("audio/wav", "pcm_s16le")


def test_duplicates_are_added_returned_or_rejected(db, case, tone, object_states):
    with db.session(actor="alice") as session:
        first = recordings.ingest(session, case, tone, name="one.wav")
        duplicate = recordings.ingest(session, case, tone, on_duplicate="return")
        assert duplicate.id == first.id
        with pytest.raises(Conflict, match=r"one\.wav"):
            recordings.ingest(session, case, tone, on_duplicate="refuse")
        assert recordings.ingest(session, case, tone).id != first.id
        other = cases.open_case(session, title="Other")
        assert recordings.ingest(session, other, tone, on_duplicate="refuse").id != first.id
        with pytest.raises(InvalidInput, match="on_duplicate"):
            recordings.ingest(session, case, tone, on_duplicate="ignore")
    assert object_states() == ["live"] * 3  # bytes that are not added are not stored


def test_concurrent_ingests_of_the_same_bytes_return_one_recording(db, case, tone):
    barrier, ids = threading.Barrier(2), []

    def ingest():
        barrier.wait()
        with db.session(actor="alice") as session:
            ids.append(recordings.ingest(session, case, tone, on_duplicate="return").id)

    threads = [threading.Thread(target=ingest) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 2
    assert len(set(ids)) == 1


@pytest.mark.parametrize("on_duplicate", ["add", "return", "refuse"])
def test_the_same_bytes_repair_a_recording_whose_file_is_missing(db, case, tone, storage_fixture, on_duplicate):
    with db.session(actor="alice") as session:
        lost = recordings.ingest(session, case, tone, name="one.wav")
    storage_fixture.storage.delete(lost.path)
    with db.session(actor="alice") as session:
        repaired = recordings.ingest(session, case, tone, on_duplicate=on_duplicate)
    assert (repaired.id, repaired.name) == (lost.id, "one.wav")
    with db.session(actor="alice") as session, recordings.open(session, lost) as file:
        assert file.read() == tone
    with db.session(actor="alice") as session:
        types = [entry.type for entry in activity.feed(session, case=case, type="audio.repaired")]
    assert types == ["audio.repaired"]
    storage_fixture.sweep()
    assert storage_fixture.object_states() == ["live"]


def test_an_archived_recording_is_repaired_in_the_archive(db, case, tone, storage_fixture):
    with db.session(actor="alice") as session:
        lost = recordings.ingest(session, case, tone, name="one.wav")
        recordings.archive(session, lost, reason="finished")
    storage_fixture.sweep()
    storage_fixture.storage.delete(lost.path)
    with db.session(actor="alice") as session:
        repaired = recordings.ingest(session, case, tone)
    assert (repaired.id, repaired.is_archived, repaired.archive_reason) == (lost.id, True, "finished")
    assert repaired.path.startswith(f"archive/{lost.id}/")
    storage_fixture.sweep()
    assert storage_fixture.object_states() == ["live"]
    assert [info.key for info in storage_fixture.storage.list()] == [repaired.path]
    with db.session(actor="alice") as session, recordings.open(session, lost) as file:
        assert file.read() == tone


def test_upload_url_requires_a_backend_with_presigned_urls(db, case, object_states):
    with pytest.raises(UnsupportedOperation), db.session(actor="alice") as session:
        recordings.upload_url(session, case, "a.wav", size=10)
    for invalid in ({"size": 0}, {"size": 1, "expires_in": timedelta(days=2)}, {"size": 1, "expires_in": ZERO}):
        with pytest.raises(InvalidInput), db.session(actor="alice") as session:
            recordings.upload_url(session, case, "a.wav", **invalid)
    assert object_states() == []


@pytest.fixture
def s3_db(open_database, s3):
    return open_database(s3())


def test_an_object_that_a_client_uploaded_is_hashed_and_decoded_by_ingest(s3_db, tone, object_states):
    with s3_db.session(actor="alice") as session:
        case = cases.open_case(session, title="Uploads by clients")
    with s3_db.session(actor="alice") as session:
        upload = recordings.upload_url(session, case, "a.wav", size=len(tone), content_type="audio/wav")
    assert object_states() == ["pending"]
    request = urllib.request.Request(upload.url, data=tone, method="PUT", headers=upload.headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200
    uploaded = recordings.Uploaded(upload.key)
    with pytest.raises(InvalidInput, match="another case"), s3_db.session(actor="alice") as session:
        recordings.ingest(session, cases.open_case(session, title="Other"), uploaded)
    with s3_db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, uploaded, name="a.wav")
    assert (audio.path, audio.duration_ms, audio.size_bytes) == (upload.key, 500, len(tone))
    with s3_db.session(actor="alice") as session:
        with urllib.request.urlopen(recordings.url(session, audio), timeout=10) as response:
            assert response.read() == tone
        with pytest.raises(Conflict, match="already ingested"):
            recordings.ingest(session, case, uploaded)
