"""Deleted recordings, legal holds, and the rights that operations on recordings require."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from src.database import AudioFile
from src.errors import Conflict, Forbidden, InvalidInput, NotFound
from src.services import analyses, cases, recordings, search, transcripts
from src.storage import MemoryStorage
from tests.services.recordings.conftest import CONTENT, log_outcomes, read_recording

pytestmark = pytest.mark.shared_database

ZERO = timedelta(0)


def test_a_deleted_recording_can_be_restored_until_a_sweep_removes_it(db, case, audio, sweep, object_states):
    with db.session(actor="alice") as session:
        recordings.delete(session, audio, reason="wrong person")
    with pytest.raises(NotFound, match="restore"):
        read_recording(db, audio)
    assert sweep().purged_recordings == 0
    with db.session(actor="alice") as session:
        recordings.restore(session, audio)
    assert read_recording(db, audio) == CONTENT
    assert sweep(grace=ZERO).purged_recordings == 0

    with db.session(actor="alice") as session:
        recordings.delete(session, audio, reason="wrong person")
    done = sweep(grace=ZERO)
    assert (done.purged_recordings, done.removed_objects, done.removed_bytes) == (1, 1, len(CONTENT))
    assert object_states() == []
    with pytest.raises(NotFound, match="does not exist"):
        read_recording(db, audio)
    assert log_outcomes(db, case, "audio.purged") == ["done"]


def test_a_hold_prevents_deletion_and_the_removal_of_queued_objects(db, case, audio, sweep, object_states):
    with db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
        recordings.delete(session, audio, reason="wrong person")
    with db.session(actor="alice") as session:
        hold = cases.place_hold(session, case, reason="inquiry")
    done = sweep(grace=ZERO)
    assert (done.purged_recordings, done.removed_objects, done.kept_back) == (0, 0, 1)
    with db.session(actor="alice") as session:
        recordings.restore(session, audio)
    with pytest.raises(Conflict, match="legal hold"), db.session(actor="alice") as session:
        recordings.delete(session, audio, reason="wrong person")
    with db.session(actor="alice") as session:
        cases.release_hold(session, hold, reason="over")
    assert sweep().removed_objects == 1
    assert (object_states(), read_recording(db, audio)) == (["live"], CONTENT)


@pytest.mark.own_database
def test_the_functions_check_the_rights_of_their_caller(db, case, audio, object_states):
    calls = (
        ("place_recording", ":id, 'x', 'y', 'memory', false, NULL"),
        ("mark_deleted", ":id, true"),
        ("note_check", ":id, 'x', 'lost'"),
    )
    for name, arguments in calls:
        for audio_id in (audio.id, 10**12):
            with pytest.raises(NotFound) as caught, db.session(actor="bob") as session:
                session.execute(text(f"SELECT {name}({arguments})"), {"id": audio_id})
            assert str(caught.value) == "The row does not exist, or you may not see it."
        with pytest.raises(NotFound), db.session() as session:
            session.execute(text(f"SELECT {name}({arguments})"), {"id": audio.id})
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer")
    for name, arguments in calls:
        with pytest.raises(Forbidden), db.session(actor="bob") as session:
            session.execute(text(f"SELECT {name}({arguments})"), {"id": audio.id})
    with pytest.raises(Forbidden), db.session() as session:
        session.execute(text("SELECT lock_object('x')"))
    assert object_states() == ["live"]


def test_only_actors_who_may_write_in_the_case_can_lock_its_announced_objects(db, case, audio):
    key = f"cases/{case.id}/00000000-0000-4000-8000-000000000000.wav"
    with db.session(actor="alice") as session:
        session.execute(text("SELECT announce_object(:case, :key, 'memory')"), {"case": case.id, "key": key})
        cases.add_participant(session, case, "transcriber", role="viewer")
    locked = {}
    for actor in ("alice", "root", "bob", "transcriber"):
        with db.session(actor=actor) as session:
            locked[actor] = [
                session.scalar(text("SELECT lock_object(:key)"), {"key": candidate}) for candidate in (key, audio.path)
            ]
    assert locked == {
        "alice": [True, False],
        "root": [True, False],
        "bob": [False, False],
        "transcriber": [False, False],
    }


def test_only_the_recording_named_in_an_archive_key_can_use_it(db, case, audio, make_audio, storage):
    key = f"archive/{audio.id}/00000000-0000-4000-8000-000000000000.wav"
    with db.session(actor="alice") as session:
        other = make_audio(session, case, content=b"RIFF other")
        session.execute(text("SELECT announce_object(:case, :key, 'memory')"), {"case": case.id, "key": key})
    statement = text("SELECT place_recording(:id, :old, :new, 'memory', true, 'finished')")
    with pytest.raises(Conflict, match="path_fkey"), db.session(actor="alice") as session:
        session.execute(statement, {"id": other.id, "old": other.path, "new": key})
    storage.put(key, CONTENT)
    assert hashlib.sha256(CONTENT).hexdigest() == audio.sha256
    with db.session(actor="alice") as session:
        assert session.scalar(statement, {"id": audio.id, "old": audio.path, "new": key})
    assert read_recording(db, audio) == CONTENT


@pytest.mark.own_database
def test_a_viewer_cannot_change_recordings_and_a_non_participant_cannot_see_them(db, case, audio, object_states):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer")
    operations = (
        lambda session: recordings.archive(session, audio, reason="x"),
        lambda session: recordings.delete(session, audio, reason="x"),
        lambda session: recordings.move(session, audio, MemoryStorage(name="other")),
        lambda session: recordings.verify(session, audio),
    )
    for operation in operations:
        with pytest.raises(Forbidden), db.session(actor="bob") as session:
            operation(session)
    with db.session(actor="alice") as session:
        cases.remove_participant(session, case, "bob")
    for operation in operations:
        with pytest.raises(NotFound), db.session(actor="bob") as session:
            operation(session)
    assert object_states() == ["live"]


def test_an_editor_can_archive_but_not_delete(db, case, audio):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="editor")
    with db.session(actor="bob") as session:
        recordings.archive(session, audio, reason="finished")
    with pytest.raises(Forbidden), db.session(actor="bob") as session:
        recordings.delete(session, audio, reason="x")


@pytest.mark.own_database
def test_services_hide_deleted_recordings_and_plain_queries_return_them(db, case, audio, make_audio):
    with db.session(actor="alice") as session:
        other = make_audio(session, case, content=b"RIFF other", name="other.wav")
        for recording in (audio, other):
            transcripts.add(session, recording, [transcripts.Segment("your country")], language="en")
            analyses.add(session, recording, summary="x")
        recordings.delete(session, audio, reason="wrong person")

    def found(session):
        return (
            [hit.audio_file_id for hit in search.transcripts(session, "country")],
            [recording.id for recording in (audio, other) if transcripts.latest(session, recording)],
            [recording.id for recording in (audio, other) if analyses.latest(session, recording)],
            [recording.id for recording in recordings.list_recordings(session, case)],
            [recording.id for recording in recordings.list_recordings(session, case, deleted=True)],
        )

    for actor in ("alice", "root"):
        with db.session(actor=actor) as session:
            assert found(session) == ([other.id], [other.id], [other.id], [other.id], [audio.id])
            rows = session.execute(select(AudioFile.id, AudioFile.deleted_at.is_not(None)).order_by(AudioFile.id))
            assert rows.all() == [(audio.id, True), (other.id, False)]
    with db.session(actor="alice") as session:
        recordings.restore(session, audio)
        both = [audio.id, other.id]
        assert found(session) == (both, both, both, both, [])


def test_list_recordings_is_paginated_and_empty_without_rights(db, case, audio, make_audio):
    with db.session(actor="alice") as session:
        other = make_audio(session, case, content=b"RIFF other")
        (first,) = recordings.list_recordings(session, case, limit=1)
        assert first.id == audio.id
        assert [recording.id for recording in recordings.list_recordings(session, case, after=first)] == [other.id]
        for limit in (0, 1001):
            with pytest.raises(InvalidInput, match="limit"):
                recordings.list_recordings(session, case, limit=limit)
    with db.session(actor="bob") as session:
        assert recordings.list_recordings(session, case) == []
