"""Many rows at once: in chunks, with rights and history, resumed where they ended; what is refused has its index."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import func, select

from src.database import ActivityLog, Case, CaseNote, CaseParticipant
from src.errors import Conflict, Forbidden, InvalidInput, LostUpdate, NotFound, SpeechError
from src.services import activity, bulk, cases

pytestmark = pytest.mark.shared_database


@pytest.fixture
def case(db):
    with db.session(actor="alice") as session:
        return cases.open_case(session, title="Bulk")


def notes(case, count, **changed):
    return [{"case_id": case.id, "body": f"note {number}", **changed} for number in range(count)]


def bodies(db, actor="alice"):
    with db.session(actor=actor) as session:
        return session.scalars(select(CaseNote.body).order_by(CaseNote.id)).all()


def test_rows_go_in_by_chunks_with_history_and_progress(db, case):
    told = []
    stored = bulk.insert(db, CaseNote, iter(notes(case, 25)), actor="alice", chunk=10, progress=told.append)

    assert (stored, told) == (25, [10, 20, 25])
    assert bodies(db) == [f"note {number}" for number in range(25)]
    with db.session(actor="alice") as session:
        captured = session.scalar(
            select(func.count()).select_from(ActivityLog).where(
                ActivityLog.entity == "case_notes", ActivityLog.operation == "insert"
            )
        )  # fmt: skip
        entries = [entry for entry in activity.feed(session) if entry.type == "bulk.stored"]
    assert captured == 25
    assert [entry.detail["done"] for entry in entries] == [10, 20, 25]


@pytest.mark.parametrize(("wrong", "kind"), [
    ({"body": "a\0b"}, InvalidInput), ({"body": None}, InvalidInput), ({"colour": "red"}, InvalidInput),
    ({"case_id": 0}, SpeechError), ({"created_at": None}, Forbidden),
], ids=repr)  # fmt: skip
def test_a_row_that_is_refused_is_named_and_the_chunks_before_it_stay(db, case, wrong, kind):
    rows = notes(case, 25)
    rows[17] |= wrong
    with pytest.raises(kind, match="row 17: "):
        bulk.insert(db, CaseNote, rows, actor="alice", chunk=10)

    assert len(bodies(db)) == 10


def test_a_job_goes_on_where_it_ended_and_stores_nothing_twice(db, case):
    rows = notes(case, 25)
    broken = [*rows[:17], {**rows[17], "body": "a\0b"}, *rows[18:]]
    with pytest.raises(InvalidInput):
        bulk.insert(db, CaseNote, broken, actor="alice", chunk=10, job="import 7")

    def killed(done):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bulk.insert(db, CaseNote, rows, actor="alice", chunk=10, job="import 7", progress=killed)
    assert len(bodies(db)) == 20
    for _ in range(2):
        assert bulk.insert(db, CaseNote, rows, actor="alice", chunk=10, job="import 7") == 25
        assert bodies(db) == [row["body"] for row in rows]
    # Another job, and somebody else's of the same name, begin at the beginning.
    assert bulk.insert(db, CaseNote, rows[:5], actor="alice", job="import 8") == 5
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="editor")
    assert bulk.insert(db, CaseNote, rows[:5], actor="bob", job="import 7") == 5
    assert len(bodies(db)) == 35


def test_of_two_who_do_one_job_at_once_nothing_is_stored_twice(db, case):
    rows = notes(case, 20)
    began = []

    def meanwhile(done):
        began.append(done)
        if done == 5:  # between two chunks of the first, the second does the rest
            assert bulk.insert(db, CaseNote, rows, actor="alice", chunk=5, job="import 9") == 20

    with pytest.raises(LostUpdate, match="'import 9' too: 20 rows"):
        bulk.insert(db, CaseNote, rows, actor="alice", chunk=5, job="import 9", progress=meanwhile)
    assert began == [5]
    assert bodies(db) == [row["body"] for row in rows]
    start = Barrier(2)

    def first_chunk(_):
        start.wait()
        try:
            return bulk.insert(db, CaseNote, rows, actor="alice", job="import 10")
        except LostUpdate:
            return 20

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(first_chunk, range(2))) == [20, 20]
    assert len(bodies(db)) == 40


def test_a_chunk_is_noted_under_its_table_and_no_row_where_an_index_finds_it(db, case):
    bulk.insert(db, CaseNote, notes(case, 4), actor="alice", chunk=2, job="import 7")
    with db.session(actor="alice") as session:
        noted = session.execute(
            select(ActivityLog.entity, ActivityLog.operation)
            .where(ActivityLog.entity == "case_notes", ActivityLog.entity_id.is_(None))
        ).all()  # fmt: skip
    assert noted == [("case_notes", "event")] * 2


def test_of_two_changes_of_a_row_the_later_one_counts(db, case):
    bulk.insert(db, CaseNote, notes(case, 2), actor="alice")
    with db.session(actor="alice") as session:
        ids = list(session.scalars(select(CaseNote.id).order_by(CaseNote.id)))
    rows = [{"id": ids[number % 2], "body": f"change {number}"} for number in range(9)]
    assert bulk.update(db, CaseNote, rows, actor="alice") == 9
    assert bodies(db) == ["change 8", "change 7"]


def test_rows_are_updated_by_one_statement_for_each_set_of_columns(db, case):
    bulk.insert(db, CaseNote, notes(case, 6), actor="alice")
    with db.session(actor="alice") as session:
        stored = session.scalars(select(CaseNote).order_by(CaseNote.id)).all()
    rows = [{"id": note.id, "body": f"changed {note.id}"} for note in stored[:4]]
    rows += [{"id": note.id, "row_version": note.row_version, "body": "checked"} for note in stored[4:]]

    assert bulk.update(db, CaseNote, rows, actor="alice", chunk=3) == 6
    assert bodies(db) == [*(f"changed {note.id}" for note in stored[:4]), "checked", "checked"]
    with pytest.raises(NotFound, match=r"row 5: .*changed it"):
        bulk.update(db, CaseNote, [{"id": note.id, "body": "again"} for note in stored[:5]] + rows[5:], actor="alice")
    with db.session(actor="alice") as session:
        logged = session.scalar(
            select(func.count()).select_from(ActivityLog).where(
                ActivityLog.entity == "case_notes", ActivityLog.operation == "update"
            )
        )  # fmt: skip
    assert logged == 6


def test_updates_set_nulls_and_numbers_by_their_types(db, case):
    with db.session(actor="alice") as session:
        other = cases.open_case(session, title="Second")
    rows = [{"id": each.id, "title": "Both", "closed_at": None, "priority_id": 1} for each in (case, other)]
    assert bulk.update(db, Case, rows, actor="alice") == 2
    with db.session(actor="alice") as session:
        assert {(each.title, each.priority_id) for each in session.scalars(select(Case))} == {("Both", 1)}


@pytest.mark.parametrize("row", [{"body": "x"}, {"id": 1}, {"id": 1, "colour": 1}], ids=repr)
def test_an_update_needs_an_id_and_a_column(db, row):
    with pytest.raises(InvalidInput, match="row 0: case_notes"):
        bulk.update(db, CaseNote, [row], actor="alice")


def test_rows_are_deleted_by_ids_or_by_a_query_and_again_means_nothing(db, case):
    bulk.insert(db, CaseNote, notes(case, 30), actor="alice")
    with db.session(actor="alice") as session:
        ids = list(session.scalars(select(CaseNote.id).order_by(CaseNote.id)))
    told = []

    assert bulk.delete(db, CaseNote, ids[:5], actor="alice") == 5
    assert bulk.delete(db, CaseNote, ids[:5], actor="alice") == 0
    query = select(CaseNote.id).where(CaseNote.id <= ids[24])
    assert bulk.delete(db, CaseNote, query, actor="alice", chunk=8, progress=told.append) == 20
    assert told == [8, 16, 20]
    assert bodies(db) == [f"note {number}" for number in range(25, 30)]


def test_rights_and_guards_hold_for_many_rows_too(db, case):
    bulk.insert(db, CaseNote, notes(case, 12), actor="alice")
    with db.session(actor="alice") as session:
        ids = list(session.scalars(select(CaseNote.id)))
    # To a stranger they are not there.
    assert bulk.delete(db, CaseNote, ids, actor="bob") == 0
    with pytest.raises(NotFound, match="row 0"):
        bulk.update(db, CaseNote, [{"id": ids[0], "body": "x"}], actor="bob")
    with pytest.raises(Forbidden, match="row 0"):
        bulk.insert(db, CaseNote, notes(case, 1), actor="bob")
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="viewer")
    for which in (ids, select(CaseNote.id)):
        with pytest.raises(Forbidden, match="not delete it"):
            bulk.delete(db, CaseNote, which, actor="bob")
    with db.session(actor="alice") as session:
        cases.place_hold(session, case, reason="court")
    with pytest.raises(Conflict, match="legal hold"):
        bulk.delete(db, CaseNote, ids, actor="alice")
    assert len(bodies(db)) == 12
    with pytest.raises(Forbidden, match="No active user"):
        bulk.insert(db, CaseNote, notes(case, 1), actor="nobody-here")


@pytest.mark.own_database
def test_what_is_taken_is_named_by_its_index(db, case):
    with db.session(actor="root") as session:
        users = session.execute(select(CaseParticipant.user_id)).scalars().all()
    rows = [{"case_id": case.id, "user_id": users[0], "role": "viewer"}]
    with pytest.raises(Conflict, match=r"row 0: .*already exists"):
        bulk.insert(db, CaseParticipant, rows, actor="alice")


@pytest.mark.parametrize("chunk", [0, 50_001])
def test_a_chunk_has_a_size(db, chunk):
    with pytest.raises(InvalidInput, match="1 to 50000"):
        bulk.insert(db, CaseNote, [], actor="alice", chunk=chunk)


@pytest.mark.parametrize(
    "row", [None, 5, [], {"id": "1", "body": "x"}, {"id": True, "body": "x"}, {"id": [], "body": "x"}], ids=repr
)
def test_what_is_no_row_and_no_id_is_refused_by_its_index(db, row):
    with pytest.raises(InvalidInput, match="row 0: "):
        bulk.update(db, CaseNote, [row], actor="alice")


@pytest.mark.parametrize("which", [["x"], [None], [True], [1.5], "12"], ids=repr)
def test_only_numbers_are_ids_to_delete(db, which):
    with pytest.raises(InvalidInput, match="has no id"):
        bulk.delete(db, CaseNote, which, actor="alice")


def test_a_query_whose_first_column_is_no_id_deletes_nothing(db, case):
    bulk.insert(db, CaseNote, notes(case, 3), actor="alice")
    with pytest.raises(InvalidInput, match="row_version and more; ask for the ids alone"):
        bulk.delete(db, CaseNote, select(CaseNote.row_version, CaseNote.id), actor="alice")
    assert bulk.delete(db, CaseNote, select(CaseNote), actor="alice") == 3
