"""The memory as people read it: what was read is remembered, whatever became of the session."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text

from src.database import ActivityLog
from src.errors import Forbidden, InvalidInput, NotFound
from src.services import activity, cases, recordings, search, transcripts
from src.services.transcripts import Segment

pytestmark = pytest.mark.shared_database


@pytest.fixture
def audio(db, make_audio):
    with db.session(actor="alice") as session:
        audio = make_audio(session, cases.open_case(session, title="Read"))
        transcripts.add(session, audio, [Segment("harbour")], language="en")
        return audio


def told(db, actor="alice", **options):
    with db.session(actor=actor) as session:
        return [str(entry) for entry in activity.feed(session, **options)]


def test_readings_survive_a_rollback_and_come_in_one_transaction(db, audio, owner):
    with pytest.raises(ZeroDivisionError), db.session(actor="alice", reason="review") as session:
        transcripts.latest(session, audio)
        recordings.open(session, audio).close()
        search.transcripts(session, "harbour")
        raise ZeroDivisionError

    assert told(db)[-3:] == [
        "alice read the transcript of interview.wav: review",
        "alice opened interview.wav: review",
        "alice searched for harbour: review",
    ]
    with owner.connect() as connection:
        last_three = select(ActivityLog.transaction_id).order_by(ActivityLog.id.desc()).limit(3).subquery()
        assert connection.scalar(select(func.count(last_three.c.transaction_id.distinct()))) == 1


def test_a_session_that_reads_nothing_sensitive_leaves_nothing(db, audio):
    before = told(db)
    with db.session(actor="alice") as session:
        transcripts.latest(session, audio, language="de")
    assert told(db) == before


def test_a_case_that_was_never_committed_is_not_named(db):
    with pytest.raises(ZeroDivisionError), db.session(actor="alice") as session:
        search.transcripts(session, "word", case=cases.open_case(session, title="Never"))
        raise ZeroDivisionError
    with db.session(actor="alice") as session:
        (entry,) = activity.feed(session)
    assert (entry.type, entry.case_id) == ("search.made", None)


@pytest.mark.own_database
def test_strangers_read_nothing_of_the_memory(db, audio):
    assert told(db, "bob") == []
    # The operator's work belongs to no case, and is for administrators.
    assert [one for one in told(db, "root") if "functions and protection applied" not in one] == told(db)


def test_feed_filters(db, audio):
    with db.session(actor="alice") as session:
        newest = activity.feed(session, limit=1)
        assert newest == activity.feed(session)[-1:]
        assert activity.feed(session, type="transcript.added") == newest
        assert activity.feed(session, since=newest[0].at) == newest
        assert len(activity.feed(session, changes=True)) > len(activity.feed(session))
        with pytest.raises(InvalidInput):
            activity.feed(session, limit=0)


@pytest.mark.parametrize("detail", ["[1, 2]", "7", '"words"'])
def test_a_detail_is_an_object_and_an_old_one_that_is_not_spoils_nobodys_feed(db, audio, owner, detail):
    told = text("SELECT record_activity('export.made', :case, NULL, NULL, CAST(:detail AS jsonb))")
    reads = text("SELECT record_reads(jsonb_build_array(jsonb_build_object('type', 'export.made', 'case_id', :case,"
                 " 'detail', CAST(:detail AS jsonb))))")  # fmt: skip
    values = {"case": audio.case_id, "detail": detail}
    for statement in (told, reads):
        with pytest.raises(InvalidInput, match="must be a JSON object"), db.session(actor="alice") as session:
            session.execute(statement, values)
    # Such entries were taken before revision 0005.
    with owner.begin() as connection:
        connection.execute(text("SELECT append_activity('export.made', 'event', NULL, 'alice', :case, NULL, NULL, NULL,"
                                " CAST(:detail AS jsonb), NULL)"), values)  # fmt: skip
    with db.session(actor="alice") as session:
        assert str(activity.feed(session)[-1]) == "alice exported"


def test_what_is_recorded_is_checked(db, audio):
    with db.session(actor="alice") as session, pytest.raises(InvalidInput, match="activity type"):
        activity.record(session, "no.such.type")
    with pytest.raises(NotFound), db.session(actor="bob") as session:
        activity.record(session, "note", case_id=audio.case_id)
    with pytest.raises(Forbidden), db.session() as session:
        activity.record(session, "note")
