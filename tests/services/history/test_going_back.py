"""Reverting rows to earlier states, and the errors of revert."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text, update

from src.database import AudioFile, Case, CaseNote, CaseParticipant, Transcription
from src.errors import Conflict, Forbidden, InvalidInput, LostUpdate, NotFound
from src.services import activity, cases, history, recordings, transcripts
from src.services.history import Change
from src.services.transcripts import Segment
from tests.conftest import UNSEALED
from tests.services.history.conftest import remove, revert, versions_of

pytestmark = pytest.mark.shared_database


def test_a_revert_is_logged_as_a_normal_change(db, case):
    first = versions_of(db, case)[-1]
    live = revert(db, (Case, case.id), first, reason="it was right")
    assert live.title == "T0"
    newest = versions_of(db, case)[0]
    assert (newest.actor, newest.reason) == ("alice", f"back to entry {first.entry_id}: it was right")
    assert newest.changes == {"title": Change("T4", "T0")}
    with db.session(actor="alice") as session:
        (entry,) = activity.feed(session, case=case, type="history.reverted")
    assert entry.detail["entry"] == first.entry_id
    assert revert(db, live, versions_of(db, case)[1].at).title == "T4"


def test_pending_changes_are_logged_apart_from_the_revert(db, case):
    first = versions_of(db, case)[-1]
    with db.session(actor="alice", reason="mine") as session:
        live = session.get(Case, case.id)
        live.description = "changed before"
        history.revert(session, live, to=first, reason="back")
        cases.add_note(session, live, "after")
    assert [version.reason for version in versions_of(db, case)[:2]] == [
        f"back to entry {first.entry_id}: back",
        "mine",
    ]
    with db.session(actor="alice") as session:
        assert versions_of(db, session.scalars(select(CaseNote)).one())[0].reason == "mine"


def test_reverting_a_row_that_was_changed_since_raises_lost_update(db, case):
    first = versions_of(db, case)[-1]
    with db.session(actor="alice", reason="my own") as session:
        read = session.get(Case, case.id)
        with db.session(actor="alice") as other:
            other.execute(update(Case).values(title="meanwhile"))
        with pytest.raises(LostUpdate):
            history.revert(session, read, to=first, reason="too late")
        cases.add_note(session, read, "goes on")
    newest = versions_of(db, case)[0]
    assert newest.values["title"] == "meanwhile"
    with db.session(actor="alice") as session:
        found = session.scalars(select(CaseNote)).one()
        assert history.versions(session, found)[0].reason == "my own", "the reason of the rejected revert was removed"


@pytest.mark.parametrize("reason", ["", "  ", None])
def test_revert_needs_a_reason_and_a_version_of_that_row(db, case, note, reason):
    with pytest.raises(InvalidInput, match="reason"):
        revert(db, case, versions_of(db, case)[0], reason=reason)
    with pytest.raises(InvalidInput, match="give one of Case"):
        revert(db, case, versions_of(db, note)[0])


def test_a_viewer_can_read_versions_but_not_revert(db, case, note):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer")
    first = versions_of(db, note, actor="bob")[-1]
    with pytest.raises(Forbidden):
        revert(db, (CaseNote, note.id), first, actor="bob")
    remove(db, note)
    with pytest.raises(NotFound):
        revert(db, (CaseNote, note.id), first, actor="bob")


def test_a_deleted_note_is_restored_with_its_id(db, case, note):
    remove(db, note)
    first = versions_of(db, note)[-1]
    back = revert(db, note, first)
    assert (back.id, back.body, back.case_id) == (note.id, "first", case.id)
    assert versions_of(db, note)[0].values["body"] == "first"
    with db.session(actor="alice") as session:
        assert cases.add_note(session, case, "another").id > note.id
    with db.session(actor="root") as session:
        assert history.verify(session, **UNSEALED).ok


def test_a_text_that_looks_like_the_hash_of_a_sensitive_value_is_restored(db, case):
    digest = "sha256:" + hashlib.sha256(b"the tape").hexdigest()
    with db.session(actor="alice") as session:
        note = cases.add_note(session, case, digest)
    remove(db, note)
    assert revert(db, note, versions_of(db, note)[-1]).body == digest


def test_a_row_whose_parent_is_deleted_is_not_restored(db, case, note):
    with db.session(actor="alice") as session:
        session.delete(session.get(Case, case.id))
    with db.session(actor="root") as session:
        at = history.versions(session, note)[-1]
    with pytest.raises(Conflict):
        revert(db, (CaseNote, note.id), at, actor="root")
    assert revert(db, (Case, case.id), at.at, actor="root").title == "T4"
    assert revert(db, (CaseNote, note.id), at, actor="root").body == "first"


def test_a_deleted_recording_is_restored_while_its_object_exists(db, owner, case, make_audio):
    with db.session(actor="alice") as session:
        kept, lost = make_audio(session, case, name="kept.wav"), make_audio(session, case, name="lost.wav")
        transcription = transcripts.add(session, kept, [Segment("gone with it")], language="en")
    at = datetime.now(UTC)
    for audio in (kept, lost):
        remove(db, audio)
    with owner.begin() as connection:
        connection.execute(text("DELETE FROM storage_objects WHERE key = :key"), {"key": lost.path})
    assert revert(db, (AudioFile, kept.id), at).path == kept.path
    with owner.connect() as connection:
        assert (
            connection.scalar(text("SELECT state FROM storage_objects WHERE key = :key"), {"key": kept.path}) == "live"
        )
    with pytest.raises(Conflict):
        revert(db, (AudioFile, lost.id), at)
    with pytest.raises(Conflict):
        revert(db, (Transcription, transcription.id), at)


def test_reverting_a_recording_does_not_change_its_storage_location(db, case, make_audio):
    with db.session(actor="alice") as session:
        audio = make_audio(session, case, content=b"RIFF of it")
    with db.session(actor="alice") as session:
        recordings.archive(session, audio, reason="finished").name = "renamed"
    archived = versions_of(db, audio)[0]
    first = versions_of(db, audio)[-1]
    back = revert(db, (AudioFile, audio.id), first)
    assert (back.name, back.is_archived, back.archive_reason) == (audio.name, True, "finished")
    with db.session(actor="alice") as session:
        restored = recordings.restore(session, back)
        assert not restored.is_archived
    back = revert(db, (AudioFile, audio.id), archived)
    assert (back.name, back.is_archived, back.archive_reason) == ("renamed", False, None)
    with db.session(actor="alice") as session, recordings.open(session, back) as file:
        assert (file.read(), back.path) == (b"RIFF of it", restored.path)


def test_restoring_a_participant_needs_the_restored_permissions(db, case):
    with db.session(actor="alice") as session:
        owner_part = cases.add_participant(session, case, "bob", role="owner")
        cases.add_participant(session, case, "transcriber", role="viewer", allow=["manage"])
    at = datetime.now(UTC)
    remove(db, owner_part)
    with pytest.raises(Forbidden):
        revert(db, (CaseParticipant, owner_part.id), at, actor="transcriber")
    assert revert(db, (CaseParticipant, owner_part.id), at).role == "owner"


@pytest.mark.own_database
def test_a_state_that_does_not_fit_the_current_columns_is_rejected(db, owner, case, note):
    first = versions_of(db, case)[-1]
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE cases ADD COLUMN lost text DEFAULT 'x'"))
        connection.execute(text("UPDATE cases SET title = 'with it'"))
        connection.execute(text("ALTER TABLE cases DROP COLUMN lost CASCADE"))
    lost = versions_of(db, case)[0]
    assert lost.lost_columns == {"lost"}
    with pytest.raises(Conflict, match="lost"):
        revert(db, case, lost)
    assert revert(db, (Case, case.id), first).title == "T0"
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE case_notes ALTER body DROP NOT NULL"))
        connection.execute(text("UPDATE case_notes SET body = NULL"))
    with_null = versions_of(db, note)[0]
    with pytest.raises(Conflict, match="body"):
        revert(db, note, with_null)
