"""Attacks on the log by its own entries: events that name foreign rows, floods of changes, floods that hide reads."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from src.database import AudioFile, Case, CaseNote, Transcription
from src.errors import Forbidden, InvalidInput
from src.services import activity, cases, history, transcripts
from tests.security.population import add_audio
from tests.security.test_attack_flooding import events_of, refusals
from tests.security.test_attack_waiting_jobs import set_limit
from tests.undone import undone

EVENT = text("SELECT public.record_activity('note', :case, :entity, :id, '{}')")
READS = text("SELECT public.record_reads(jsonb_build_array(jsonb_build_object('type', 'audio.opened', 'case_id', :case,"
             " 'entity', :entity, 'entity_id', :id, 'detail', '{}'::jsonb)))")  # fmt: skip
FLOOD = text("SELECT count(public.record_activity('note', NULL, NULL, NULL, '{}')) FROM generate_series(1, :count)")


@pytest.mark.parametrize("statement", [EVENT, READS], ids=["events", "reads"])
def test_an_event_that_names_a_foreign_row_takes_no_history_from_its_owner(populated, statement):
    case, audio = populated.case_of["bob"], populated.audio_of["bob"]
    rows = ((Case, "cases", case), (AudioFile, "audio_files", audio))

    def histories(name):
        with populated.db.session(actor=name) as session:
            now = session.scalar(text("SELECT clock_timestamp()"))
            found = [history.versions(session, (model, number)) for model, _, number in rows]
            return [len(each) for each in found], [history.as_of(session, model, number, now) is not None
                                                   for model, _, number in rows]  # fmt: skip

    before = histories("bob")
    assert before == ([1, 1], [True, True])
    for own in (populated.case_of["alice"], None):
        for _, entity, number in rows:
            with populated.db.session(actor="alice") as session:
                session.execute(statement, {"case": own, "entity": entity, "id": number})
    assert histories("bob") == before
    assert histories("root") == before
    with populated.db.session(actor="alice") as session:
        assert [history.versions(session, (model, number)) for model, _, number in rows] == [[], []]


def test_an_event_names_a_row_of_its_case_and_answers_alike_for_hidden_and_missing_rows(populated):
    with populated.db.session(actor="alice") as session:
        other = cases.open_case(session, title="another case of alice")
        audio = add_audio(session, other.id, "there.wav")
    for own in (populated.case_of["alice"], None):
        with pytest.raises(InvalidInput, match="does not belong to the case"), \
             populated.db.session(actor="alice") as session:  # fmt: skip
            session.execute(EVENT, {"case": own, "entity": "audio_files", "id": audio.id})
        for number in (populated.audio_of["bob"], 987_654_321):
            with populated.db.session(actor="alice") as session:
                assert session.scalar(EVENT, {"case": own, "entity": "audio_files", "id": number}) > 0


def test_a_receipt_counts_only_for_a_case_that_existed(populated):
    """Neither an event that names the case makes it exist."""
    with undone(populated.db, actor="alice") as session:
        never = cases.open_case(session, title="rolled back").id
        receipt = session.scalar(text("SELECT public.read_receipt(:case)"), {"case": never})
    with populated.db.session(actor="alice") as session:
        session.execute(EVENT, {"case": None, "entity": "cases", "id": never})
    with populated.owner.connect() as connection:
        valid = text("SELECT public.is_receipt(:receipt, (SELECT id FROM users WHERE username = 'alice'), :case)")
        assert connection.scalar(valid, {"receipt": receipt, "case": never}) is False


def test_no_seed_of_random_numbers_lifts_the_limit_of_events(populated):
    set_limit(populated, "most_events", 2000)
    before = events_of(populated, "alice")
    with populated.db.session(actor="alice") as session:
        # Seeds whose first number is large: the limit counted only when random() was small.
        session.execute(
            text("DO $$BEGIN FOR i IN 1..6000 LOOP PERFORM setseed(0.01 * (i % 90)); IF random() > 0.6 THEN"
                 " PERFORM setseed(0.01 * (i % 90));"
                 " PERFORM public.record_activity('note', NULL, NULL, NULL, '{}'); END IF; END LOOP; END$$")
        )  # fmt: skip
    assert 1900 < events_of(populated, "alice") - before < 2100


@pytest.mark.parametrize(
    "flood",
    [
        ("DO $$BEGIN FOR i IN 1..2000 LOOP UPDATE public.case_notes SET body = 'x' || i WHERE case_id = {case};"
         " END LOOP; END$$"),
        "INSERT INTO case_notes (case_id, body) SELECT {case}, 'x' FROM generate_series(1, 2000)",
        ("DO $$BEGIN FOR i IN 1..2000 LOOP INSERT INTO public.case_notes (case_id, body) VALUES ({case}, 'x');"
         " END LOOP; END$$"),
    ],
    ids=["updates", "inserts at once", "inserts"],
)  # fmt: skip
def test_changes_beyond_the_limit_are_refused_and_the_log_names_the_actor(populated, flood):
    set_limit(populated, "most_changes", 500)
    with pytest.raises(Forbidden, match="has changed 500 rows within an hour"), \
         populated.db.session(actor="alice") as session:  # fmt: skip
        session.execute(text(flood.format(case=populated.case_of["alice"])))
    assert "has changed 500 rows within an hour" in refusals(populated, "alice")[-1]["refused"]
    with populated.db.session(actor="bob") as session:
        cases.add_note(session, populated.case_of["bob"], "not held up")
    with populated.owner.begin() as connection:
        connection.execute(text("INSERT INTO case_notes (case_id, body, author_id) SELECT case_id, body, author_id"
                                " FROM case_notes, generate_series(1, 1000)"))  # fmt: skip


def test_changes_of_several_transactions_count_together(populated):
    set_limit(populated, "most_changes", 300)
    insert = text("INSERT INTO case_notes (case_id, body) SELECT :case, 'x' FROM generate_series(1, 100)")
    with pytest.raises(Forbidden):
        for _ in range(5):
            with populated.db.session(actor="alice") as session:
                session.execute(insert, {"case": populated.case_of["alice"]})
    with populated.owner.connect() as connection:
        assert connection.scalar(select(text("count(*)")).select_from(CaseNote)) < 400


def read(populated):
    """Read a transcript by a service; return how many entries name its case, and how many reads they state."""
    case = populated.case_of["alice"]
    with populated.db.session(actor="alice") as session:
        found = session.scalars(select(Transcription).where(Transcription.case_id == case)).first()
        transcripts.segments(session, found)
    with populated.db.session(actor="root") as session:
        stated = [e for e in activity.feed(session, type="transcript.read", case=case) if e.actor == "alice"]
    return len(stated), sum(entry.detail.get("entries", 1) for entry in stated)


def test_no_flood_of_events_hides_a_read(populated):
    set_limit(populated, "most_events", 500)
    with populated.db.session(actor="alice") as session:
        session.execute(FLOOD, {"count": 900})
    assert "too many entries of alice" in refusals(populated, "alice")[-1]["refused"]
    assert [read(populated), read(populated)] == [(1, 1), (2, 2)]


def test_reads_beyond_their_own_limit_still_name_their_case(populated):
    assert read(populated) == (1, 1)
    set_limit(populated, "most_logged_reads", 1)
    assert read(populated) == (2, 2)
    with populated.db.session(actor="alice") as session:
        for _ in range(3):
            activity.note_read(session, "search.made", case=populated.case_of["alice"], detail={"query": "x"})
        activity.note_read(session, "search.made", detail={"query": "everywhere"})
    with populated.db.session(actor="root") as session:
        newest = [e for e in activity.feed(session, type="search.made") if e.actor == "alice"][-2:]
    assert {(entry.case_id, entry.detail["entries"]) for entry in newest} == {
        (populated.case_of["alice"], 3),
        (None, 1),
    }
    assert "too many reads of alice" in refusals(populated, "alice")[-1]["refused"]
    with populated.db.session(actor="alice") as session:
        entry = activity.record(session, "note", detail={"text": "events are not concerned"})
    with populated.db.session(actor="alice") as session:
        assert entry in [found.id for found in activity.feed(session, type="note")]
