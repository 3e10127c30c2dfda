"""Accounts: creating users, authentication, changing passwords."""

from __future__ import annotations

import unicodedata

import bcrypt
import pytest
from sqlalchemy import select, text

from src.config import Settings
from src.database import ActivityLog, User
from src.errors import Conflict, Forbidden, InvalidInput, SignInFailed
from src.services import accounts, activity
from src.services.passwords import hash_password

pytestmark = pytest.mark.shared_database


@pytest.fixture
def carol(db, monkeypatch):
    # Cost 12 takes 0.2 s per hash; the tests do not depend on the cost.
    monkeypatch.setattr(accounts, "DEFAULT_COST", 10)
    with db.session(actor="root") as session:
        return accounts.create_user(session, username="carol", password="Pa$$wörd of carol", email="carol@example.org")


def test_user_names_are_case_insensitive_at_sign_in(db, carol):
    with db.session() as session:
        signed_in = accounts.authenticate(session, "CAROL", "Pa$$wörd of carol")

    assert signed_in == accounts.SignedIn(carol.id, "carol", 1)
    with db.session(actor="root") as session:
        assert session.get(User, carol.id).last_login is not None


def test_passwords_match_in_composed_and_decomposed_form(db, carol):
    with db.session() as session:
        assert (
            accounts.authenticate(session, "carol", unicodedata.normalize("NFD", "Pa$$wörd of carol")).username
            == "carol"
        )


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("carol", "wrong"),
        ("nobody", "Pa$$wörd of carol"),
        ("transcriber", ""),
        ("carol", "x" * 500),
        ("a|b", "x"),
        ("", ""),
    ],
)
def test_all_failed_sign_ins_get_the_same_message(db, carol, name, password):
    with pytest.raises(SignInFailed) as caught, db.session() as session:
        accounts.authenticate(session, name, password)
    assert "Unknown user name, wrong password" in str(caught.value)
    assert name not in str(caught.value) or not name


def test_an_inactive_user_cannot_sign_in(db, carol):
    with db.session(actor="root") as session:
        session.get(User, carol.id).is_active = False
    with pytest.raises(SignInFailed), db.session() as session:
        accounts.authenticate(session, "carol", "Pa$$wörd of carol")


def test_failed_sign_ins_are_logged_although_the_session_rolled_back(db, carol):
    with pytest.raises(SignInFailed), db.session() as session:
        accounts.authenticate(session, "carol", "wrong")
    with db.session(actor="root") as session:
        entry = activity.feed(session, type="login.failed")[-1]
        assert (entry.actor, entry.entity_id) == ("carol", carol.id)


def sign_in(db, name, password):
    """Return whether signing in succeeded."""
    try:
        with db.session() as session:
            accounts.authenticate(session, name, password)
    except SignInFailed:
        return False
    return True


@pytest.mark.own_database
def test_after_five_failures_the_right_password_is_rejected_until_the_wait_ends(db, carol, owner):
    for _ in range(5):
        assert not sign_in(db, "carol", "wrong")
    assert not sign_in(db, "carol", "Pa$$wörd of carol")
    with owner.begin() as connection:
        # Simulates waiting for two seconds.
        connection.execute(text("UPDATE login_throttles SET last_failed_at = last_failed_at - interval '2 seconds'"))
    assert sign_in(db, "carol", "Pa$$wörd of carol")
    with owner.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM login_throttles")) == 0


@pytest.mark.own_database
def test_attempts_during_the_wait_do_not_extend_it(db, carol, owner):
    for _ in range(5):
        sign_in(db, "carol", "wrong")
    with owner.begin() as connection:
        assert connection.scalar(text("SELECT failures FROM login_throttles")) == 5
        # A wait that does not end during the rest of the test, even on a slow machine.
        connection.execute(text("UPDATE login_throttles SET failures = 20, last_failed_at = clock_timestamp()"))
    for _ in range(4):
        sign_in(db, "carol", "wrong")
    with owner.connect() as connection:
        assert connection.scalar(text("SELECT failures FROM login_throttles")) == 20


@pytest.mark.own_database
@pytest.mark.parametrize(("admins", "longest"), [(1, 30), (2, 900)])
def test_the_wait_of_the_last_administrator_is_at_most_30_seconds(db, owner, admins, longest):
    with db.session(actor="root") as session:
        root = accounts.find_user(session, "root").id
        if admins == 2:
            accounts.create_user(session, username="second", role="admin")
    with owner.begin() as connection:
        connection.execute(
            text("INSERT INTO login_throttles (user_id, failures, last_failed_at) VALUES (:root, 40, now())"),
            {"root": root},
        )
        assert longest - 2 < connection.scalar(text("SELECT public.login_wait(:root)"), {"root": root}) <= longest


