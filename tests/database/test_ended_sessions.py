"""A session that is used after its block is refused, and so are its connection and what its objects did not load."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import selectinload, undefer

from src.database import Case, CaseNote, User, UserRole
from src.database.connection.session import actor_of
from src.errors import SessionEnded
from src.services import cases

pytestmark = pytest.mark.shared_database

USES = {
    "execute": lambda s: s.execute(text("SELECT 1")),
    "scalar": lambda s: s.scalar(select(1)),
    "scalars": lambda s: s.scalars(select(Case)),
    "get": lambda s: s.get(Case, 1),
    "get_one": lambda s: s.get_one(Case, 1),
    "query": lambda s: s.query(Case).all(),
    "add": lambda s: s.add(Case(title="lost")),
    "add_all": lambda s: s.add_all([Case(title="lost")]),
    "delete": lambda s: s.delete(Case(id=1)),
    "merge": lambda s: s.merge(Case(id=1)),
    "flush": lambda s: s.flush(),
    "commit": lambda s: s.commit(),
    "rollback": lambda s: s.rollback(),
    "begin": lambda s: s.begin(),
    "begin_nested": lambda s: s.begin_nested(),
    "connection": lambda s: s.connection(),
    "refresh": lambda s: s.refresh(Case(id=1)),
    "in": lambda s: Case(title="x") in s,
    "new": lambda s: s.new,
    "a service": lambda s: cases.open_case(s, title="lost"),
    "its actor": actor_of,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("fails", [False, True])
def test_a_session_that_is_used_after_its_block_is_refused(db, use, fails):
    kept = []
    try:
        with db.session(actor="alice") as session:
            kept.append(session)
            cases.open_case(session, title="any")
            assert not fails
    except AssertionError:
        pass
    with pytest.raises(SessionEnded, match="ended with its block") as caught:
        use(kept[0])
    assert "\n" not in str(caught.value)
    kept[0].close()
    assert db.engine.pool.checkedout() == 0


@pytest.mark.parametrize("use", [
    lambda c: c.execute(text("SELECT 1")),
    lambda c: c.exec_driver_sql("SELECT 1"),
    lambda c: c.scalar(select(1)),
    lambda c: c.begin(),
])  # fmt: skip
def test_the_connection_of_a_session_that_ended_is_refused(db, use):
    with db.session(actor="alice") as session:
        connection = session.connection()
    with pytest.raises(SessionEnded, match="The session of this connection has ended"):
        use(connection)


def test_what_an_object_did_not_load_is_refused_after_the_session(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="any")
        note = cases.add_note(session, case, "text")
    with db.session(actor="alice") as session:
        case, note = session.get(Case, case.id), session.get(CaseNote, note.id)
        user = session.scalars(select(User).where(User.username == "alice")).one()
        role = session.get(UserRole, user.role_id)
        session.expire(note, ["body"])
    for place, load in (
        ("Case.notes", lambda: case.notes),
        ("CaseNote.case", lambda: note.case),
        ("CaseNote", lambda: note.body),
        ("UserRole.seed_fingerprint", lambda: role.seed_fingerprint),
    ):
        with pytest.raises(SessionEnded, match=f"{place} was not loaded"):
            load()
    assert (case.title, case.status.code, user.role.code) == ("any", "active", "user")


def test_what_was_loaded_in_time_can_be_read_afterwards(db):
    with db.session(actor="alice") as session:
        cases.add_note(session, cases.open_case(session, title="any"), "text")
    with db.session(actor="alice") as session:
        case = session.scalars(select(Case).options(selectinload(Case.notes))).one()
        role = session.scalars(select(UserRole).options(undefer(UserRole.seed_fingerprint)).limit(1)).one()
    assert [note.body for note in case.notes] == ["text"]
    assert role.seed_fingerprint is not None


def test_a_result_that_is_read_after_its_session_is_refused(db):
    with db.session(actor="alice") as session:
        cases.open_case(session, title="any")
        rows = session.scalars(select(Case))
    with pytest.raises((SessionEnded, InvalidRequestError)):
        rows.all()


def test_an_object_of_a_session_that_ended_is_new_in_the_next_one(db):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="one")
    with db.session(actor="alice") as session:
        session.add(case)
        case.title = "two"
        assert session.scalar(select(func.count()).select_from(Case).where(Case.title == "two")) == 1
