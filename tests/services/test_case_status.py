"""The status of a case or a recording sets its times by any path, and cases move as the table of moves allows."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from src.database import AudioFile, AudioStatus, Case, CaseStatus, CaseStatusMove
from src.errors import Conflict, Forbidden, InvalidInput
from src.services import activity, bulk, cases, history

pytestmark = pytest.mark.shared_database

MOVE = text("UPDATE cases SET status_id = code_id('case_statuses', :code) WHERE id = :id RETURNING closed_at")


def status_id(session, code):
    return session.scalars(select(CaseStatus.id).where(CaseStatus.code == code)).one()


def by_raw_sql(session, case, code):
    session.execute(MOVE, {"code": code, "id": case.id})


def by_orm(session, case, code):
    session.get_one(Case, case.id).status_id = status_id(session, code)
    session.flush()


def by_service(session, case, code):
    cases.set_status(session, case, code)


@pytest.fixture
def case(db):
    with db.session(actor="alice") as session:
        return cases.open_case(session, title="Harbour")


@pytest.mark.parametrize("move", [by_raw_sql, by_orm, by_service])
def test_closing_sets_the_time_and_reopening_clears_it_by_any_path(db, case, move):
    for code, is_closed in (("closed", True), ("active", False), ("pending", False), ("closed", True)):
        with db.session(actor="alice") as session:
            move(session, case, code)
        with db.session(actor="alice") as session:
            stored = session.get_one(Case, case.id)
            assert (stored.status.code, stored.closed_at is not None) == (code, is_closed)


@pytest.mark.parametrize("move", [by_raw_sql, by_orm, by_service])
def test_a_move_that_is_not_in_the_table_is_a_conflict_that_names_the_allowed_ones(db, case, move):
    with db.session(actor="alice") as session:
        cases.close(session, case)
    named = "from the status closed to pending; allowed: active"
    with pytest.raises(Conflict, match=named), db.session(actor="alice") as session:
        move(session, case, "pending")
    with db.session(actor="alice") as session:
        assert session.get_one(Case, case.id).status.code == "closed"


def test_services_return_what_the_database_stored_and_record_what_happened(db, case):
    with db.session(actor="alice") as session:
        assert cases.set_status(session, case, "pending").closed_at is None
        closed = cases.close(session, case)
        first = closed.closed_at
        assert first is not None
        assert cases.close(session, case).closed_at == first
        assert cases.reopen(session, case).closed_at is None
        assert cases.reopen(session, case).status.code == "active"
        assert cases.set_priority(session, case, "high").priority.code == "high"
        cases.set_priority(session, case, "high")
        for unknown in (cases.set_status, cases.set_priority):
            with pytest.raises(InvalidInput, match="use one of"):
                unknown(session, case, "nonsense")
        done = [entry.type for entry in activity.feed(session, case=case)]
        assert done == ["case.opened", "case.moved", "case.closed", "case.reopened", "case.prioritised"]


def test_a_viewer_changes_neither_status_nor_priority(db, case):
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer")
    for change in (lambda s: cases.close(s, case), lambda s: cases.set_priority(s, case, "low")):
        with pytest.raises(Forbidden), db.session(actor="bob") as session:
            change(session)


def test_closed_at_alone_moves_the_status_too_and_bulk_changes_follow_it(db, case):
    seen = []
    for value in ("now()", "NULL"):
        with db.session(actor="alice") as session:
            session.execute(text(f"UPDATE cases SET closed_at = {value}"))
        with db.session(actor="alice") as session:
            stored = session.get_one(Case, case.id)
            seen.append((stored.status.code, stored.closed_at is not None))
    assert seen == [("closed", True), ("active", False)]
    with db.session(actor="alice") as session:
        closed = status_id(session, "closed")
    bulk.update(db, Case, [{"id": case.id, "status_id": closed}], actor="alice")
    bulk.insert(db, Case, [{"title": "closed from the start", "status_id": closed}], actor="alice")
    with db.session(actor="alice") as session:
        session.execute(text("INSERT INTO cases (title, closed_at) VALUES ('x', now())"))
        stored = session.scalars(select(Case)).all()
        assert [(each.closed_at is not None, each.status_id) for each in stored] == [(True, closed)] * 3


def test_reverting_to_an_open_state_reopens_the_case(db, case):
    with db.session(actor="alice") as session:
        cases.close(session, case)
    with db.session(actor="alice") as session:
        _, opened = history.versions(session, (Case, case.id))
        assert history.revert(session, (Case, case.id), to=opened, reason="too early").closed_at is None


@pytest.mark.own_database
def test_operators_add_and_remove_statuses_and_moves_and_the_history_has_them(db, owner):
    with db.session(actor="root", reason="requested by the archive") as session:
        archived = CaseStatus(code="archived", name="Archived", is_closed=True)
        session.add(archived)
        session.flush()
        move = CaseStatusMove(from_status_id=status_id(session, "closed"), to_status_id=archived.id)
        session.add(move)
    with db.session(actor="alice") as session:
        case = cases.close(session, cases.open_case(session, title="Old"))
        closed_at = case.closed_at
        assert cases.set_status(session, case, "archived").closed_at == closed_at
    with pytest.raises(Conflict, match="allowed: none"), db.session(actor="alice") as session:
        cases.reopen(session, case)
    with pytest.raises(Forbidden), db.session(actor="alice") as session:
        session.add(CaseStatusMove(from_status_id=archived.id, to_status_id=status_id(session, "active")))
        session.flush()
    with db.session(actor="root") as session:
        session.get_one(CaseStatusMove, move.id).is_active = False
    with db.session(actor="root") as session:
        newest, added = history.versions(session, (CaseStatusMove, move.id))
        assert newest.changes == {"is_active": (True, False)}
        assert (added.actor, added.reason) == ("root", "requested by the archive")
    with pytest.raises(Conflict, match="allowed: active"), db.session(actor="alice") as session:
        cases.set_status(session, cases.close(session, cases.open_case(session, title="New")), "archived")


LOOKUPS = (
    "case_statuses",
    "case_priorities",
    "audio_statuses",
    "languages",
    "sentiments",
    "activity_types",
    "user_roles",
)


@pytest.mark.own_database
@pytest.mark.parametrize("table", LOOKUPS)
def test_changes_of_look_ups_are_in_the_history_also_those_of_the_owner(db, owner, table):
    model = next(mapper.class_ for mapper in Case.registry.mappers if mapper.local_table.name == table)
    with db.session(actor="root") as session:
        row = session.scalars(select(model).order_by(model.id).limit(1)).one()
        name, row.name = row.name, "Another name"
    with owner.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET name = 'By the owner' WHERE id = :id"), {"id": row.id})
    with db.session(actor="root") as session:
        newest, before, *_ = history.versions(session, (model, row.id))
        assert newest.changes == {"name": ("Another name", "By the owner")}
        assert (before.actor, before.changes) == ("root", {"name": (name, "Another name")})


def test_the_status_of_a_recording_sets_and_clears_its_time_and_its_error(db, case, make_audio):
    with db.session(actor="alice") as session:
        audio = make_audio(session, case)
    seen = []
    for code in ("processed", "queued", "failed", "queued"):
        with db.session(actor="alice") as session:
            stored = session.get_one(AudioFile, audio.id)
            stored.status = session.scalars(select(AudioStatus).where(AudioStatus.code == code)).one()
            if code == "failed":
                stored.error_message = "no speech"
            session.flush()
            seen.append((stored.processed_at is not None, stored.error_message))
    assert seen == [(True, None), (False, None), (False, "no speech"), (False, None)]
    with db.session(actor="alice") as session:
        session.execute(text("UPDATE audio_files SET processed_at = now()"))
        assert session.get_one(AudioFile, audio.id).status.code == "processed"
    with pytest.raises(Conflict, match="processed_at follows the status"), db.session(actor="alice") as session:
        session.execute(text("UPDATE audio_files SET processed_at = NULL"))
