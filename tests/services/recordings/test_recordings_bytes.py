"""The bytes of a recording never change: who may move it, and when a sweep removes the object that it had before.

The attacks are raw SQL in a session of a member, which may name any announced object.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from src.database import AudioFile, Case, StorageObject
from src.errors import Conflict, Forbidden, LostUpdate, NotFound, ObjectNotFound, StorageUnavailable
from src.maintenance import superseded, sweeping, unknown_objects
from src.maintenance.fixity_rounds import verify_all
from src.services import bulk, cases, history, recordings, work
from src.services.recordings.fixity import read_again
from src.storage import MemoryStorage
from tests.services.recordings.conftest import CONTENT, log_outcomes, read_recording
from tests.services.test_permissions import wait_until_blocked

ZERO = timedelta(0)
MOVE = text("SELECT place_recording(:id, :old, :new, 'memory', :archived, :reason)")


@pytest.fixture
def editor(db, case):
    """bob, who may write in the case and not delete."""
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="editor")
    return "bob"


@pytest.fixture
def service(db, case, audio):
    """transcriber, who holds the lease of a job and is not a participant."""
    with db.session(actor="alice") as session:
        work.enqueue(session, audio, "transcribe")
    with db.session(actor="transcriber") as session:
        assert work.claim(session, "transcribe") is not None
    return "transcriber"


@pytest.fixture
def actor(request):
    return request.getfixturevalue(request.param)


def move_to(db, case, audio, actor, storage, *, content=None, archived=False):
    """Move a recording by raw SQL to a new object with this content, or without one; return the key."""
    key = f"{f'archive/{audio.id}' if archived else f'cases/{case.id}'}/{uuid4()}.wav"
    with db.session(actor=actor) as session:
        session.execute(text("SELECT announce_object(:case, :key, 'memory')"), {"case": case.id, "key": key})
    if content is not None:
        storage.put(key, content)
    with db.session(actor=actor) as session:
        old = session.scalars(select(AudioFile.path).where(AudioFile.id == audio.id)).one()
        values = {"id": audio.id, "old": old, "new": key, "archived": archived, "reason": "x" if archived else None}
        assert session.scalar(MOVE, values)
    return key


def content_of(storage, key):
    with storage.get(key) as file:
        return file.read()


@pytest.mark.parametrize("actor", ["editor", "service"], indirect=True)
@pytest.mark.parametrize(
    ("content", "outcome"), [(None, "missing"), (b"RIFF forged", "damaged"), (CONTENT[:-1], "damaged")]
)
@pytest.mark.parametrize("archived", [False, True])
def test_a_move_to_other_bytes_never_removes_the_original(  # noqa: PLR0917 - fixtures
    db, case, audio, actor, storage, sweep, owner, content, outcome, archived
):
    new = move_to(db, case, audio, actor, storage, content=content, archived=archived)
    for _ in range(2):
        done = sweep()
        assert (done.removed_objects, done.failed) == (0, {})
        assert done.differing == {
            audio.path: f"recording {audio.id} ('interview.wav') was moved from here to {new}, which is {outcome}; the"
            f" object is kept: sweep point-back {audio.id}"
        }
        assert content_of(storage, audio.path) == CONTENT
    assert log_outcomes(db, case, "audio.verified") == [outcome]  # once
    with Session(owner) as session:
        assert superseded.point_back(session, {"memory": storage}, audio.id) == audio.path
    assert read_recording(db, audio) == CONTENT
    assert log_outcomes(db, case, "audio.repaired") == ["pointed back"]
    done = sweep()
    assert (done.removed_objects, done.differing) == (1, {})
    assert [info.key for info in storage.list()] == [audio.path]


@pytest.mark.parametrize("actor", ["editor", "service"], indirect=True)
def test_a_hold_is_not_needed_to_keep_the_original_and_its_release_removes_nothing(  # noqa: PLR0917 - fixtures
    db, case, audio, actor, storage, sweep
):
    with db.session(actor="alice") as session:
        hold = cases.place_hold(session, case, reason="inquiry")
    move_to(db, case, audio, actor, storage)
    assert sweep().kept_back == 1
    with db.session(actor="alice") as session:
        cases.release_hold(session, hold, reason="over")
    done = sweep()
    assert (done.removed_objects, list(done.differing)) == (0, [audio.path])
    assert content_of(storage, audio.path) == CONTENT


def test_no_number_of_moves_removes_the_original(db, case, audio, editor, storage, sweep, owner):  # noqa: PLR0917 - fixtures
    """Moved to nothing, to other bytes, to the same bytes, and to nothing again, with a check claimed in between."""
    new = [move_to(db, case, audio, editor, storage, content=content) for content in (None, b"RIFF forged", CONTENT)]
    done = sweep()
    # The third object is sound: the first one is not needed any more, the second one was never the recording.
    assert (done.removed_objects, list(done.differing)) == (2, [new[1]])
    with pytest.raises(ObjectNotFound):
        storage.head(audio.path)
    last = move_to(db, case, audio, editor, storage)
    with db.session(actor=editor) as session:
        claim = text("SELECT note_check(:id, :path, NULL)")
        assert session.scalar(claim, {"id": audio.id, "path": last})
    assert sorted(sweep().differing) == sorted(new[1:])
    assert content_of(storage, new[2]) == CONTENT
    with Session(owner) as session:
        assert [check.outcome for check in verify_all(session, {"memory": storage})] == ["missing"]
        assert superseded.point_back(session, {"memory": storage}, audio.id) == new[2]
    assert read_recording(db, audio) == CONTENT


def test_a_session_cannot_claim_that_a_recording_was_checked(db, case, audio, editor, storage, owner):  # noqa: PLR0917 - fixtures
    storage.corrupt(audio.path)
    with db.session(actor=editor) as session:
        assert session.scalar(text("SELECT note_check(:id, :path, NULL)"), {"id": audio.id, "path": audio.path})
    with Session(owner) as session:
        assert [check.outcome for check in verify_all(session, {"memory": storage})] == ["damaged"]
        assert list(verify_all(session, {"memory": storage})) == []


def test_the_object_of_a_recording_that_claims_other_bytes_is_kept(db, case, editor, storage, sweep, make_audio):  # noqa: PLR0917 - fixtures
    """A session may state any size and SHA-256 for a new recording, and then bring the bytes that fit."""
    with db.session(actor=editor) as session:
        audio = make_audio(session, case, content=CONTENT)
    forged = storage.put(f"cases/{case.id}/{uuid4()}.wav", b"RIFF forged")
    with db.session(actor=editor) as session:
        key = f"cases/{case.id}/{uuid4()}.wav"
        session.execute(text("SELECT announce_object(:case, :key, 'memory')"), {"case": case.id, "key": key})
        storage.put(key, b"RIFF true")
        claimed = AudioFile(
            case_id=case.id, name="x", path=key, size_bytes=forged.size, sha256=forged.sha256, storage_type="memory"
        )
        session.add(claimed)
    new = move_to(db, case, claimed, editor, storage, content=b"RIFF forged")
    done = sweep()
    assert done.removed_objects == 0
    assert done.differing[key].endswith(f"to {new}, but had other bytes here; the object is kept")
    assert (content_of(storage, key), content_of(storage, audio.path)) == (b"RIFF true", CONTENT)


def test_a_recording_returns_only_to_an_object_that_it_had(db, case, audio, editor, storage, sweep, make_audio):  # noqa: PLR0917 - fixtures
    with db.session(actor="alice") as session:
        other = make_audio(session, case, content=b"RIFF other")
    move_to(db, case, other, editor, storage, content=b"RIFF other")
    new = move_to(db, case, audio, editor, storage)
    back = {"id": audio.id, "old": new, "archived": False, "reason": None}
    with pytest.raises(Conflict, match="path_fkey"), db.session(actor=editor) as session:
        session.execute(MOVE, back | {"new": other.path})
    with pytest.raises(Conflict, match="path_fkey"), db.session(actor=editor) as session:
        session.execute(
            text(
                "INSERT INTO audio_files (case_id, name, path, size_bytes, sha256, storage_type)"
                " SELECT case_id, name, :path, size_bytes, sha256, storage_type FROM audio_files WHERE id = :id"
            ),
            {"id": audio.id, "path": audio.path},
        )
    with db.session(actor=editor) as session:
        assert session.scalar(MOVE, back | {"new": audio.path})
    assert read_recording(db, audio) == CONTENT
    sweep()
    assert read_recording(db, audio) == CONTENT


def test_a_key_in_the_archive_needs_an_archived_recording(db, case, audio, editor):
    """A session can guess the id of the next recording, and cannot set `is_archived`."""
    key = f"archive/{audio.id + 1}/{uuid4()}.wav"
    with db.session(actor=editor) as session:
        session.execute(text("SELECT announce_object(:case, :key, 'memory')"), {"case": case.id, "key": key})
    with pytest.raises(Conflict, match="path_fkey"), db.session(actor=editor) as session:
        session.execute(
            text(
                "INSERT INTO audio_files (case_id, name, path, size_bytes, sha256, storage_type)"
                " VALUES (:case, 'x', :key, 1, repeat('0', 64), 'memory')"
            ),
            {"case": case.id, "key": key},
        )


FIXED = {
    "path": "'x'",
    "storage_type": "'s3'",
    "size_bytes": "size_bytes + 1",
    "sha256": "repeat('0', 64)",
    "storage_config": '\'{"bucket": "mine"}\'',
    "is_archived": "true",
    "archive_reason": "'x'",
    "deleted_at": "now()",
    "case_id": "case_id + 1",
    "id": "id + 1",
}


@pytest.mark.parametrize("column", FIXED)
def test_no_session_sets_what_identifies_the_bytes(db, case, audio, column):
    for actor in ("alice", "root"):
        with pytest.raises(Forbidden, match="permission denied"), db.session(actor=actor) as session:
            session.execute(text(f"UPDATE audio_files SET {column} = {FIXED[column]}"))
        with pytest.raises(Forbidden, match="permission denied"), db.session(actor=actor) as session:
            session.execute(text("UPDATE storage_objects SET state = 'deleting'"))


@pytest.mark.parametrize("actor", ["editor", "service"], indirect=True)
def test_no_path_deletes_a_recording_without_the_verb(db, case, audio, actor, storage, sweep, object_states):  # noqa: PLR0917 - fixtures
    values = {"id": audio.id, "case": case.id, "path": audio.path}
    for statement in (
        "SELECT mark_deleted(:id, true)",
        "SELECT mark_deleted(:id, false)",
        "UPDATE audio_files SET deleted_at = now() - interval '1 year'",
        "DELETE FROM storage_objects",
        "UPDATE storage_objects SET state = 'deleting', delete_after = now()",
    ):
        with pytest.raises(Forbidden), db.session(actor=actor) as session:
            session.execute(text(statement), values)
    for statement in (
        "DELETE FROM audio_files",
        "DELETE FROM cases",
        "DELETE FROM processing_jobs",
        "WITH gone AS (DELETE FROM audio_files RETURNING id) SELECT id FROM gone",
    ):
        with db.session(actor=actor) as session:
            assert session.execute(text(statement), values).rowcount == 0
    for model in (AudioFile, Case):
        with pytest.raises(Forbidden):
            bulk.delete(db, model, [audio.id if model is AudioFile else case.id], actor=actor)
    with pytest.raises(Forbidden), db.session(actor=actor) as session:
        recordings.delete(session, audio, reason="x")
    with db.session(actor=actor) as session:
        job = session.execute(text("SELECT id, lease FROM processing_jobs WHERE state = 'running'")).one_or_none()
        if job is not None:
            session.execute(text("SELECT complete_job(:id, :lease, '{}')"), job._asdict())
    sweep(grace=ZERO)
    assert (object_states(), read_recording(db, audio)) == (["live"], CONTENT)


def test_deleting_a_recording_includes_the_objects_that_it_had(db, case, audio, editor, storage, sweep, object_states):  # noqa: PLR0917 - fixtures
    move_to(db, case, audio, editor, storage)
    with db.session(actor="alice") as session:
        session.delete(session.get(AudioFile, audio.id))
    assert object_states() == ["deleting", "deleting"]
    assert sweep().removed_objects == 2
    assert list(storage.list()) == []


def test_restoring_a_deleted_row_keeps_the_objects_that_it_had(db, case, audio, editor, storage, sweep):  # noqa: PLR0917 - fixtures
    """Otherwise a recording that was moved to nothing would lose its bytes by being deleted and restored."""
    move_to(db, case, audio, editor, storage)
    with db.session(actor="alice") as session:
        session.delete(session.get(AudioFile, audio.id))
    with db.session(actor=editor) as session:
        last = history.versions(session, (AudioFile, audio.id))[1]
        history.revert(session, (AudioFile, audio.id), to=last, reason="needed")
    done = sweep()
    assert (done.removed_objects, list(done.differing)) == (0, [audio.path])
    assert content_of(storage, audio.path) == CONTENT


@pytest.fixture
def held_objects(db, case, audio, storage, owner):
    """Objects of every state in a case, all of them from before its legal hold, by name; and the hold."""
    copy, upload = f"archive/{audio.id}/{uuid4()}.wav", f"cases/{case.id}/{uuid4()}.wav"
    with db.session(actor="alice") as session:
        deleted = recordings.ingest(session, case, b"RIFF deleted", allow_non_audio=True)
        for key in (copy, upload):
            session.execute(text("SELECT announce_object(:case, :key, 'memory')"), {"case": case.id, "key": key})
            storage.put(key, CONTENT)
    with db.session(actor="alice") as session:
        session.delete(session.get(AudioFile, deleted.id))
        archived = recordings.archive(session, audio, reason="finished")
    unknown = f"cases/{case.id}/{uuid4()}.wav", f"archive/{audio.id}/{uuid4()}.wav"
    for key in unknown:
        storage.put(key, b"without a row")
    with db.session(actor="alice") as session:
        hold = cases.place_hold(session, case, reason="inquiry")
    names = {"live": archived.path, "superseded": audio.path, "deleting": deleted.path, "copy": copy}
    return {**names, "upload": upload, "unknown": unknown[0], "unknown copy": unknown[1]}, hold


def test_a_hold_protects_every_object_of_its_case(db, case, held_objects, storage, sweep, owner):  # noqa: PLR0917 - fixtures
    objects, hold = held_objects
    done = sweep(grace=ZERO)
    assert (done.removed_objects, done.kept_back) == (1, 3)
    with Session(owner) as session:
        assert unknown_objects.remove_unknown(session, storage, older_than=ZERO) == []
    assert {info.key for info in storage.list()} == set(objects.values()) - {objects["upload"]}
    for name in ("live", "superseded", "deleting", "copy"):
        with pytest.raises(DBAPIError, match=r"legal hold|path_fkey"), owner.begin() as connection:
            connection.execute(text("DELETE FROM storage_objects WHERE key = :key"), {"key": objects[name]})
    with db.session(actor="alice") as session:
        cases.release_hold(session, hold, reason="over")
    assert sweep().removed_objects == 3
    with Session(owner) as session:
        assert len(unknown_objects.remove_unknown(session, storage, older_than=ZERO)) == 2
    assert [info.key for info in storage.list()] == [objects["live"]]


@pytest.mark.parametrize("first", ["hold", "sweep"])
def test_a_hold_and_a_concurrent_removal_are_serialized(db, case, audio, storage, owner, monkeypatch, first):  # noqa: PLR0917 - fixtures
    """The sweep leaves objects of a case whose hold is being placed; a later hold waits until the bytes are gone."""
    with db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
    hold = f"INSERT INTO legal_holds (case_id, reason, placed_by_id) VALUES ({case.id}, 'order', {case.opened_by_id})"
    results = []

    def run_sweep():
        with Session(owner) as session:
            results.append(sweeping.sweep(session, storage, older_than=ZERO))

    with owner.connect() as connection, owner.connect() as watched:
        if first == "hold":
            connection.execute(text(hold))
            run_sweep()
            connection.commit()
            run_sweep()
            assert [(done.removed_objects, done.kept_back) for done in results] == [(0, 1), (0, 1)]
            assert content_of(storage, audio.path) == CONTENT
            return
        delete, threads = storage.delete, []

        def place_hold():
            watched.execute(text(hold))
            watched.commit()

        def delete_while_a_hold_waits(key):
            threads.append(threading.Thread(target=place_hold))
            threads[0].start()
            wait_until_blocked(owner, watched)
            assert connection.scalar(text("SELECT active_holds FROM cases WHERE id = :id"), {"id": case.id}) == 0
            return delete(key)

        monkeypatch.setattr(storage, "delete", delete_while_a_hold_waits)
        run_sweep()
        threads[0].join(30)
        assert results[0].removed_objects == 1


def test_a_recording_that_is_moved_while_it_is_compared_is_compared_again(  # noqa: PLR0917 - fixtures
    db, case, audio, editor, storage, sweep, monkeypatch
):
    """Also when the first comparison found the right bytes: they are no longer those of the recording."""
    first = move_to(db, case, audio, editor, storage, content=CONTENT)

    def read_and_move(*arguments):
        outcome = read_again(*arguments)
        monkeypatch.setattr(superseded, "read_again", read_again)
        move_to(db, case, audio, editor, storage)
        return outcome

    monkeypatch.setattr(superseded, "read_again", read_and_move)
    done = sweep()
    assert done.removed_objects == 0
    assert sorted(sweep().differing) == sorted([audio.path, first])
    assert content_of(storage, audio.path) == CONTENT


def test_an_object_that_cannot_be_read_is_kept(db, case, audio, storage, sweep):
    with db.session(actor="alice") as session:
        new = recordings.archive(session, audio, reason="finished").path
    for fault in ("get.before", "get.after"):
        storage.fail(fault, StorageUnavailable("no answer"))
        done = sweep()
        assert (done.removed_objects, done.failed) == (0, {audio.path: "no answer"})
        storage.clear_faults()
        assert content_of(storage, audio.path) == CONTENT
    assert sweep().removed_objects == 1
    assert [info.key for info in storage.list()] == [new]


def test_an_object_in_a_backend_that_is_unknown_to_the_sweep_is_kept(db, case, audio, storage, owner):
    elsewhere = MemoryStorage(name="elsewhere")
    with db.session(actor="alice") as session:
        recordings.move(session, audio, elsewhere)
    for known in (storage, elsewhere):
        with Session(owner) as session:
            done = sweeping.sweep(session, known, older_than=ZERO)
        assert (done.removed_objects, done.kept_back) == (0, 1)
    with Session(owner) as session:
        done = sweeping.sweep(session, {"memory": storage, "elsewhere": elsewhere}, older_than=ZERO)
    assert done.removed_objects == 1


def test_pointing_back_needs_wrong_bytes_now_and_the_right_ones_before(db, case, audio, editor, storage, owner):  # noqa: PLR0917 - fixtures
    storages = {"memory": storage}
    with Session(owner) as session:
        with pytest.raises(NotFound, match="no object that it had before"):
            superseded.point_back(session, storages, audio.id)
        move_to(db, case, audio, editor, storage, content=CONTENT)
        with pytest.raises(Conflict, match="nothing to point back"):
            superseded.point_back(session, storages, audio.id)
        storage.delete(audio.path)
        new = move_to(db, case, audio, editor, storage)
        with session.begin():
            before = session.scalars(select(StorageObject.key).where(StorageObject.state == "superseded")).all()
        for key in set(before) - {audio.path}:
            storage.corrupt(key)
        with pytest.raises(Conflict, match="ingest the original"):
            superseded.point_back(session, storages, audio.id)
        with session.begin():
            assert session.scalar(select(AudioFile.path)) == new


def test_a_recording_that_was_moved_to_an_unknown_backend_can_be_pointed_back(db, case, audio, editor, sweep, owner):  # noqa: PLR0917 - fixtures
    key = f"cases/{case.id}/{uuid4()}.wav"
    move = text("SELECT place_recording(:id, :old, :new, 'nowhere', false, NULL)")
    with db.session(actor=editor) as session:
        session.execute(text("SELECT announce_object(:case, :key, 'nowhere')"), {"case": case.id, "key": key})
        assert session.scalar(move, {"id": audio.id, "old": audio.path, "new": key})
    assert sweep().kept_back == 1
    with Session(owner) as session:
        assert superseded.point_back(session, {"memory": db.storage}, audio.id) == audio.path
        with session.begin():
            state = select(StorageObject.state).where(StorageObject.key == key)
            assert session.scalar(state) == "superseded"  # perhaps it has the bytes
    assert read_recording(db, audio) == CONTENT


def test_pointing_back_notices_a_concurrent_move(db, case, audio, editor, storage, owner, monkeypatch):  # noqa: PLR0917 - fixtures
    move_to(db, case, audio, editor, storage)

    def read_and_move(*arguments):
        monkeypatch.setattr(superseded, "read_again", read_again)
        move_to(db, case, audio, editor, storage)
        return read_again(*arguments)

    monkeypatch.setattr(superseded, "read_again", read_and_move)
    with Session(owner) as session, pytest.raises(LostUpdate, match="moved meanwhile"):
        superseded.point_back(session, {"memory": storage}, audio.id)
