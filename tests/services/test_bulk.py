"""Bulk operations: chunks, permissions and history, resuming, errors with the index of the row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import func, select

from src.database import ActivityLog, Case, CaseNote, CaseParticipant
from src.errors import Conflict, Forbidden, InvalidInput, LostUpdate, NotFound, NotSignedIn, SpeechError
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


def test_rows_are_inserted_in_chunks_with_history_and_progress(db, case):
    reported = []
    stored = bulk.insert(db, CaseNote, iter(notes(case, 25)), actor="alice", chunk=10, progress=reported.append)

    assert (stored, reported) == (25, [10, 20, 25])
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
def test_a_rejected_row_is_named_by_index_and_earlier_chunks_stay(db, case, wrong, kind):
    rows = notes(case, 25)
    rows[17] |= wrong
    with pytest.raises(kind, match="row 17: "):
        bulk.insert(db, CaseNote, rows, actor="alice", chunk=10)

    assert len(bodies(db)) == 10


def test_a_job_continues_after_the_last_chunk_without_duplicates(db, case):
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
    # Another job, and a job of another actor with the same name, start from the first row.
    assert bulk.insert(db, CaseNote, rows[:5], actor="alice", job="import 8") == 5
    with db.session(actor="alice") as session:
        cases.add_participant(session, case, "bob", role="editor")
    assert bulk.insert(db, CaseNote, rows[:5], actor="bob", job="import 7") == 5
    assert len(bodies(db)) == 35


def test_two_concurrent_calls_of_one_job_store_no_duplicates(db, case):
    rows = notes(case, 20)
    began = []

    def meanwhile(done):
        began.append(done)
        if done == 5:  # between two chunks of the first call, the second call stores the rest
            assert bulk.insert(db, CaseNote, rows, actor="alice", chunk=5, job="import 9") == 20

    with pytest.raises(LostUpdate, match="'import 9'; 20 rows"):
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


def test_chunks_are_logged_with_table_and_without_id_for_the_index(db, case):
    bulk.insert(db, CaseNote, notes(case, 4), actor="alice", chunk=2, job="import 7")
    with db.session(actor="alice") as session:
        entries = session.execute(
            select(ActivityLog.entity, ActivityLog.operation)
            .where(ActivityLog.entity == "case_notes", ActivityLog.entity_id.is_(None))
        ).all()  # fmt: skip
    assert entries == [("case_notes", "event")] * 2


def test_the_last_of_several_updates_of_a_row_wins(db, case):
    bulk.insert(db, CaseNote, notes(case, 2), actor="alice")
    with db.session(actor="alice") as session:
        ids = list(session.scalars(select(CaseNote.id).order_by(CaseNote.id)))
    rows = [{"id": ids[number % 2], "body": f"change {number}"} for number in range(9)]
    assert bulk.update(db, CaseNote, rows, actor="alice") == 9
    assert bodies(db) == ["change 8", "change 7"]


def test_rows_are_updated_with_one_statement_per_set_of_columns(db, case):
    bulk.insert(db, CaseNote, notes(case, 6), actor="alice")
    with db.session(actor="alice") as session:
        stored = session.scalars(select(CaseNote).order_by(CaseNote.id)).all()
    rows = [{"id": note.id, "body": f"changed {note.id}"} for note in stored[:4]]
    rows += [{"id": note.id, "row_version": note.row_version, "body": "checked"} for note in stored[4:]]

    assert bulk.update(db, CaseNote, rows, actor="alice", chunk=3) == 6
    assert bodies(db) == [*(f"changed {note.id}" for note in stored[:4]), "checked", "checked"]
    with pytest.raises(NotFound, match=r"row 5: .*changed since"):
        bulk.update(db, CaseNote, [{"id": note.id, "body": "again"} for note in stored[:5]] + rows[5:], actor="alice")
    with db.session(actor="alice") as session:
        logged = session.scalar(
            select(func.count()).select_from(ActivityLog).where(
                ActivityLog.entity == "case_notes", ActivityLog.operation == "update"
            )
        )  # fmt: skip
    assert logged == 6


def test_updates_cast_nulls_and_numbers_to_the_types_of_the_columns(db, case):
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


def test_rows_are_deleted_by_ids_or_query_and_deleting_again_has_no_effect(db, case):
    bulk.insert(db, CaseNote, notes(case, 30), actor="alice")
    with db.session(actor="alice") as session:
        ids = list(session.scalars(select(CaseNote.id).order_by(CaseNote.id)))
    reported = []

    assert bulk.delete(db, CaseNote, ids[:5], actor="alice") == 5
    assert bulk.delete(db, CaseNote, ids[:5], actor="alice") == 0
    query = select(CaseNote.id).where(CaseNote.id <= ids[24])
    assert bulk.delete(db, CaseNote, query, actor="alice", chunk=8, progress=reported.append) == 20
    assert reported == [8, 16, 20]
    assert bodies(db) == [f"note {number}" for number in range(25, 30)]


def test_permissions_and_legal_holds_apply_to_bulk_operations(db, case):
    bulk.insert(db, CaseNote, notes(case, 12), actor="alice")
    with db.session(actor="alice") as session:
        ids = list(session.scalars(select(CaseNote.id)))
    # Rows of a case are invisible to users outside it.
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
    with pytest.raises(NotSignedIn, match="No active user"):
        bulk.insert(db, CaseNote, notes(case, 1), actor="nobody-here")


@pytest.mark.own_database
def test_a_duplicate_key_is_reported_with_the_row_index(db, case):
    with db.session(actor="root") as session:
        users = session.execute(select(CaseParticipant.user_id)).scalars().all()
    rows = [{"case_id": case.id, "user_id": users[0], "role": "viewer"}]
    with pytest.raises(Conflict, match=r"row 0: .*already exists"):
        bulk.insert(db, CaseParticipant, rows, actor="alice")


@pytest.mark.parametrize("chunk", [0, 50_001])
def test_a_chunk_size_out_of_range_is_rejected(db, chunk):
    with pytest.raises(InvalidInput, match="1 to 50000"):
        bulk.insert(db, CaseNote, [], actor="alice", chunk=chunk)


@pytest.mark.parametrize(
    "row", [None, 5, [], {"id": "1", "body": "x"}, {"id": True, "body": "x"}, {"id": [], "body": "x"}], ids=repr
)
def test_values_that_are_not_rows_or_ids_are_rejected_with_the_row_index(db, row):
    with pytest.raises(InvalidInput, match="row 0: "):
        bulk.update(db, CaseNote, [row], actor="alice")


@pytest.mark.parametrize("which", [["x"], [None], [True], [1.5], "12"], ids=repr)
def test_delete_rejects_ids_that_are_not_integers(db, which):
    with pytest.raises(InvalidInput, match="is not an id of case_notes"):
        bulk.delete(db, CaseNote, which, actor="alice")


def test_delete_rejects_queries_that_do_not_select_an_id(db, case):
    bulk.insert(db, CaseNote, notes(case, 3), actor="alice")
    with pytest.raises(InvalidInput, match="selects 'row_version' first; select only ids"):
        bulk.delete(db, CaseNote, select(CaseNote.row_version, CaseNote.id), actor="alice")
    assert bulk.delete(db, CaseNote, select(CaseNote), actor="alice") == 3
