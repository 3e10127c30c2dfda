"""What becomes of recordings: archived, restored, moved, deleted, checked, counted; with faults at every step."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from src.database import AudioFile, Database, StorageObject
from src.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    IntegrityFailure,
    InvalidInput,
    LostUpdate,
    NotFound,
    ObjectNotFound,
    StorageUnavailable,
    UnsupportedOperation,
)
from src.maintenance.fixity import verify_all
from src.services import activity, cases, recordings
from src.storage import LocalStorage, MemoryStorage

BYTES = b"RIFF and so on"
NOW = timedelta(0)


@pytest.fixture
def storage():
    return MemoryStorage()


@pytest.fixture
def db(speech_server, owner_url, storage):
    with Database(
        speech_server.serving_url(owner_url), signing_key=speech_server.signing_key, storage=storage
    ) as database:
        yield database


@pytest.fixture
def case(db):
    with db.session(actor="alice") as session:
        return cases.open_case(session, title="Harbour interviews")


@pytest.fixture
def audio(db, case, make_audio):
    with db.session(actor="alice") as session:
        return make_audio(session, case, content=BYTES)


@pytest.fixture
def states(owner):
    def read():
        with owner.connect() as connection:
            return sorted(connection.scalars(select(StorageObject.state)))

    return read


@pytest.fixture
def sweep(owner, storage):
    def run(**options):
        with Session(owner) as session:
            return recordings.sweep(session, storage, older_than=NOW, **options)

    return run


@pytest.fixture
def yard(states, sweep, storage):
    """What is in the storage, as rows and as bytes, and the broom."""
    return SimpleNamespace(states=states, sweep=sweep, storage=storage)


def read(db, audio, actor="alice"):
    with db.session(actor=actor) as session, recordings.open(session, audio) as file:
        return file.read()


def outcomes(db, case, kind):
    with db.session(actor="alice") as session:
        return [entry.detail["outcome"] for entry in activity.feed(session, case=case, type=kind)]


def test_archiving_copies_switches_and_queues_and_restoring_goes_back(db, case, audio, yard):
    with db.session(actor="alice") as session:
        archived = recordings.archive(session, audio, reason="finished")
    assert archived.path.startswith(f"archive/{audio.id}/")
    assert (archived.is_archived, archived.archive_reason) == (True, "finished")
    assert yard.states() == ["deleting", "live"]
    assert read(db, audio) == BYTES

    assert yard.sweep().removed_objects == 1
    with pytest.raises(ObjectNotFound):
        yard.storage.head(audio.path)

    with db.session(actor="alice") as session:
        restored = recordings.restore(session, audio)
    assert restored.path.startswith(f"cases/{case.id}/")
    assert (restored.is_archived, restored.archive_reason) == (False, None)
    yard.sweep()
    assert read(db, audio) == BYTES
    assert yard.states() == ["live"]
    assert (outcomes(db, case, "audio.archived"), outcomes(db, case, "audio.restored")) == (["done"], ["done"])


@pytest.mark.parametrize("step", ["copy.before", "copy.after_bytes", "copy.after"])
@pytest.mark.parametrize("verb", ["archive", "restore"])
def test_a_fault_at_any_step_leaves_the_recording_where_it_was(db, audio, step, verb, yard):
    if verb == "restore":
        with db.session(actor="alice") as session:
            recordings.archive(session, audio, reason="finished")
        yard.sweep()
    yard.storage.fail(step, StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable, match="gone"), db.session(actor="alice") as session:
        if verb == "archive":
            recordings.archive(session, audio, reason="finished")
        else:
            recordings.restore(session, audio)
    assert yard.states() == ["live", "pending"]
    assert read(db, audio) == BYTES
    assert yard.sweep().removed_objects == 1
    assert (read(db, audio), yard.states(), len(list(yard.storage.list()))) == (BYTES, ["live"], 1)


@pytest.mark.parametrize("step", ["put.before", "put.after_bytes", "put.after"])
def test_a_fault_while_storing_leaves_garbage_that_a_sweep_finds(db, case, tone, step, yard):
    yard.storage.fail(step, StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable), db.session(actor="alice") as session:
        recordings.ingest(session, case, tone)
    assert yard.states() == ["pending"]
    assert yard.sweep().removed_objects == 1
    assert (yard.states(), list(yard.storage.list())) == ([], [])


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


def test_of_two_who_archive_at_once_one_is_told(db, audio, monkeypatch, yard):
    copy = yard.storage.copy

    def overtaken(source, target):
        monkeypatch.setattr(yard.storage, "copy", copy)
        with db.session(actor="alice") as other:
            recordings.archive(other, audio, reason="mine")
        return copy(source, target)

    monkeypatch.setattr(yard.storage, "copy", overtaken)
    with pytest.raises(LostUpdate), db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="mine too")
    yard.sweep()
    assert (yard.states(), read(db, audio)) == (["live"], BYTES)


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


def test_a_deleted_recording_cannot_be_opened_comes_back_or_goes_for_good(db, case, audio, sweep, states):
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
    with pytest.raises(NotFound, match="no such recording"):
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


def test_moving_to_another_backend_and_reading_it_there(db, audio, tmp_path, owner, speech_server, yard):  # noqa: PLR0917 - fixtures
    local = LocalStorage(tmp_path / "audio")
    with db.session(actor="alice") as session:
        moved = recordings.move(session, audio, local)
        with pytest.raises(Conflict, match="already"):
            recordings.move(session, audio, local)
    assert moved.storage_type == "local"
    assert read(db, audio) == BYTES
    with Session(owner) as session:
        first = recordings.sweep(session, local, older_than=NOW)
        assert (first.removed_objects, first.kept_back) == (0, 1)  # not its backend
        assert recordings.sweep(session, {"local": local, "memory": yard.storage}, older_than=NOW).removed_objects == 1
    assert (read(db, audio), yard.states()) == (BYTES, ["live"])
    url, key = db.engine.url, speech_server.signing_key
    with Database(url, signing_key=key, storage=yard.storage) as stranger:
        with pytest.raises(ConfigurationError, match="local"):
            read(stranger, audio)
        recordings.keep_backend(stranger, local)
        assert read(stranger, audio) == BYTES


def test_an_address_where_the_backend_has_none(db, audio):
    with pytest.raises(UnsupportedOperation), db.session(actor="alice") as session:
        recordings.url(session, audio)


@pytest.mark.parametrize("harm", ["sound", "missing", "damaged"])
def test_a_check_stands_on_the_row_and_in_the_log(db, case, audio, owner, harm, yard):  # noqa: PLR0917 - fixtures
    if harm == "missing":
        yard.storage.delete(audio.path)
    elif harm == "damaged":
        yard.storage.corrupt(audio.path)
    with db.session(actor="alice") as session:
        (check,) = recordings.verify(session, audio)
    assert (check.outcome, check.size_bytes) == (harm, len(BYTES))
    assert outcomes(db, case, "audio.verified") == [harm]
    with owner.connect() as connection:
        checked, fault = connection.execute(select(StorageObject.verified_at, StorageObject.last_error)).one()
    assert checked is not None
    assert (fault is None) == (harm == "sound")
    with db.session(actor="alice") as session:
        assert session.get(AudioFile, audio.id).row_version == audio.row_version  # no editor loses anything by it


def test_a_run_over_all_goes_on_where_it_was_killed(db, case, make_audio, storage, owner):
    with db.session(actor="alice") as session:
        made = [make_audio(session, case, content=b"RIFF" + bytes([number])) for number in range(5)]
    storage.corrupt(made[3].path)
    with Session(owner) as session:
        run = verify_all(session, {"memory": storage})
        seen = [next(run).audio_id, next(run).audio_id]
        run.close()
        rest = list(verify_all(session, {"memory": storage}))
        assert seen + [check.audio_id for check in rest] == [audio.id for audio in made]
        assert [check.outcome for check in rest] == ["sound", "damaged", "sound"]
        assert list(verify_all(session, {"memory": storage})) == []
    assert outcomes(db, case, "audio.verified") == ["damaged"]
    with Session(owner) as session:
        assert len(list(verify_all(session, {"memory": storage}, unchecked_for=NOW, sample=2))) == 2


def test_usage_counts_what_a_case_keeps(db, case, audio):
    with db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished")
    with db.session(actor="alice") as session:
        told = [(s.backend, s.state, s.objects, s.size_bytes) for s in recordings.usage(session, case)]
    assert told == [("memory", "deleting", 1, len(BYTES)), ("memory", "live", 1, len(BYTES))]
    with db.session(actor="bob") as session:
        assert recordings.usage(session, case) == []


def test_the_functions_ask_whoever_calls_them(db, case, audio, states):
    calls = (
        ("place_recording", ":id, 'x', 'y', 'memory', false, NULL"),
        ("mark_deleted", ":id, true"),
        ("note_check", ":id, 'x', 'lost'"),
    )
    for name, arguments in calls:
        for number in (audio.id, 10**12):
            with pytest.raises(NotFound) as caught, db.session(actor="bob") as session:
                session.execute(text(f"SELECT {name}({arguments})"), {"id": number})
            assert str(caught.value) == "There is no such thing, or it is not yours to see."
        with pytest.raises(NotFound), db.session() as session:
            session.execute(text(f"SELECT {name}({arguments})"), {"id": audio.id})
    with pytest.raises(Forbidden), db.session() as session:
        session.execute(text("SELECT hold_object('x')"))
    assert states() == ["live"]


def test_a_key_in_the_archive_is_adopted_by_its_recording_only(db, case, audio, make_audio, storage):
    key = f"archive/{audio.id}/00000000-0000-4000-8000-000000000000.wav"
    with db.session(actor="alice") as session:
        other = make_audio(session, case, content=b"RIFF other")
        session.execute(text("SELECT announce_object(:case, :key, 'memory')"), {"case": case.id, "key": key})
    statement = text("SELECT place_recording(:id, :old, :new, 'memory', false, NULL)")
    with pytest.raises(Conflict, match="path_fkey"), db.session(actor="alice") as session:
        session.execute(statement, {"id": other.id, "old": other.path, "new": key})
    storage.put(key, BYTES)
    assert hashlib.sha256(BYTES).hexdigest() == audio.sha256
    with db.session(actor="alice") as session:
        assert session.scalar(statement, {"id": audio.id, "old": audio.path, "new": key})
    assert read(db, audio) == BYTES
