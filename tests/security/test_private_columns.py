"""Addresses and last sign-ins are the user's own and the administrators'; members learn of no other address."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text

from src.database import CaseParticipant, User
from src.errors import Conflict, Forbidden, InvalidInput
from src.services import accounts, cases

pytestmark = pytest.mark.shared_database


@pytest.fixture
def known(db, owner):
    """alice and bob have addresses and last sign-ins; returns their ids."""
    with owner.begin() as connection:
        connection.execute(text("UPDATE users SET last_login = now(), email = username || '@example.org'"
                                " WHERE username IN ('alice', 'bob')"))  # fmt: skip
        rows = connection.execute(text("SELECT username, id FROM users WHERE username IN ('alice', 'bob')"))
        return {row.username: row.id for row in rows}


@pytest.mark.parametrize("how", ["attributes", "columns"])
def test_users_see_their_own_address_and_sign_in_and_administrators_all(db, known, how):
    def seen(actor):
        with db.session(actor=actor) as session:
            if how == "columns":
                query = select(User.username, User.email, User.last_login).where(User.id.in_(known.values()))
                return {row.username: (row.email, row.last_login is not None) for row in session.execute(query)}
            users = session.scalars(select(User).where(User.id.in_(known.values()))).all()
            return {user.username: (user.email, user.last_login is not None) for user in users}

    hidden, alice, bob = (None, False), ("alice@example.org", True), ("bob@example.org", True)
    assert seen("alice") == {"alice": alice, "bob": hidden}
    assert seen("transcriber") == {"alice": hidden, "bob": hidden}
    assert seen("root") == {"alice": alice, "bob": bob}
    assert seen(None) == {}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT email FROM users",
        "SELECT last_login FROM users",
        "SELECT * FROM users",
        "SELECT count(*) FROM users WHERE email = 'bob@example.org'",
        "SELECT count(email) FROM users",
        "SELECT username FROM users ORDER BY last_login",
        "SELECT u FROM users u",
        "SELECT to_jsonb(u) FROM users u",
        "UPDATE users SET full_name = 'x' WHERE email = 'bob@example.org'",
        "UPDATE users SET full_name = 'x' RETURNING email",
        "EXPLAIN SELECT 1 FROM users WHERE lower(email) = 'bob@example.org'",
    ],
)
def test_members_neither_read_nor_search_nor_count_by_address(db, known, statement):
    with pytest.raises(Forbidden), db.session(actor="alice") as session:
        session.execute(text(statement))


def test_orm_conditions_on_the_address_are_for_administrators(db, known):
    query = select(func.count()).select_from(User).where(User.email == "bob@example.org")
    with pytest.raises(Forbidden), db.session(actor="alice") as session:
        session.scalar(query)
    with db.session(actor="root") as session:
        assert session.scalar(query) == 1


def test_a_member_who_takes_an_address_does_not_learn_that_it_exists_an_administrator_does(db, known, owner):
    for address in ("BOB@example.org", "free@example.org"):
        with db.session(actor="alice") as session:
            user = session.get_one(User, known["alice"])
            user.email = address
            session.flush()
        with db.session(actor="alice") as session:
            assert accounts.find_user(session, "alice").email == address
    with pytest.raises(Conflict, match="users_email_lower_key"), db.session(actor="root") as session:
        accounts.create_user(session, username="carol", email="Bob@Example.org")
    with db.session(actor="root") as session:
        carol = accounts.create_user(session, username="dora", email="dora@example.org")
        assert carol.email == "dora@example.org"
    with pytest.raises(Conflict), db.session(actor="root") as session:
        session.get_one(User, known["alice"]).email = "dora@example.org"


def test_loading_users_with_cases_still_works_for_members(db, known):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Harbour")
        participant = cases.add_participant(session, case, "bob")
        loaded = session.scalars(select(CaseParticipant).where(CaseParticipant.id == participant.id)).one()
        session.refresh(loaded, ["user"])
        assert (loaded.user.username, loaded.user.email) == ("bob", None)
        me = accounts.find_user(session, "alice")
        me.full_name = "Alice A."
        session.flush()
        session.refresh(me)
        assert (me.full_name, me.email) == ("Alice A.", "alice@example.org")


def test_the_functions_return_nothing_of_others_and_nothing_without_an_actor(db, known):
    for actor in ("alice", "bob"):
        with db.session(actor=actor) as session:
            for name, number in known.items():
                found = session.execute(
                    text("SELECT user_email(:id), user_last_login(:id) IS NOT NULL"), {"id": number}
                ).one()
                assert tuple(found) == ((f"{name}@example.org", True) if name == actor else (None, False))


@pytest.mark.parametrize("kind", ["bigint", "timestamptz", "jsonb", "date", "boolean"])
def test_errors_of_the_server_leave_out_the_value(db, kind):
    said = "words that nobody else may read"
    with pytest.raises(InvalidInput) as caught, db.session(actor="alice") as session:
        session.execute(text(f"SELECT CAST(CAST(:said AS text) AS {kind})"), {"said": said})
    assert said not in str(caught.value)
    with pytest.raises(InvalidInput) as caught, db.session(actor="alice") as session:
        cases.open_case(session, title="x" * 299 + said)
    assert said not in str(caught.value)
