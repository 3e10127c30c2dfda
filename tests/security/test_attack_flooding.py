"""Attacks that flood what all actors share: announced objects, the activity log, failed sign-ins, codes of cases."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from sqlalchemy import text

from src.database import Case
from src.database.connection.credentials import send_credential
from src.errors import Conflict, Forbidden, InvalidInput, SpeechError
from src.services import activity, cases
from tests.security.population import add_audio
from tests.security.test_attack_waiting_jobs import set_limit

ANNOUNCE = text("""
    SELECT count(public.announce_object(:case, 'cases/' || :case || '/' || gen_random_uuid() || '.wav', 'memory'))
      FROM generate_series(1, :count)
""")


def refusals(populated, name):
    """Return the refused things of a user in the log, as an administrator reads them."""
    with populated.db.session(actor="root") as session:
        found = activity.feed(session, type="access.refused", limit=1000)
    return [entry.detail for entry in found if entry.actor == name]


def test_a_member_cannot_announce_objects_without_end_for_a_foreign_case(populated):
    flood = {"case": populated.case_of["bob"], "count": 20_000}
    with pytest.raises(Forbidden, match="has announced 5000 objects"), populated.db.session(actor="alice") as session:
        session.execute(ANNOUNCE, flood)
    assert "has announced 5000 objects" in refusals(populated, "alice")[-1]["refused"]
    with populated.owner.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM storage_objects WHERE state = 'pending'")) == 0


def test_announced_objects_are_counted_over_transactions_and_per_user(populated):
    set_limit(populated, "most_pending_objects", 3)
    case = populated.case_of["bob"]
    for _ in range(3):
        with populated.db.session(actor="alice") as session:
            session.execute(ANNOUNCE, {"case": case, "count": 1})
    with pytest.raises(Forbidden), populated.db.session(actor="alice") as session:
        session.execute(ANNOUNCE, {"case": case, "count": 1})
    with populated.db.session(actor="bob") as session:
        add_audio(session, case, "bob works on.wav")
    with populated.owner.connect() as connection:
        announced = text("SELECT DISTINCT u.username FROM storage_objects o JOIN users u ON u.id = o.announced_by_id"
                         " WHERE o.state = 'pending'")  # fmt: skip
        assert connection.scalars(announced).all() == ["alice"]
        logged = text("SELECT DISTINCT actor FROM activity_logs WHERE entity = 'storage_objects'"
                      " AND new ->> 'state' = 'pending' AND new ->> 'case_id' = :case AND actor <> 'bob'")  # fmt: skip
        assert connection.scalars(logged, {"case": str(case)}).all() == ["alice"]
        connection.rollback()
    # A sweep removes what was announced, and the user may announce again.
    with populated.owner.begin() as connection:
        connection.execute(text("DELETE FROM storage_objects WHERE state = 'pending'"))
    with populated.db.session(actor="alice") as session:
        session.execute(ANNOUNCE, {"case": case, "count": 3})


def events_of(populated, name):
    with populated.owner.connect() as connection:
        return connection.scalar(
            text("SELECT count(*) FROM activity_logs WHERE actor = :name AND operation = 'event'"
                 " AND created_at > now() - interval '1 hour'"),
            {"name": name},
        )  # fmt: skip


def test_events_beyond_the_limit_are_counted_and_the_log_says_so(populated):
    most = events_of(populated, "alice") + 20
    set_limit(populated, "most_events", most)
    with populated.db.session(actor="alice") as session:
        flood = "SELECT count(public.record_activity('note', NULL, NULL, NULL, '{}')) FROM generate_series(1, 1000)"
        session.execute(text(flood))
    assert events_of(populated, "alice") <= most + 10
    stated = refusals(populated, "alice")
    assert [each["dropped"] for each in stated] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert "too many entries of alice" in stated[-1]["refused"]
    with populated.db.session(actor="alice") as session:
        entry = activity.record(session, "note", detail={"text": "still counted"})
        assert session.get_one(Case, populated.case_of["alice"])
    assert entry > 0
    with populated.db.session(actor="bob") as session:
        written = activity.record(session, "note", detail={"text": "of another user"})
    with populated.db.session(actor="bob") as session:
        assert written in [found.id for found in activity.feed(session, type="note")]


def test_reads_beyond_the_limit_of_a_call_are_stated_together(populated):
    set_limit(populated, "most_reads", 10)
    own = populated.case_of["alice"]
    reads = [{"type": "search.made", "case_id": own if number % 2 else None, "detail": {"query": str(number)}}
             for number in range(1000)]  # fmt: skip
    with populated.db.session(actor="alice") as session:
        session.execute(text("SELECT public.record_reads(CAST(:reads AS jsonb))"), {"reads": json.dumps(reads)})
    with populated.db.session(actor="alice") as session:
        found = activity.feed(session, type="search.made")
    assert len(found) == 12
    assert {(entry.case_id, entry.detail["entries"]) for entry in found[10:]} == {(own, 495), (None, 495)}


def test_a_long_detail_is_refused_or_replaced_by_its_length(populated):
    huge = json.dumps({"x": "y" * 100_000})
    record = "SELECT public.record_activity('note', NULL, NULL, NULL, CAST(:detail AS jsonb))"
    with pytest.raises(InvalidInput, match="detail"), populated.db.session(actor="alice") as session:
        session.execute(text(record), {"detail": huge})
    with pytest.raises(InvalidInput, match="entity"), populated.db.session(actor="alice") as session:
        session.execute(text("SELECT public.record_activity('note', NULL, repeat('x', 100), NULL, '{}')"))
    with populated.db.session(actor="alice") as session:
        activity.note_read(session, "search.made", detail={"query": "y" * 100_000})
    with populated.db.session(actor="alice") as session:
        assert activity.feed(session, type="search.made")[-1].detail["dropped_bytes"] > 100_000


@pytest.mark.parametrize(("name", "counted"), [("alice", "alice"), ("no such user", "(unknown)")])
def test_failed_sign_ins_beyond_the_limit_are_counted(populated, name, counted):
    set_limit(populated, "most_failed_logins", 5)
    for _ in range(20):
        with populated.db.session() as session:
            send_credential(session, "outcome", f"failed {sha256().hexdigest()} {name}", None)
    with populated.owner.connect() as connection:
        failed = text("SELECT count(*) FROM activity_logs l JOIN activity_types t ON t.id = l.activity_type_id"
                      " WHERE t.code = 'login.failed' AND l.actor = :name")  # fmt: skip
        assert connection.scalar(failed, {"name": counted}) == 5
    assert [each["dropped"] for each in refusals(populated, counted)] == [1, 2, 4, 8]
    with populated.db.session(actor="alice") as session:
        written = activity.record(session, "note")
    with populated.db.session(actor="alice") as session:
        assert written in [found.id for found in activity.feed(session, type="note")], "sign-ins are counted apart"


RESERVED = [
    "C-{:06}",
    "c-{:06}",
    " C-{:06} ",
    "\uff23-{:06}",
    "\u0421-{:06}",
    "C\u2011{:06}",
    "C\u2013{:06}",
    "C-0{:06}",
]


@pytest.mark.parametrize("form", RESERVED, ids=ascii)
def test_a_member_cannot_take_the_code_of_a_later_case(populated, form):
    with populated.owner.connect() as connection:
        following = connection.scalar(text("SELECT last_value + 50 FROM cases_id_seq"))
    taken = form.format(following)
    insert = text("INSERT INTO cases (title, case_code) VALUES ('squatted', :code)")
    with pytest.raises(InvalidInput, match="case_code"), populated.db.session(actor="alice") as session:
        session.execute(insert, {"code": taken})
    with pytest.raises(InvalidInput, match="case_code"), populated.db.session(actor="alice") as session:
        session.execute(text("UPDATE cases SET case_code = :code"), {"code": taken})
    with (
        pytest.raises(InvalidInput, match="form that the database gives"),
        populated.db.session(actor="alice") as session,
    ):
        cases.open_case(session, title="squatted", case_code=taken)


def test_generated_codes_stay_free_and_other_codes_may_be_chosen(populated):
    with populated.db.session(actor="bob") as session:
        opened = [cases.open_case(session, title="x") for _ in range(3)]
        assert [case.case_code for case in opened] == [f"C-{case.id:06}" for case in opened]
        opened[0].case_code = "C-50"
        session.flush()
        opened[0].case_code = f"C-{opened[0].id:06}"
        session.flush()
    for code in ("AC-000050", "C-000050-B", "C-2026/000050", "C-50"):
        with populated.db.session(actor="bob") as session:
            cases.open_case(session, title="x", case_code=code)
    with pytest.raises(Conflict), populated.db.session(actor="alice") as session:
        cases.open_case(session, title="x", case_code="C-50")


def test_an_actor_is_needed_for_everything_that_is_limited_by_actor(populated):
    for call in ("announce_object(1, 'cases/1/00000000-0000-0000-0000-000000000000.wav', 'memory')",
                 "record_activity('note', NULL, NULL, NULL, '{}')", "record_reads('[]')", "lock_own('x')",
                 "claim_job('{x}', 'w', 60)"):  # fmt: skip
        with pytest.raises(SpeechError), populated.db.session() as session:
            session.execute(text(f"SELECT public.{call}"))
