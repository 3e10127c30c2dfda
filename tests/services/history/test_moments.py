"""Moments are those of the server, and nothing that changes is missing in the log."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from src.database import AnalysisResult, CaseNote
from src.services import analyses, cases, recordings, transcripts, work
from src.services.transcripts import Segment
from tests.conftest import wav
from tests.services.history.conftest import versions_of

FAR = ("9000-01-01", "-infinity", "infinity", "1970-01-01")


@pytest.fixture
def spoken(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Case")
        audio = recordings.ingest(session, case, io.BytesIO(wav(0.2)), name="a.wav")
        session.flush()
        first = transcripts.add(session, audio, [Segment("one", 0, 900)], language="en")
        transcripts.add(session, audio, [Segment("two", 0, 900)], language="en")
        analyses.add(session, audio, summary="short", transcription=first, details={"x": 1})
        cases.place_hold(session, case, reason="court")
    return first


STATEMENTS = {
    "transcriptions.accepted_at": "UPDATE transcriptions SET accepted_at = '{at}', accepted_by_id = actor_id()",
    "analysis_results.accepted_at": "UPDATE analysis_results SET accepted_at = '{at}', accepted_by_id = actor_id()",
    "legal_holds.released_at": "UPDATE legal_holds SET released_at = '{at}', released_by_id = actor_id(),"
    " release_reason = 'x'",
    "cases.closed_at": "UPDATE cases SET closed_at = '{at}'",
    "audio_files.processed_at": "UPDATE audio_files SET processed_at = '{at}'",
}


@pytest.mark.parametrize("actor", ["alice", "root"])
@pytest.mark.parametrize("place", STATEMENTS)
def test_a_moment_set_by_a_session_is_the_time_of_the_server(db, owner, spoken, place, actor):
    table, column = place.split(".")
    for at in FAR:
        with db.session(actor=actor) as session:
            session.execute(text(f"UPDATE {table} SET {column} = {column}"))
            session.execute(text(STATEMENTS[place].format(at=at)))
            stored = session.scalars(text(f"SELECT {column} FROM {table} ORDER BY id LIMIT 1")).one()
        assert abs(stored - datetime.now(UTC)) < timedelta(minutes=1), at


def test_a_moment_given_with_a_new_row_is_the_time_of_the_server(db, spoken):
    with db.session(actor="alice") as session:
        session.execute(
            text("INSERT INTO analysis_results (case_id, audio_file_id, version, accepted_at, accepted_by_id)"
                 " VALUES (:case, :audio, 9, '9000-01-01', actor_id())"),
            {"case": spoken.case_id, "audio": spoken.audio_file_id},
        )  # fmt: skip
        found = session.query(AnalysisResult).filter_by(version=9).one()
        assert found.accepted_at.year < 9000


def test_a_version_accepted_in_the_year_9000_is_replaced_by_the_next_one(db, spoken):
    with db.session(actor="alice") as session:
        session.execute(text("UPDATE transcriptions SET accepted_at = '9000-01-01', accepted_by_id = actor_id()"
                             " WHERE version = 1"))  # fmt: skip
    with db.session(actor="alice") as session:
        transcripts.accept(session, transcripts.versions(session, spoken.audio_file_id)[1])
    with db.session(actor="alice") as session:
        assert transcripts.latest(session, spoken.audio_file_id, accepted=True).version == 2


def entries(owner, entity: str) -> int:
    with owner.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM activity_logs WHERE entity = :entity"), {"entity": entity})


@pytest.mark.parametrize("table", ["cases", "audio_files", "transcriptions", "analysis_results", "legal_holds"])
def test_an_update_without_a_change_raises_no_row_version(db, owner, spoken, table):
    column = {"cases": "title", "audio_files": "name", "legal_holds": "release_reason"}.get(table, "accepted_by_id")
    state = text(f"SELECT row_version, updated_at FROM {table} ORDER BY id")
    with owner.connect() as connection:
        before, logged = connection.execute(state).all(), entries(owner, table)
    with db.session(actor="alice") as session:
        assert session.execute(text(f"UPDATE {table} SET {column} = {column}")).rowcount > 0
    with owner.connect() as connection:
        assert connection.execute(state).all() == before
    assert entries(owner, table) == logged


def test_each_raised_row_version_has_an_entry(db, owner, spoken):
    with db.session(actor="alice") as session:
        note = CaseNote(case_id=spoken.case_id, body="x")
        session.add(note)
    for body in ("x", "y", "y", "z"):
        with db.session(actor="alice") as session:
            session.get(CaseNote, note.id).body = body
            session.execute(text("UPDATE case_notes SET body = body"))
    assert [version.values["row_version"] for version in versions_of(db, note)] == [3, 2, 1]


def test_a_heartbeat_raises_no_row_version_and_other_changes_of_a_job_are_logged(db, owner, spoken):
    with db.session(actor="alice") as session:
        work.enqueue(session, spoken.audio_file_id, "analyse")
    with db.session(actor="transcriber") as session:
        job = work.claim(session, "analyse")
    logged, version = entries(owner, "processing_jobs"), job.row_version
    with db.session(actor="transcriber") as session:
        work.heartbeat(session, job)
    with owner.begin() as connection:
        assert connection.scalar(text("SELECT row_version FROM processing_jobs")) == version
        assert entries(owner, "processing_jobs") == logged
        connection.execute(text("UPDATE processing_jobs SET priority = 7"))
        assert connection.scalar(text("SELECT row_version FROM processing_jobs")) == version + 1
    assert entries(owner, "processing_jobs") == logged + 1


def test_other_digits_of_the_same_number_are_a_change(db, owner, spoken):
    before = entries(owner, "audio_files")
    with owner.begin() as connection:
        connection.execute(text("UPDATE audio_files SET storage_config = '{\"x\": 1.0}'"))
        connection.execute(text("UPDATE audio_files SET storage_config = '{\"x\": 1.00}'"))
    assert entries(owner, "audio_files") == before + 2


def test_checks_and_announced_objects_are_logged(db, owner, spoken):
    with db.session(actor="alice") as session:
        path = session.scalar(text("SELECT path FROM audio_files"))
    for error in (None, "damaged", None):
        before = entries(owner, "storage_objects")
        with db.session(actor="alice") as session:
            noted = text("SELECT note_check(:id, :path, :error)")
            assert session.scalar(noted, {"id": spoken.audio_file_id, "path": path, "error": error})
        assert entries(owner, "storage_objects") == before + 1, error
    with db.session(actor="alice") as session:
        key = f"cases/{spoken.case_id}/00000000-0000-0000-0000-000000000000.wav"
        session.execute(text("SELECT announce_object(:case, :key, 'memory')"), {"case": spoken.case_id, "key": key})
    with owner.connect() as connection:
        newest = connection.execute(
            text("SELECT actor, operation, new ->> 'key', new ->> 'case_id' FROM activity_logs"
                 " WHERE entity = 'storage_objects' ORDER BY id DESC LIMIT 1")
        ).one()  # fmt: skip
    assert tuple(newest) == ("alice", "insert", key, str(spoken.case_id))
