"""Recordings marked as deleted, what a hold keeps, and who may do what to a recording."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from src.database import AudioFile
from src.errors import Conflict, Forbidden, InvalidInput, NotFound
from src.services import analyses, cases, recordings, search, transcripts
from src.storage import MemoryStorage
from tests.services.recordings.conftest import BYTES, outcomes, read

pytestmark = pytest.mark.shared_database

NOW = timedelta(0)


def test_a_deleted_recording_cannot_be_opened_is_restored_or_removed_permanently(db, case, audio, sweep, states):
    with db.session(actor="alice") as session:
        recordings.delete(session, audio, reason="wrong person")
    with pytest.raises(NotFound, match="restore"):
        read(db, audio)
    assert sweep().purged_recordings == 0
    with db.session(actor="alice") as session:
        recordings.restore(session, audio)
    assert read(db, audio) == BYTES
    assert sweep(grace=NOW).purged_recordings == 0

    with db.session(actor="alice") as session:
        recordings.delete(session, audio, reason="wrong person")
    done = sweep(grace=NOW)
    assert (done.purged_recordings, done.removed_objects, done.removed_bytes) == (1, 1, len(BYTES))
    assert states() == []
    with pytest.raises(NotFound, match="does not exist"):
        read(db, audio)
    assert outcomes(db, case, "audio.purged") == ["done"]


def test_a_hold_refuses_deletion_and_keeps_what_was_marked_and_replaced_before(db, case, audio, sweep, states):
    with db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
        recordings.delete(session, audio, reason="wrong person")
    with db.session(actor="alice") as session:
        hold = cases.place_hold(session, case, reason="inquiry")
    done = sweep(grace=NOW)
    assert (done.purged_recordings, done.removed_objects, done.kept_back) == (0, 0, 1)
    with db.session(actor="alice") as session:
        recordings.restore(session, audio)
    with pytest.raises(Conflict, match="legal hold"), db.session(actor="alice") as session:
        recordings.delete(session, audio, reason="again")
    with db.session(actor="alice") as session:
        cases.release_hold(session, hold, reason="over")
    assert sweep().removed_objects == 1
    assert (states(), read(db, audio)) == (["live"], BYTES)


@pytest.mark.own_database
def test_the_functions_check_the_rights_of_their_caller(db, case, audio, states):
    calls = (
        ("place_recording", ":id, 'x', 'y', 'memory', false, NULL"),
        ("mark_deleted", ":id, true"),
        ("note_check", ":id, 'x', 'lost'"),
    )
    for name, arguments in calls:
        for number in (audio.id, 10**12):
            with pytest.raises(NotFound) as caught, db.session(actor="bob") as session:
                session.execute(text(f"SELECT {name}({arguments})"), {"id": number})
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
    assert states() == ["live"]


def test_only_who_may_write_in_the_case_holds_what_was_announced_there(db, case, audio):
    key = f"cases/{case.id}/00000000-0000-4000-8000-000000000000.wav"
    with db.session(actor="alice") as session:
        session.execute(text("SELECT announce_object(:case, :key, 'memory')"), {"case": case.id, "key": key})
        cases.add_participant(session, case, "transcriber", role="viewer")
    held = {}
    for actor in ("alice", "root", "bob", "transcriber"):
        with db.session(actor=actor) as session:
            held[actor] = [
                session.scalar(text("SELECT lock_object(:key)"), {"key": each}) for each in (key, audio.path)
            ]
    assert held == {"alice": [True, False], "root": [True, False], "bob": [False, False], "transcriber": [False, False]}


def test_a_key_in_the_archive_is_adopted_by_its_recording_only(db, case, audio, make_audio, storage):
    key = f"archive/{audio.id}/00000000-0000-4000-8000-000000000000.wav"
    with db.session(actor="alice") as session:
        other = make_audio(session, case, content=b"RIFF other")
        session.execute(text("SELECT announce_object(:case, :key, 'memory')"), {"case": case.id, "key": key})
    statement = text("SELECT place_recording(:id, :old, :new, 'memory', true, 'finished')")
    with pytest.raises(Conflict, match="path_fkey"), db.session(actor="alice") as session:
        session.execute(statement, {"id": other.id, "old": other.path, "new": key})
    storage.put(key, BYTES)
    assert hashlib.sha256(BYTES).hexdigest() == audio.sha256
    with db.session(actor="alice") as session:
        assert session.scalar(statement, {"id": audio.id, "old": audio.path, "new": key})
    assert read(db, audio) == BYTES


@pytest.mark.own_database
def test_a_viewer_moves_and_deletes_nothing_and_a_stranger_sees_nothing(db, case, audio, states):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer")
    deeds = (
        lambda session: recordings.archive(session, audio, reason="x"),
        lambda session: recordings.delete(session, audio, reason="x"),
        lambda session: recordings.move(session, audio, MemoryStorage(name="other")),
        lambda session: recordings.verify(session, audio),
    )
    for deed in deeds:
        with pytest.raises(Forbidden), db.session(actor="bob") as session:
            deed(session)
    with db.session(actor="alice") as session:
        cases.remove_participant(session, case, "bob")
    for deed in deeds:
        with pytest.raises(NotFound), db.session(actor="bob") as session:
            deed(session)
    assert states() == ["live"]


def test_an_editor_archives_but_does_not_delete(db, case, audio):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="editor")
    with db.session(actor="bob") as session:
        recordings.archive(session, audio, reason="finished")
    with pytest.raises(Forbidden), db.session(actor="bob") as session:
        recordings.delete(session, audio, reason="x")


@pytest.mark.own_database
def test_what_is_marked_as_deleted_is_found_by_no_service_and_shown_by_plain_queries(db, case, audio, make_audio):
    with db.session(actor="alice") as session:
        other = make_audio(session, case, content=b"RIFF other", name="other.wav")
        for each in (audio, other):
            transcripts.add(session, each, [transcripts.Segment("your country")], language="en")
            analyses.add(session, each, summary="x")
        recordings.delete(session, audio, reason="wrong person")

    def found(session):
        return (
            [hit.audio_file_id for hit in search.transcripts(session, "country")],
            [each.id for each in (audio, other) if transcripts.latest(session, each)],
            [each.id for each in (audio, other) if analyses.latest(session, each)],
            [each.id for each in recordings.list_recordings(session, case)],
            [each.id for each in recordings.list_recordings(session, case, deleted=True)],
        )

    for actor in ("alice", "root"):
        with db.session(actor=actor) as session:
            assert found(session) == ([other.id], [other.id], [other.id], [other.id], [audio.id])
            marks = session.execute(select(AudioFile.id, AudioFile.deleted_at.is_not(None)).order_by(AudioFile.id))
            assert marks.all() == [(audio.id, True), (other.id, False)]
    with db.session(actor="alice") as session:
        recordings.restore(session, audio)
        both = [audio.id, other.id]
        assert found(session) == (both, both, both, both, [])


def test_a_listing_goes_by_pages_and_shows_nobody_elses(db, case, audio, make_audio):
    with db.session(actor="alice") as session:
        other = make_audio(session, case, content=b"RIFF other")
        (first,) = recordings.list_recordings(session, case, limit=1)
        assert first.id == audio.id
        assert [each.id for each in recordings.list_recordings(session, case, after=first)] == [other.id]
        for limit in (0, 1001):
            with pytest.raises(InvalidInput, match="limit"):
                recordings.list_recordings(session, case, limit=limit)
    with db.session(actor="bob") as session:
        assert recordings.list_recordings(session, case) == []
