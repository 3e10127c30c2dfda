"""Versions, snapshots, differences between states, and the feed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, inspect, select, update
from sqlalchemy.orm.exc import UnmappedInstanceError

from src.database import AudioFile, Case, CaseNote, User
from src.errors import InvalidInput, NotFound
from src.services import accounts, activity, analyses, cases, history, transcripts
from src.services.history import Change
from src.services.transcripts import Segment
from tests.services.history.conftest import remove, revert, snapshot, versions_of

pytestmark = pytest.mark.shared_database


def test_versions_have_actor_time_reason_and_changes_newest_first(db, case):
    found = versions_of(db, case)
    assert [version.values["title"] for version in found] == ["T4", "T3", "T2", "T1", "T0"]
    assert found[0].changes == {"title": Change("T3", "T4")}
    assert (found[0].actor, found[0].reason, found[0].operation) == ("alice", "because 4", "update")
    assert (found[-1].operation, found[-1].request_id, found[-1].case_id) == ("insert", "R-1", case.id)
    assert found[-1].changes["title"] == Change(None, "T0")
    assert all(type(version.values["created_at"]) is datetime for version in found)
    assert str(found[0]).endswith("alice changed title: because 4")
    assert [version.at for version in found] == sorted((version.at for version in found), reverse=True)


def test_pages_have_no_gap_and_no_repetition(db, case):
    pages, before = [], None
    while page := versions_of(db, (Case, case.id), before=before, limit=2):
        pages.append(len(page))
        before = page[-1]
    assert pages == [2, 2, 1]
    for limit in (0, 1001):
        with pytest.raises(InvalidInput, match="limit"):
            versions_of(db, case, limit=limit)


def test_changes_of_one_transaction_are_separate_versions(db, case):
    with db.session(actor="alice") as session:
        for title in ("a", "b", "c"):
            session.execute(update(Case).values(title=title))
    assert [version.values["title"] for version in versions_of(db, case, limit=3)] == ["c", "b", "a"]


def test_deleted_rows_keep_versions_and_erased_versions_keep_times(db, case, note):
    remove(db, note)
    newest, *older = versions_of(db, note)
    assert (newest.operation, newest.values, newest.changes["body"]) == ("delete", None, Change("second", None))
    assert [version.values["body"] for version in older] == ["second", "first"]
    with db.session(actor="root") as session:
        assert history.erase(session, case=case, reason="asked for") > 5
    erased = versions_of(db, note)
    assert [(v.operation, v.values, v.changes) for v in erased] == [("delete", None, {}), ("update", None, {}),
                                                                    ("insert", None, {})]  # fmt: skip
    with pytest.raises(InvalidInput, match="erased"):
        revert(db, note, erased[1])
    with pytest.raises(NotFound):
        snapshot(db, CaseNote, note.id, erased[1].at)


def test_sensitive_values_are_hashes(db):
    with db.session(actor="root") as session:
        user = accounts.create_user(session, username="carol", password="correct horse", email="c@example.org")
    version, created = versions_of(db, user, actor="root")
    assert created.values["password_hash"] is None
    assert version.values["email"].startswith("sha256:")
    assert version.values["password_hash"].startswith("sha256:")
    assert snapshot(db, User, user.id, version.at, actor="root").email == version.values["email"]
    with db.session(actor="root") as session:
        reverted = history.revert(session, user, to=version, reason="x")
    assert reverted.email == "c@example.org", "values that are not in the log stay unchanged"


def test_users_outside_a_case_and_anonymous_sessions_see_nothing(db, case):
    for actor in ("bob", None):
        assert versions_of(db, case, actor=actor) == []
        with pytest.raises(NotFound):
            snapshot(db, Case, case.id, datetime.now(UTC), actor=actor)
    with pytest.raises(NotFound):
        revert(db, (Case, case.id), datetime.now(UTC), actor="bob")


@pytest.mark.parametrize("thing", [object(), (Case, "1"), (Case, True), (dict, 1), Case(title="new")])
def test_values_that_are_not_rows_are_rejected(db, thing):
    with pytest.raises(InvalidInput):
        versions_of(db, thing)


def test_snapshots_are_exact_to_the_microsecond(db, case, note):
    first, last = versions_of(db, case)[-1], versions_of(db, case)[0]
    tick = timedelta(microseconds=1)
    with pytest.raises(NotFound):
        snapshot(db, Case, case.id, first.at - tick)
    assert snapshot(db, Case, case.id, first.at).title == "T0"
    assert snapshot(db, Case, case.id, last.at - tick).title == "T3"
    assert snapshot(db, Case, case.id, last.at).title == "T4"
    assert snapshot(db, Case, case.id, datetime.now(UTC)).title == "T4"
    remove(db, note)
    gone = versions_of(db, note)[0]
    assert snapshot(db, CaseNote, note.id, gone.at - tick).body == "second"
    with pytest.raises(NotFound):
        snapshot(db, CaseNote, note.id, gone.at)
    with pytest.raises(InvalidInput, match="zone"):
        snapshot(db, Case, case.id, datetime.now())  # noqa: DTZ005 - without a time zone
    with pytest.raises(InvalidInput, match="zone"):
        snapshot(db, Case, case.id, "yesterday")


@pytest.mark.own_database
def test_the_snapshot_of_a_seal_contains_only_committed_changes(db, case):
    with db.session(actor="alice") as slow:
        slow.get(Case, case.id).title = "not finished"
        slow.flush()
        with db.session(actor="root") as session:
            (seal,) = history.seal(session)
        moment = datetime.now(UTC)
    assert snapshot(db, Case, case.id, seal).title == "T4"
    assert snapshot(db, Case, case.id, moment).title == "not finished", (
        "a snapshot of a time includes open transactions"
    )
    assert "as of seal 1" in repr(snapshot(db, Case, case.id, seal))


def test_a_snapshot_is_read_only_and_cannot_be_added_to_a_session(db, case):
    now = datetime.now(UTC)
    with db.session(actor="alice") as session:
        past = history.as_of(session, Case, case.id, now)
        assert isinstance(past, Case)
        assert past.status.code == "active"
        assert past.as_of == now
        with pytest.raises(AttributeError, match="read-only snapshot"):
            past.title = "x"
        with pytest.raises(AttributeError, match="read-only snapshot"):
            del past.title
        with pytest.raises(AttributeError, match="'notes'"):
            _ = past.notes
        for take in (session.add, session.merge, session.delete, session.refresh):
            with pytest.raises(UnmappedInstanceError):
                take(past)
        assert inspect(past, raiseerr=False) is None
        assert not session.dirty
        assert not session.new
    assert versions_of(db, past)[0].values["title"] == past.title


def test_the_snapshot_of_a_whole_case_includes_its_parts(db, case, note, make_audio):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob")
        audio = make_audio(session, case, name="a.wav")
        transcription = transcripts.add(session, audio, [Segment("hello", 0, 900), Segment("you")], language="en")
        analyses.add(session, audio, summary="greeting", transcription=transcription)
        cases.release_hold(session, cases.place_hold(session, case, reason="order"), reason="over")
    then = datetime.now(UTC)
    with db.session(actor="alice") as session:
        session.delete(session.get(CaseNote, note.id))
        session.get(AudioFile, audio.id).name = "b.wav"
        cases.remove_participant(session, case, "bob")
        cases.add_note(session, case, "later")
    past = snapshot(db, Case, case.id, then, whole=True)
    assert [note.body for note in past.notes] == ["second"]
    assert [(p.user_id == past.opened_by_id, p.role) for p in past.participants] == [(True, "owner"), (False, "viewer")]
    assert [(hold.reason, hold.release_reason) for hold in past.holds] == [("order", "over")]
    (sound,) = past.audio_files
    assert (sound.name, sound.size_bytes) == ("a.wav", 4)
    assert [(t.version, t.content, t.language.code) for t in sound.transcriptions] == [(1, "hello you", "en")]
    assert [analysis.summary for analysis in sound.analyses] == ["greeting"]
    with pytest.raises(InvalidInput, match="whole"):
        snapshot(db, AudioFile, audio.id, then, whole=True)
    now = snapshot(db, Case, case.id, datetime.now(UTC), whole=True)
    assert ([n.body for n in now.notes], [a.name for a in now.audio_files]) == (["later"], ["b.wav"])
    assert len(now.participants) == 1


def test_differences_between_any_two_states(db, case, note):
    newest, *_, oldest = versions_of(db, case)
    titles = {"title": Change("T0", "T4")}
    assert history.diff(oldest, newest) == titles
    assert history.diff(snapshot(db, Case, case.id, oldest.at), newest) == titles
    with db.session(actor="alice") as session:
        live = session.get(Case, case.id)
        assert history.diff(snapshot(db, Case, case.id, oldest.at), live) == titles
        assert history.diff(live, newest) == {}
    assert history.diff(None, oldest)["title"] == Change(None, "T0")
    assert history.diff(oldest, None)["title"] == Change("T0", None)
    assert history.diff(None, None) == {}
    with pytest.raises(InvalidInput, match="different models"):
        history.diff(oldest, versions_of(db, note)[0])


def test_feed_entries_are_readable_sentences(db, case, make_audio):
    with db.session(actor="alice", reason="case closed") as session:
        audio = make_audio(session, case, name="interview.flac")
        activity.record(session, "audio.archived", case=case, entity=audio, detail={"name": audio.name})
    with db.session(actor="alice") as session:
        since = session.scalar(select(func.now())) - timedelta(minutes=1)
        assert str(activity.feed(session, case=case, since=since)[-1]) == "alice archived interview.flac: case closed"
        assert str(activity.feed(session, case=case, type="audio.archived")[0]).startswith("alice archived")
        assert [e.type for e in activity.feed(session, user=session.get(User, case.opened_by_id))] == [
            "case.opened", "audio.archived"]  # fmt: skip
        assert "alice changed T4: because 4" in map(str, activity.feed(session, case=case, changes=True))
