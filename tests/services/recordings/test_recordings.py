"""Recordings: ingest and open, the states of objects after commits, rollbacks and failures, and rights."""

from __future__ import annotations

import hashlib
import io
import os

import pytest
from sqlalchemy import select, text

from src.database import AudioFile, Case, StorageObject
from src.errors import Conflict, Forbidden, InvalidInput, NotAudio, NotFound
from src.services import activity, cases, recordings
from src.storage import MemoryStorage
from tests.conftest import wav

pytestmark = pytest.mark.shared_database


@pytest.fixture
def case(db):
    with db.session(actor="alice") as session:
        return cases.open_case(session, title="Harbour interviews")


@pytest.fixture
def objects(owner, last_object_id):
    def read():
        query = select(StorageObject.key, StorageObject.state).where(StorageObject.id > last_object_id)
        with owner.connect() as connection:
            return dict(connection.execute(query).all())

    return read


@pytest.mark.parametrize("source_type", ["path", "bytes", "stream"])
def test_a_recording_is_returned_byte_for_byte(db, case, tone, tmp_path, source_type):
    path = tmp_path / "Интервью 1.wav"
    path.write_bytes(tone)
    source = {"path": path, "bytes": tone, "stream": io.BytesIO(tone)}[source_type]

    with db.session(actor="alice") as session:
        name = None if source_type == "path" else path.name
        audio = recordings.ingest(session, case, source, name=name, language="pt-BR")

    assert (audio.name, audio.size_bytes, audio.sha256) == (path.name, len(tone), hashlib.sha256(tone).hexdigest())
    assert (audio.duration_ms, audio.sample_rate_hz, audio.channels) == (500, 8000, 1)
    assert (audio.language.code, audio.status.code, audio.uploaded_by_id) == ("pt", "received", case.opened_by_id)
    with db.session(actor="alice") as session, recordings.open(session, audio) as file:
        assert file.read() == tone
        assert file.seek(4) == 4


def test_a_case_and_its_first_recording_can_be_created_in_one_transaction(db, tone, objects):
    with db.session(actor="alice", reason="first interview") as session:
        case = cases.open_case(session, title="New")
        audio = recordings.ingest(session, case, tone, name="a.wav")

    assert objects() == {audio.path: "live"}
    with db.session(actor="alice") as session:
        entries = [str(entry) for entry in activity.feed(session, case=case)]
    assert entries == [
        "alice opened the case New: first interview",
        "alice ingested a.wav: first interview",
    ]


def test_a_rollback_leaves_no_recording_and_a_pending_object(db, case, tone, objects):
    with pytest.raises(ZeroDivisionError), db.session(actor="alice") as session:
        recordings.ingest(session, case, tone)
        raise ZeroDivisionError

    (state,) = objects().values()
    assert state == "pending"
    with db.session(actor="alice") as session:
        assert session.scalars(select(AudioFile)).all() == []


def test_a_released_savepoint_of_a_rolled_back_transaction_deletes_nothing(db, case, tone):
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, tone)
    with pytest.raises(ZeroDivisionError), db.session(actor="alice") as session:
        with session.begin_nested():
            session.delete(session.get(AudioFile, audio.id))
        raise ZeroDivisionError
    with db.session(actor="alice") as session, recordings.open(session, audio) as file:
        assert file.read() == tone


@pytest.mark.parametrize("method", ["orm", "bulk", "raw", "cascade"])
def test_every_deletion_of_a_recording_queues_its_object_for_removal(db, case, tone, objects, method):
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, tone)
    with db.session(actor="alice") as session:
        if method == "orm":
            session.delete(session.get(AudioFile, audio.id))
        elif method == "bulk":
            session.query(AudioFile).delete()
        elif method == "raw":
            session.execute(text("DELETE FROM audio_files"))
        else:
            session.delete(session.get(Case, case.id))
    assert objects() == {audio.path: "deleting"}


def test_a_row_cannot_reference_bytes_that_were_never_stored(db, case):
    with pytest.raises(Conflict, match="audio_files_case_id_path_fkey"), db.session(actor="alice") as session:
        session.add(
            AudioFile(
                case_id=case.id,
                name="x.wav",
                path=f"cases/{case.id}/00000000-0000-4000-8000-000000000000.wav",
                size_bytes=1,
                sha256="0" * 64,
            )
        )


def test_a_row_cannot_reference_the_object_of_another_recording(db, case, tone, make_audio):
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, tone)
    with pytest.raises(Conflict), db.session(actor="alice") as session:
        session.add(AudioFile(case_id=case.id, name="x.wav", path=audio.path, size_bytes=1, sha256="0" * 64))


@pytest.mark.parametrize("content", [b"", b"this is text", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_input_that_is_not_audio_is_rejected_before_anything_is_stored(db, case, objects, content):
    with pytest.raises(NotAudio), db.session(actor="alice") as session:
        recordings.ingest(session, case, content, name="x.wav")
    assert objects() == {}


@pytest.mark.parametrize("source", ["/does/not/exist.wav", "/dev", "a\0b.wav", 42])
def test_sources_that_cannot_be_read_are_rejected(db, case, source):
    with pytest.raises(InvalidInput), db.session(actor="alice") as session:
        recordings.ingest(session, case, source)


def test_a_fifo_is_rejected_without_blocking(db, case, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(InvalidInput, match="not a regular file"), db.session(actor="alice") as session:
        recordings.ingest(session, case, tmp_path / "pipe.wav")


def test_cases_and_recordings_without_rights_look_missing(db, case, tone):
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, tone)
    with pytest.raises(NotFound), db.session(actor="bob") as session:
        recordings.ingest(session, case, tone)
    with pytest.raises(NotFound), db.session(actor="bob") as session:
        recordings.open(session, audio)
    with pytest.raises(Forbidden, match="This session has no actor"), db.session() as session:
        recordings.open(session, audio)


def test_a_viewer_can_open_but_not_ingest(db, case, tone, objects):
    with db.session(actor="alice") as session:
        audio = recordings.ingest(session, case, tone)
        cases.add_participant(session, case, "bob", role="viewer")
    with db.session(actor="bob") as session, recordings.open(session, audio) as file:
        assert file.read(4) == b"RIFF"
    with pytest.raises(Forbidden), db.session(actor="bob") as session:
        recordings.ingest(session, case, tone)
    assert list(objects().values()) == ["live"]  # rejected before any bytes were transferred


@pytest.mark.own_database
def test_a_failed_put_leaves_a_pending_object_and_no_recording(speech_server, owner_url, tone, objects):
    storage = MemoryStorage()
    with speech_server.database(owner_url, storage=storage) as database:
        with database.session(actor="alice") as session:
            case = cases.open_case(session, title="Full disk")
        storage.fail("put.after_bytes", OSError("disk full"))
        with pytest.raises(OSError, match="disk full"), database.session(actor="alice") as session:
            recordings.ingest(session, case, tone)
        with database.session(actor="alice") as session:
            assert session.scalars(select(AudioFile)).all() == []
            recordings.ingest(session, case, wav(0.1))
    assert sorted(objects().values()) == ["live", "pending"]
