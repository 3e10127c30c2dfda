"""The activity log and its feed: reads are logged even when the session rolls back."""

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


def sentences(db, actor="alice", **options):
    with db.session(actor=actor) as session:
        return [str(entry) for entry in activity.feed(session, **options)]


def test_reads_are_logged_in_one_transaction_although_the_session_rolled_back(db, audio, owner):
    with pytest.raises(ZeroDivisionError), db.session(actor="alice", reason="review") as session:
        transcripts.latest(session, audio)
        recordings.open(session, audio).close()
        search.transcripts(session, "harbour")
        raise ZeroDivisionError

    assert sentences(db)[-3:] == [
        "alice read the transcript of interview.wav: review",
        "alice opened interview.wav: review",
        "alice searched for harbour: review",
    ]
    with owner.connect() as connection:
        last_three = select(ActivityLog.transaction_id).order_by(ActivityLog.id.desc()).limit(3).subquery()
        assert connection.scalar(select(func.count(last_three.c.transaction_id.distinct()))) == 1


def test_a_session_without_sensitive_reads_logs_nothing(db, audio):
    before = sentences(db)
    with db.session(actor="alice") as session:
        transcripts.latest(session, audio, language="de")
    assert sentences(db) == before


def test_a_read_in_an_uncommitted_case_is_logged_without_the_case(db):
    with pytest.raises(ZeroDivisionError), db.session(actor="alice") as session:
        search.transcripts(session, "word", case=cases.open_case(session, title="Never"))
        raise ZeroDivisionError
    with db.session(actor="alice") as session:
        (entry,) = activity.feed(session)
    assert (entry.type, entry.case_id) == ("search.made", None)


@pytest.mark.own_database
def test_users_outside_a_case_see_nothing_of_its_log(db, audio):
    assert sentences(db, "bob") == []
    # Entries without a case, here of the operator, are visible to administrators only.
    assert [one for one in sentences(db, "root") if "functions and protection applied" not in one] == sentences(db)


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
def test_details_must_be_objects_and_old_entries_with_other_values_do_not_break_the_feed(db, audio, owner, detail):
    event = text("SELECT record_activity('export.made', :case, NULL, NULL, CAST(:detail AS jsonb))")
    reads = text("SELECT record_reads(jsonb_build_array(jsonb_build_object('type', 'export.made', 'case_id', :case,"
                 " 'detail', CAST(:detail AS jsonb))))")  # fmt: skip
    values = {"case": audio.case_id, "detail": detail}
    for statement in (event, reads):
        with pytest.raises(InvalidInput, match="must be a JSON object"), db.session(actor="alice") as session:
            session.execute(statement, values)
    # Such entries were accepted before revision 0005.
    with owner.begin() as connection:
        connection.execute(text("SELECT append_activity('export.made', 'event', NULL, 'alice', :case, NULL, NULL, NULL,"
                                " CAST(:detail AS jsonb), NULL)"), values)  # fmt: skip
    with db.session(actor="alice") as session:
        assert str(activity.feed(session)[-1]) == "alice exported"


def test_record_validates_type_case_and_actor(db, audio):
    with db.session(actor="alice") as session, pytest.raises(InvalidInput, match="activity type"):
        activity.record(session, "no.such.type")
    with pytest.raises(NotFound), db.session(actor="bob") as session:
        activity.record(session, "note", case=audio.case_id)
    with pytest.raises(Forbidden), db.session() as session:
        activity.record(session, "note")
