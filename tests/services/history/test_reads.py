"""Readings are logged with the rights at the time of reading; no right at the end of the session is needed."""

from __future__ import annotations

import io

import pytest
from sqlalchemy import text

from src.database import Case, User
from src.services import accounts, activity, cases, recordings, search, transcripts, work
from src.services.transcripts import Segment
from tests.conftest import wav


def reads(owner, actor) -> list[tuple[str, int | None]]:
    with owner.connect() as connection:
        rows = connection.execute(
            text("SELECT t.code, l.case_id FROM activity_logs l JOIN activity_types t ON t.id = l.activity_type_id"
                 " WHERE l.actor = :actor AND t.code IN ('transcript.read', 'audio.opened', 'search.made')"
                 " ORDER BY l.id"),
            {"actor": actor},
        )  # fmt: skip
        return [tuple(row) for row in rows]


@pytest.fixture
def spoken(db):
    """A transcription in a case of alice, in which bob is a viewer."""
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Case")
        cases.add_participant(session, case, "bob", role="viewer")
        audio = recordings.ingest(session, case, io.BytesIO(wav(0.5)), name="a.wav")
        session.flush()
        return transcripts.add(session, audio, [Segment("one", 0, 900)], language="en")


def test_a_worker_that_completes_its_job_leaves_entries_with_their_case(db, owner, spoken):
    with db.session(actor="alice") as session:
        work.enqueue(session, spoken.audio_file_id, "analyse")
    with db.session(actor="transcriber") as session:
        job = work.claim(session, "analyse")
    with db.session(actor="transcriber") as session:
        transcripts.segments(session, spoken.id)
        recordings.open(session, spoken.audio_file_id).close()
        work.complete(session, job)
    assert reads(owner, "transcriber") == [("transcript.read", spoken.case_id), ("audio.opened", spoken.case_id)]


def test_an_administrator_who_becomes_inactive_leaves_the_entries(db, owner, spoken):
    with db.session(actor="root") as session:
        accounts.create_user(session, username="second", role="admin")
    with db.session(actor="second") as session:
        transcripts.segments(session, spoken.id)
        search.transcripts(session, "one")
        accounts.deactivate(session, session.query(User).filter_by(username="second").one())
    assert reads(owner, "second") == [("transcript.read", spoken.case_id), ("search.made", None)]


def test_a_participant_who_is_removed_or_expires_while_reading_leaves_the_case(db, owner, spoken):
    with db.session(actor="bob") as session:
        transcripts.segments(session, spoken.id)
        with db.session(actor="alice") as other:
            cases.remove_participant(other, other.get(Case, spoken.case_id), "bob")
    assert reads(owner, "bob") == [("transcript.read", spoken.case_id)]


def test_a_read_of_a_case_that_is_deleted_afterwards_keeps_it_and_one_that_rolls_back_has_none(db, owner, spoken):
    with db.session(actor="alice") as session:
        transcripts.segments(session, spoken.id)
        session.delete(session.get(Case, spoken.case_id))
    with pytest.raises(ZeroDivisionError), db.session(actor="alice") as session:
        case = cases.open_case(session, title="never")
        activity.note_read(session, "search.made", case=case)
        raise ZeroDivisionError
    assert reads(owner, "alice") == [("transcript.read", spoken.case_id), ("search.made", None)]


def test_a_read_noted_for_a_case_that_the_actor_may_not_read_names_no_case(db, owner, spoken):
    with db.session(actor="transcriber") as session:
        activity.note_read(session, "search.made", case=spoken.case_id)
    assert reads(owner, "transcriber") == [("search.made", None)]


def test_one_receipt_serves_all_reads_of_a_case(db, spoken):
    with db.session(actor="alice") as session:
        for _ in range(3):
            transcripts.segments(session, spoken.id)
        assert list(session.info["receipts"]) == [spoken.case_id]
