"""Cases: opening, closing, participants, notes, holds."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from src.database import Case, CaseNote, CaseParticipant
from src.errors import Conflict, Forbidden, InvalidInput, LostUpdate, NotFound
from src.services import activity, cases

pytestmark = pytest.mark.shared_database


def test_opening_a_case_makes_the_actor_its_owner(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Harbour interviews", priority="high")

        assert case.case_code == f"C-{case.id:06}"
        assert (case.status.code, case.priority.code) == ("active", "high")
        participant = session.scalars(select(CaseParticipant)).one()
        assert (participant.role, participant.user_id) == ("owner", case.opened_by_id)


def test_plain_orm_inserts_open_cases_also_in_savepoints(db):
    with db.session(actor="alice") as session:
        opened = [Case(title=f"Case {number}") for number in range(3)]
        session.add_all(opened)
        session.flush()
        with session.begin_nested():
            session.add(Case(title="In a savepoint"))
        inner = session.begin_nested()
        session.add(Case(title="Never"))
        session.flush()
        inner.rollback()

    with db.session(actor="alice") as session:
        assert sorted(session.scalars(select(Case.title))) == ["Case 0", "Case 1", "Case 2", "In a savepoint"]
    with db.session(actor="bob") as session:
        assert session.scalars(select(Case)).all() == []


def test_an_orm_update_after_a_raw_sql_update_raises_lost_update(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Before")

    with pytest.raises(LostUpdate, match="read it again"), db.session(actor="alice") as session:
        mine = session.get(Case, case.id)
        with db.session(actor="alice") as other:
            other.execute(text("UPDATE cases SET title = 'By raw SQL'"))
        mine.title = "By the ORM"

    with db.session(actor="alice") as session:
        assert session.get(Case, case.id).title == "By raw SQL"


def test_closing_a_closed_case_changes_nothing(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Short")
        first = cases.close(session, case).closed_at
        assert cases.close(session, case).closed_at == first
        assert case.status.code == "closed"
        assert [entry.type for entry in activity.feed(session, case=case)] == ["case.opened", "case.closed"]


def test_services_accept_objects_of_an_earlier_session(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Earlier")
    with db.session(actor="alice") as session:
        assert cases.close(session, case).status.code == "closed"
    with pytest.raises(NotFound), db.session(actor="bob") as session:
        cases.close(session, case)


def test_a_new_case_can_be_merged_into_another_session(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Merged")
    with db.session(actor="alice") as session:
        session.merge(case).title = "Renamed"
    with db.session(actor="alice") as session:
        assert session.get(Case, case.id).title == "Renamed"


@pytest.mark.parametrize("value", [None, b"bytes", 3.5, "a\0b", "\ud800"])
def test_values_that_are_not_text_are_rejected(db, value):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Text")
        for call in (
            lambda: cases.open_case(session, title=value),
            lambda: cases.add_note(session, case, value),
            lambda: cases.place_hold(session, case, reason=value),
        ):
            with pytest.raises(InvalidInput):
                call()


def test_participants_see_the_case_from_the_next_transaction_on_until_removed(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Shared")
        cases.add_participant(session, case, "BOB", role="viewer")
    with db.session(actor="bob") as session:
        assert session.get(Case, case.id).title == "Shared"
        assert cases.get_case(session, case.case_code).id == case.id
    with db.session(actor="alice") as session:
        cases.remove_participant(session, case, "bob")
    with db.session(actor="bob") as session, pytest.raises(NotFound):
        cases.get_case(session, case.case_code)


def test_a_viewer_can_neither_write_nor_add_participants(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Shared")
        cases.add_participant(session, case, "bob", role="viewer")
    with pytest.raises(Forbidden), db.session(actor="bob") as session:
        cases.add_note(session, case, "mine")
    with pytest.raises(Forbidden), db.session(actor="bob") as session:
        cases.add_participant(session, case, "transcriber", role="viewer")
    with pytest.raises(Forbidden, match="not change"), db.session(actor="bob") as session:
        session.get(Case, case.id).title = "Taken over"


def test_changing_or_deleting_an_invisible_row_raises_not_found(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Of alice")
        note = cases.add_note(session, case, "of alice too")
        cases.add_participant(session, case, "bob", role="editor")
    with db.session(actor="bob") as session:
        case_of_bob, note_of_bob = session.get(Case, case.id), session.get(CaseNote, note.id)
    with db.session(actor="alice") as session:
        cases.remove_participant(session, case, "bob")

    with pytest.raises(NotFound), db.session(actor="bob") as session:
        session.add(case_of_bob)
        case_of_bob.title = "Still mine?"
    with pytest.raises(NotFound), db.session(actor="bob") as session:
        session.delete(note_of_bob)


def test_an_editor_cannot_delete_the_case(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Of alice")
        cases.add_participant(session, case, "bob", role="editor")
    with pytest.raises(Forbidden, match="not change or delete"), db.session(actor="bob") as session:
        session.delete(session.get(Case, case.id))
    with db.session(actor="alice") as session:
        session.delete(session.get(Case, case.id))
    with db.session(actor="root") as session:
        assert session.get(Case, case.id) is None


def test_a_hold_can_be_released_once(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Held")
        hold = cases.place_hold(session, case, reason="court order 12")
        cases.release_hold(session, hold, reason="settled")
        with pytest.raises(Conflict):
            cases.release_hold(session, hold, reason="again")


@pytest.mark.parametrize(
    ("values", "word"),
    [({"title": "  "}, "title"), ({"title": "x", "priority": "urgent"}, "high, medium, low")],
)
def test_invalid_input_is_reported_with_the_field_or_the_valid_codes(db, values, word):
    with db.session(actor="alice") as session, pytest.raises(InvalidInput, match=word):
        cases.open_case(session, **values)


def test_a_duplicate_code_reports_its_constraint(db):
    with db.session(actor="alice") as session:
        cases.open_case(session, title="One", case_code="H-1")
    with pytest.raises(Conflict, match="already exists") as caught, db.session(actor="alice") as session:
        cases.open_case(session, title="Two", case_code="H-1")
    assert caught.value.constraint == "cases_case_code_excl"