def test_signing_in_renews_a_hash_of_another_cost(db, carol, owner, monkeypatch):
    monkeypatch.setattr(accounts, "DEFAULT_COST", 11)
    assert sign_in(db, "carol", "Pa$$wörd of carol")
    with owner.connect() as connection:
        hashed = connection.scalar(text("SELECT password_hash FROM users WHERE username = 'carol'"))
    assert hashed.startswith("bcrypt:$2b$11$")
    assert sign_in(db, "carol", "Pa$$wörd of carol")


def test_an_unknown_name_is_logged_without_the_name(db, carol, owner):
    assert not sign_in(db, "MyPassword123", "")
    with owner.connect() as connection:
        rows = connection.execute(text("SELECT actor, new::text FROM activity_logs ORDER BY id DESC LIMIT 1")).all()
    assert rows == [("(unknown)", None)]


def test_changing_a_password_needs_the_current_one_or_an_administrator(db, carol):
    with pytest.raises(Forbidden), db.session(actor="carol") as session:
        accounts.change_password(session, session.get(User, carol.id), "the next one of carol")
    with pytest.raises(Forbidden), db.session(actor="carol") as session:
        accounts.change_password(session, session.get(User, carol.id), "the next one of carol", current="guess")
    with db.session(actor="carol") as session:
        accounts.change_password(
            session, session.get(User, carol.id), "the next one of carol", current="Pa$$wörd of carol"
        )
    with db.session(actor="root") as session:
        accounts.change_password(session, session.get(User, carol.id), "the third one of carol")
    with db.session() as session:
        assert accounts.authenticate(session, "carol", "the third one of carol")


def test_a_created_user_object_has_no_hash(carol):
    assert "password_hash" not in vars(carol)


def test_a_user_of_an_earlier_session_can_change_the_password(db, carol):
    with db.session(actor="carol") as session:
        accounts.change_password(session, carol, "the next one of carol", current="Pa$$wörd of carol")
    assert sign_in(db, "carol", "the next one of carol")


def test_users_cannot_change_the_password_of_another_user(db, carol):
    with pytest.raises((Forbidden, LookupError)), db.session(actor="alice") as session:
        accounts.change_password(session, session.get(User, carol.id), "mine from now on")
    with db.session() as session:
        assert accounts.authenticate(session, "carol", "Pa$$wörd of carol")


@pytest.mark.own_database
def test_the_log_contains_neither_passwords_nor_hashes(db, carol, owner):
    with owner.connect() as connection:
        images = connection.execute(select(ActivityLog.new, ActivityLog.old)).all()
    assert "$2b$" not in str(images)
    assert "carol@example.org" not in str(images)


@pytest.mark.parametrize("password", ["", "x" * 73, "é" * 37, "\ud800"])
def test_invalid_passwords_are_rejected_with_the_reason(password):
    with pytest.raises(InvalidInput, match="password"):
        hash_password(password, cost=10)


@pytest.mark.parametrize("password", ["x" * 72, "é" * 36, " ", "a\0b"])
def test_usable_passwords_keep_every_byte(password):
    hashed = hash_password(password, cost=10)
    assert hashed.startswith("bcrypt:$2b$10$")
    stored = hashed.removeprefix("bcrypt:").encode()
    assert bcrypt.checkpw(password.encode(), stored)
    assert not bcrypt.checkpw(password.encode()[:-1], stored)


def test_only_administrators_create_users_and_user_names_are_unique(db, carol):
    with pytest.raises(Forbidden), db.session(actor="alice") as session:
        accounts.create_user(session, username="mallory")
    with pytest.raises(Conflict), db.session(actor="root") as session:
        accounts.create_user(session, username="Carol")
    with pytest.raises(InvalidInput, match="user, service, admin"), db.session(actor="root") as session:
        accounts.create_user(session, username="dave", role="king")


@pytest.mark.parametrize("prefix", ["$2b$", "$2a$", "$2y$"])
def test_an_imported_user_signs_in_with_a_bare_hash_which_is_renewed(db, carol, owner, monkeypatch, prefix):
    decomposed = unicodedata.normalize("NFD", "Pa$$wörd of carol")  # hashed by a program that does not normalise
    bare = prefix + bcrypt.hashpw(decomposed.encode(), bcrypt.gensalt(5)).decode()[4:]
    with owner.begin() as connection:
        connection.execute(text("UPDATE users SET password_hash = :bare WHERE username = 'carol'"), {"bare": bare})
    with pytest.raises(SignInFailed), db.session() as session:
        accounts.authenticate(session, "carol", "wrong")
    for _ in range(2):
        with db.session() as session:
            assert accounts.authenticate(session, "carol", decomposed).username == "carol"
        with owner.connect() as connection:
            stored = connection.scalar(text("SELECT password_hash FROM users WHERE username = 'carol'"))
        assert stored.startswith("bcrypt:$2b$10$")


def test_a_password_that_another_program_cut_at_72_bytes_signs_in_and_keeps_its_hash(db, carol, owner):
    bare = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(5)).decode()
    with owner.begin() as connection:
        connection.execute(text("UPDATE users SET password_hash = :bare WHERE username = 'carol'"), {"bare": bare})
    with db.session() as session:
        assert accounts.authenticate(session, "carol", "x" * 100).username == "carol"
    with owner.connect() as connection:
        assert connection.scalar(text("SELECT password_hash FROM users WHERE username = 'carol'")) == bare


