"""`db.session`: commit, rollback, errors."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm.exc import StaleDataError

from src import errors
from src.database import Case, User
from src.database.connection.session import actor_of, database_of
from src.services import cases

pytestmark = pytest.mark.shared_database


def titles(db):
    with db.session(actor="alice") as session:
        return list(session.scalars(select(Case.title).order_by(Case.id)))


def test_leaving_the_block_commits(db):
    with db.session(actor="alice") as session:
        session.add(Case(title="kept"))
    assert titles(db) == ["kept"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit, errors.InvalidInput])
def test_an_exception_rolls_back_and_is_raised_unchanged(db, error):
    with pytest.raises(error) as caught, db.session(actor="alice") as session:
        session.add(Case(title="gone"))
        session.flush()
        raise error("mine")
    assert caught.type is error
    assert titles(db) == []
    assert db.engine.pool.checkedout() == 0


def test_objects_can_be_read_after_the_session(db):
    with db.session(actor="alice") as session:
        case = Case(title="detached")
        session.add(case)
    assert (case.title, case.row_version, case.case_code) == ("detached", 1, f"C-{case.id:06}")
    assert case.created_at == case.updated_at
    with db.session(actor="alice") as session:
        case = session.get(Case, case.id)
        case.title = "changed"
    assert (case.title, case.row_version) == ("changed", 2)
    assert case.updated_at > case.created_at
    assert case.status.code == "active"


def test_an_object_can_be_added_to_another_session(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="one")
    with db.session(actor="alice") as session:
        session.add(case)
        case.title = "two"
    assert titles(db) == ["two"]


def test_a_lost_update_is_detected_and_chained(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="one")
    with pytest.raises(errors.LostUpdate, match="read it again") as caught, db.session(actor="alice") as session:
        mine = session.get(Case, case.id)
        with db.session(actor="alice") as other:
            other.get(Case, case.id).title = "theirs"
        mine.title = "mine"
    assert isinstance(caught.value.__cause__, StaleDataError)
    assert titles(db) == ["theirs"]


REFUSALS = {
    "taken": ("INSERT INTO cases (title, case_code) VALUES ('x', 'TAKEN')", errors.Conflict, "cases_case_code_excl"),
    "no parent": ("INSERT INTO case_participants (case_id, user_id, role) SELECT id, 99999, 'viewer' FROM cases",
                  errors.Conflict, "case_participants_user_id_fkey"),
    "too long": ("UPDATE cases SET title = repeat('x', 301)", errors.InvalidInput, "cases_title_length_check"),
    "empty": ("UPDATE cases SET title = ''", errors.InvalidInput, "cases_title_length_check"),
    "no value": ("INSERT INTO cases (title) VALUES (NULL)", errors.InvalidInput, "cases.title"),
    "not a number": ("UPDATE cases SET status_id = :text", errors.InvalidInput, "cannot be stored"),
    "too big": ("UPDATE cases SET status_id = 99999999999999999999", errors.InvalidInput, "cannot be stored"),
    "no time": ("UPDATE cases SET closed_at = :text", errors.InvalidInput, "cannot be stored"),
    "json NUL": ("SELECT '{\"a\": \"\\u0000\"}'::jsonb", errors.InvalidInput, "cannot be stored"),
    "not allowed": ("DELETE FROM languages", errors.Forbidden, "may not do that"),
    "no such table": ("SELECT * FROM missing", errors.SchemaMismatch, "alembic upgrade head"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "error", "words"), REFUSALS.values(), ids=REFUSALS)
def test_errors_of_the_server_are_translated_and_chained(db, statement, error, words):
    with db.session(actor="alice") as session:
        cases.open_case(session, title="here", case_code="TAKEN")
    with pytest.raises(error, match=words) as caught, db.session(actor="alice") as session:
        session.execute(text(statement), {"text": "a secret value"} if ":text" in statement else {})
    assert isinstance(caught.value.__cause__, DBAPIError)
    assert "\n" not in str(caught.value)
    assert "DETAIL" not in str(caught.value)
    assert "a secret value" not in str(caught.value)


def test_a_conflict_carries_the_name_of_its_constraint(db):
    with pytest.raises(errors.Conflict) as caught, db.session(actor="alice") as session:
        session.add_all([Case(title="one", case_code="X"), Case(title="two", case_code="X")])
    assert caught.value.constraint == "cases_case_code_excl"


@pytest.mark.parametrize("value", ["a\x00b", "an unpaired \ud800 surrogate"])
def test_text_that_cannot_be_stored_is_rejected(db, value):
    for write in (
        lambda s: s.add(Case(title=value)),
        lambda s: s.execute(text("SELECT :value"), {"value": value}),
        lambda s: s.scalars(select(Case).where(Case.title == value)).all(),
    ):
        with (
            pytest.raises(errors.InvalidInput, match="NUL or an unpaired surrogate") as caught,
            db.session(actor="alice") as session,
        ):
            write(session)
        assert caught.value.__cause__ is not None
        assert value not in str(caught.value)


def test_a_value_error_of_the_caller_is_raised_unchanged(db):
    with pytest.raises(ValueError, match="mine") as caught, db.session(actor="alice"):
        raise ValueError("mine")
    assert caught.type is ValueError


@pytest.mark.own_database
def test_errors_at_commit_are_translated(db, owner):
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE cases ADD CONSTRAINT late UNIQUE (title) DEFERRABLE INITIALLY DEFERRED"))
    with pytest.raises(errors.Conflict) as caught, db.session(actor="alice") as session:
        session.add_all([Case(title="same"), Case(title="same")])
        session.flush()
    assert caught.value.constraint == "late"
    assert titles(db) == []


def test_a_deadlock_is_busy(db):
    with db.session(actor="alice") as session:
        one, two = cases.open_case(session, title="1"), cases.open_case(session, title="2")
    lock = text("UPDATE cases SET description = 'x' WHERE id = :id")
    with pytest.raises(errors.Busy, match=r"(?i)repeat"), db.session(actor="alice") as first:
        first.execute(text("SET LOCAL lock_timeout = '50ms'"))
        with db.session(actor="alice") as second:
            first.execute(lock, {"id": one.id})
            second.execute(lock, {"id": two.id})
            first.execute(lock, {"id": two.id})


def test_a_side_session_commits_separately_for_the_same_actor(db):
    with pytest.raises(ZeroDivisionError), db.session(actor="alice", reason="why", request_id="R") as session:
        session.add(Case(title="rolled back"))
        with db.side_session(session) as side:
            assert actor_of(side) == actor_of(session)
            assert side.info["actor"] == session.info["actor"]
            side.add(Case(title="stays"))
        raise ZeroDivisionError
    assert titles(db) == ["stays"]


def test_a_failed_side_session_does_not_affect_the_first_one(db):
    with db.session(actor="alice") as session:
        session.add(Case(title="kept"))
        with pytest.raises(errors.InvalidInput), db.side_session(session) as side:
            side.add(Case(title=""))
    assert titles(db) == ["kept"]


def test_a_session_has_a_database_and_an_actor(db):
    with db.session(actor="ALICE") as session:
        assert database_of(session) is db
        assert session.get(User, actor_of(session)).username == "alice"


def test_a_closed_database_can_be_used_again(db):
    db.close()
    with db.session(actor="alice") as session:
        session.add(Case(title="again"))
    assert titles(db) == ["again"]
