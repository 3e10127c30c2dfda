"""Accounts: creating users, proving who one is, changing passwords."""

from __future__ import annotations

import unicodedata

import bcrypt
import pytest
from sqlalchemy import select

from src.database import ActivityLog, User
from src.errors import Conflict, Forbidden, InvalidInput
from src.services import accounts, activity


@pytest.fixture
def carol(db, monkeypatch):
    # Cost 12 takes 0.2 s a hash; what is tested here does not depend on it.
    monkeypatch.setattr(accounts, "DEFAULT_COST", 10)
    with db.session(actor="root") as session:
        return accounts.create_user(session, username="carol", password="Pa$$wörd", email="carol@example.org")


def test_a_created_user_signs_in_whatever_the_case_of_the_name(db, carol):
    with db.session() as session:
        signed_in = accounts.authenticate(session, "CAROL", "Pa$$wörd")

    assert signed_in == accounts.SignedIn(carol.id, "carol")
    with db.session(actor="root") as session:
        assert session.get(User, carol.id).last_login is not None


def test_a_password_is_the_same_however_its_accents_are_composed(db, carol):
    with db.session() as session:
        assert accounts.authenticate(session, "carol", unicodedata.normalize("NFD", "Pa$$wörd")).username == "carol"


@pytest.mark.parametrize(
    ("name", "password"),
    [("carol", "wrong"), ("nobody", "Pa$$wörd"), ("transcriber", ""), ("carol", "x" * 500), ("a|b", "x"), ("", "")],
)
def test_whoever_fails_to_sign_in_learns_nothing(db, carol, name, password):
    with pytest.raises(Forbidden) as caught, db.session() as session:
        accounts.authenticate(session, name, password)
    assert str(caught.value) == "The user name or the password is wrong."


def test_an_inactive_user_does_not_sign_in(db, carol):
    with db.session(actor="root") as session:
        session.get(User, carol.id).is_active = False
    with pytest.raises(Forbidden), db.session() as session:
        accounts.authenticate(session, "carol", "Pa$$wörd")


def test_failures_are_remembered_although_the_session_rolled_back(db, carol):
    with pytest.raises(Forbidden), db.session() as session:
        accounts.authenticate(session, "carol", "wrong")
    with db.session(actor="root") as session:
        entry = activity.feed(session, type="login.failed")[-1]
        assert (entry.actor, entry.entity_id) == ("carol", carol.id)


def test_changing_a_password_takes_the_current_one_or_an_administrator(db, carol):
    with pytest.raises(Forbidden), db.session(actor="carol") as session:
        accounts.change_password(session, session.get(User, carol.id), "next one")
    with pytest.raises(Forbidden), db.session(actor="carol") as session:
        accounts.change_password(session, session.get(User, carol.id), "next one", current="guess")
    with db.session(actor="carol") as session:
        accounts.change_password(session, session.get(User, carol.id), "next one", current="Pa$$wörd")
    with db.session(actor="root") as session:
        accounts.change_password(session, session.get(User, carol.id), "third one")
    with db.session() as session:
        assert accounts.authenticate(session, "carol", "third one")


def test_nobody_changes_the_password_of_another(db, carol):
    with pytest.raises((Forbidden, LookupError)), db.session(actor="alice") as session:
        accounts.change_password(session, session.get(User, carol.id), "mine now")
    with db.session() as session:
        assert accounts.authenticate(session, "carol", "Pa$$wörd")


def test_the_log_holds_no_password_and_no_hash(db, carol, owner):
    with owner.connect() as connection:
        images = connection.execute(select(ActivityLog.new, ActivityLog.old)).all()
    assert "$2b$" not in str(images)
    assert "carol@example.org" not in str(images)


@pytest.mark.parametrize("password", ["", "x" * 73, "é" * 37, "\ud800"])
def test_unusable_passwords_are_refused_with_the_reason(password):
    with pytest.raises(InvalidInput, match="password"):
        accounts.hash_password(password, cost=10)


@pytest.mark.parametrize("password", ["x" * 72, "é" * 36, " ", "a\0b"])
def test_usable_passwords_keep_every_byte(password):
    hashed = accounts.hash_password(password, cost=10)
    assert hashed.startswith("bcrypt:$2b$10$")
    stored = hashed.removeprefix("bcrypt:").encode()
    assert bcrypt.checkpw(password.encode(), stored)
    assert not bcrypt.checkpw(password.encode()[:-1], stored)


def test_only_administrators_create_users_and_names_are_taken_once(db, carol):
    with pytest.raises(Forbidden), db.session(actor="alice") as session:
        accounts.create_user(session, username="mallory")
    with pytest.raises(Conflict), db.session(actor="root") as session:
        accounts.create_user(session, username="Carol")
    with pytest.raises(InvalidInput, match="user, service, admin"), db.session(actor="root") as session:
        accounts.create_user(session, username="dave", role="king")