@pytest.mark.own_database
def test_the_epoch_of_sign_ins_is_raised_whatever_changes_the_user(db, carol, owner):
    def signed_in(password="Pa$$wörd of carol"):
        with db.session() as session:
            return accounts.authenticate(session, "carol", password).sign_in_epoch

    def epoch():
        with db.session(actor="root") as session:
            return accounts.sign_in_epoch(session, "carol")

    first = epoch()
    assert signed_in() == first
    with db.session(actor="carol") as session:
        assert accounts.sign_in_epoch(session) == first
        accounts.change_password(session, carol, "the second one", current="Pa$$wörd of carol")
    assert (signed_in("the second one"), epoch()) == (first + 1, first + 1)
    with db.session(actor="root") as session:
        accounts.change_password(session, carol, "the third one of carol")
    with db.session(actor="root") as session:
        accounts.deactivate(session, carol)
    with db.session(actor="root") as session:
        accounts.activate(session, carol)
        accounts.assign_role(session, carol, "service")
        session.get(User, carol.id).full_name = "Carol"
    assert epoch() == first + 3
    with owner.begin() as connection:
        connection.execute(text("UPDATE users SET password_hash = 'x' WHERE username = 'carol'"))
        connection.execute(text("UPDATE users SET is_active = false, sign_in_epoch = 0 WHERE username = 'carol'"))
    assert epoch() == first + 5


def test_only_the_user_and_administrators_read_the_epoch_and_nobody_sets_it(db, carol):
    with pytest.raises(Forbidden, match="epoch"), db.session(actor="alice") as session:
        accounts.sign_in_epoch(session, "carol")
    for actor in ("carol", "root"):
        for statement in (
            "UPDATE users SET sign_in_epoch = 0",
            "SELECT sign_in_epoch FROM users",
            "INSERT INTO users (username, sign_in_epoch) VALUES ('x', 7)",
        ):
            with pytest.raises(Forbidden), db.session(actor=actor) as session:
                session.execute(text(statement))
    with db.session(actor="alice") as session:
        assert session.scalar(text("SELECT public.login_epoch('1|2|3|4|login|carol')")) is None


@pytest.mark.own_database
def test_renewing_the_hash_of_the_same_password_keeps_the_epoch(db, carol, owner):
    with owner.begin() as connection:
        connection.execute(
            text("UPDATE users SET password_hash = :hash WHERE username = 'carol'"),
            {"hash": hash_password("Pa$$wörd of carol", cost=11)},
        )
    with db.session() as session:
        signed_in = accounts.authenticate(session, "carol", "Pa$$wörd of carol")
    with owner.connect() as connection:
        renewed, epoch = connection.execute(
            text("SELECT password_hash, sign_in_epoch FROM users WHERE username = 'carol'")
        ).one()
    assert renewed.startswith("bcrypt:$2b$10$")
    assert epoch == signed_in.sign_in_epoch


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("", "empty"),
        ("brief", "at least 12"),
        ("é" * 5 + "x" * 6, "at least 12"),
        ("e\u0301" * 6, "at least 12"),  # six letters in twelve code points
        (" " * 12, "blank"),
        ("\t\n " * 4, "blank"),
        ("a" * 20, "one character"),
        ("carolina jones", "the name or the address"),
        ("Carolina.Jones@Example.org", "the name or the address"),
        ("carolina.jones", "the name or the address"),
        (" CAROLINA-JONES ", "the name or the address"),
        ("x1" * 37, "at most 72"),
        ("a \ud800 password of mine", "surrogate"),
    ],
)
def test_a_new_password_has_to_be_acceptable(db, password, said):
    person = {"username": "carolina-jones", "email": "carolina.jones@example.org", "full_name": "Carolina Jones"}
    with pytest.raises(InvalidInput, match=said) as caught, db.session(actor="root") as session:
        accounts.create_user(session, **person, password=password)
    assert (caught.value.field, caught.value.value) == ("password", None)
    assert not password or password not in str(caught.value)
    with db.session(actor="root") as session:
        carolina = accounts.create_user(session, **person)
    with pytest.raises(InvalidInput, match=said), db.session(actor="root") as session:
        accounts.change_password(session, carolina, password)


def test_the_shortest_password_is_a_setting_and_earlier_ones_stay(db, owner_url, speech_server):
    settings = Settings(_env_file=None, database_url="postgresql://o:p@h/d", password_min_length=8)
    with speech_server.database(owner_url, settings=settings) as lenient, lenient.session(actor="root") as session:
        accounts.create_user(session, username="carol", password="8 letter")
    assert sign_in(db, "carol", "8 letter")  # where 12 are required by now
    with pytest.raises(InvalidInput, match="at least 12"), db.session(actor="root") as session:
        accounts.create_user(session, username="dora", password="8 letter")
