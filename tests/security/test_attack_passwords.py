"""Attack cases 41-44: valid passwords, damaged hashes, and what sign-in reveals.

The numbers are those of the list of attack cases. Cases covered by other files are referenced, not repeated.
"""

from __future__ import annotations

import threading
import unicodedata

import bcrypt
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from src.database import Database
from src.database.connection.actor_tokens import Actor
from src.errors import InvalidInput, SignInFailed, SpeechError
from src.services import accounts, activity, passwords
from tests.security.population import core

COST = 4  # of test hashes; the tests do not depend on it
WORDS = "Unknown user name, wrong password, or too many failed attempts; wait and try again."


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(accounts, "DEFAULT_COST", COST)


@pytest.mark.parametrize(
    ("password", "usable"),
    [
        ("x" * 72, True), ("x" * 73, False), ("é" * 36, True), ("é" * 37, False), ("😀" * 18, True), ("😀" * 19, False),
        ("", False), (" ", True), ("\t\n", True), ("a\0b", True), ("\ud800", False), ("\ufdfa" * 4, False), ("ſ", True),
    ],
    ids=ascii,
)  # fmt: skip
def test_case_41_every_byte_of_a_password_counts_or_it_is_rejected(password, usable):
    """72/73 bytes, 36/37 two-byte characters, NUL, empty, white space, emoji, texts that grow by normalisation."""
    if not usable:
        with pytest.raises(InvalidInput, match="password"):
            passwords.hash_password(password, cost=COST)
        assert passwords.verify(password, passwords.hash_password("other", cost=COST), cost=COST) is False
        return
    stored = passwords.hash_password(password, cost=COST)
    assert passwords.verify(password, stored, cost=COST)
    for other in (
        password[:-1],
        password + "x",
        password.replace("\0", ""),
        password.strip(),
        password.swapcase() + " ",
    ):
        if other != password:
            assert passwords.verify(other, stored, cost=COST) is False, ascii(other)


@pytest.mark.parametrize("password", ["Pa$$wörd", "ﬁnal Å", "한국어"])
def test_case_41_composed_and_decomposed_forms_are_the_same_password(password):
    forms = [unicodedata.normalize(form, password) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    assert len(set(forms)) > 1
    stored = passwords.hash_password(forms[0], cost=COST)
    assert all(passwords.verify(form, stored, cost=COST) for form in forms)


# A fixed salt, so that every process that collects the tests gives them the same names.
RIGHT = "bcrypt:" + bcrypt.hashpw(b"right", f"$2b${COST:02}$".encode() + b"abcdefghijklmnopqrstuu").decode()
BARE = RIGHT.removeprefix("bcrypt:")
DAMAGED = {
    "NULL": None,
    "empty": "",
    "truncated": RIGHT[:-1],
    "only the salt": RIGHT[:36],
    "2a": RIGHT.replace("$2b$", "$2a$"),
    "2y": RIGHT.replace("$2b$", "$2y$"),
    "2x": RIGHT.replace("$2b$", "$2x$"),
    "cost 31": RIGHT.replace(f"${COST:02}$", "$31$"),
    "cost 3": RIGHT.replace(f"${COST:02}$", "$03$"),
    "cost 99": RIGHT.replace(f"${COST:02}$", "$99$"),
    "argon2": "argon2:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
    "argon2 under our scheme": "bcrypt:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
    "trailing bytes": RIGHT + "x",
    "trailing newline": RIGHT + "\n",
    "not ASCII": RIGHT[:-1] + "é",
    "twice the scheme": "bcrypt:" + RIGHT,
    "plain text": "right",
    "another scheme's name": RIGHT.replace("bcrypt:", "BCRYPT:"),
}


@pytest.mark.parametrize("stored", DAMAGED.values(), ids=DAMAGED)
def test_case_42_a_damaged_hash_matches_no_password_and_costs_the_same(stored, monkeypatch):
    """Returns False for every password, without an error, after one hash of the configured cost."""
    worked = []
    check = bcrypt.checkpw

    def spy(password, hashed):
        worked.append(hashed[:7])
        assert hashed[:7] == f"$2b${COST:02}$".encode(), "a cost that is not configured"
        return check(password, hashed)

    monkeypatch.setattr(passwords.bcrypt, "checkpw", spy)
    for password in ("right", "", "x" * 100, "a password of no user", str(stored)):
        worked.clear()
        assert passwords.verify(password, stored, cost=COST) is False
        assert len(worked) == 1


@pytest.mark.parametrize("stored", [None, "", RIGHT[:-1], DAMAGED["cost 31"], DAMAGED["argon2"]], ids=repr)
def test_case_42_sign_in_with_a_damaged_hash_fails_like_a_wrong_password(lasting, stored):
    with lasting.owner.begin() as connection:
        connection.execute(text("DELETE FROM login_throttles"))
        connection.execute(text("UPDATE users SET password_hash = :h WHERE username = 'alice'"), {"h": stored})
    with pytest.raises(SignInFailed) as caught, lasting.db.session() as session:
        accounts.authenticate(session, "alice", "right")
    assert str(caught.value) == WORDS


@pytest.fixture
def dana(populated):
    with populated.owner.begin() as connection:
        connection.execute(
            text("UPDATE users SET password_hash = :h WHERE username IN ('bob', 'dormant')"), {"h": RIGHT}
        )
    return populated


ATTEMPTS = {"known": ("bob", "wrong"), "unknown": ("nobody-here", "wrong"), "disabled": ("dormant", "right"),
            "without a password": ("transcriber", ""), "too long": ("bob", "x" * 500), "no name": ("", ""),
            "invalid name": ("a|b\n", "x")}  # fmt: skip


def test_case_43_known_unknown_and_disabled_users_cost_the_same_and_get_the_same_message(dana, monkeypatch):
    """Counts the hashes and their cost, which determine the duration, instead of measuring time."""
    work, words = {}, set()
    check = bcrypt.checkpw

    def spy(password, hashed):
        work[name].append(bytes(hashed[:7]))
        return check(password, hashed)

    monkeypatch.setattr(passwords.bcrypt, "checkpw", spy)
    for name, (user, password) in ATTEMPTS.items():
        work[name] = []
        with pytest.raises(SignInFailed) as caught, dana.db.session() as session:
            accounts.authenticate(session, user, password)
        words.add(str(caught.value))
    assert work == {name: [f"$2b${COST:02}$".encode()] for name in ATTEMPTS}
    assert words == {WORDS}


def test_case_43_concurrent_sign_ins_that_renew_the_hash_all_succeed(dana, monkeypatch):
    monkeypatch.setattr(accounts, "DEFAULT_COST", COST + 1)
    barrier, signed_in, errors = threading.Barrier(4), [], []

    def sign_in():
        try:
            with dana.db.session() as session:
                barrier.wait(20)
                signed_in.append(accounts.authenticate(session, "bob", "right").username)
        except SpeechError as error:
            errors.append(error)

    threads = [threading.Thread(target=sign_in) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (signed_in, errors) == (["bob"] * 4, [])
    with dana.owner.connect() as connection:
        renewed = connection.scalar(text("SELECT password_hash FROM users WHERE username = 'bob'"))
    assert renewed.startswith(f"bcrypt:$2b${COST + 1:02}$")
    assert passwords.verify("right", renewed, cost=COST + 1)


@pytest.fixture
def read_only(dana):
    """A database that rejects writes, like a server whose disk became read-only."""
    with Database(
        dana.db.engine.url, signing_key=dana.db.signing_key, admin_url=dana.db.admin_engine.url, storage=dana.db.storage
    ) as db:
        for engine in (db.engine, db.side_engine):
            # The default of the database does not apply: every transaction begins with READ WRITE.
            event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("SET TRANSACTION READ ONLY") and None)
        yield db


def test_case_43_a_read_only_database_rejects_sign_in_without_revealing_secrets(read_only):
    """A sign-in that cannot be logged is rejected."""
    with pytest.raises((SpeechError, DBAPIError)) as caught, read_only.session() as session:
        accounts.authenticate(session, "bob", "right")
    assert "read-only" in str(caught.value)
    for secret in (RIGHT, BARE, "right'", "|login|"):
        assert secret not in str(caught.value)


def test_case_43_a_read_only_database_raises_our_own_error(read_only):
    with pytest.raises(SpeechError), read_only.session() as session:
        accounts.authenticate(session, "bob", "right")


def test_case_44_every_failure_is_logged_without_the_wrong_part(dana):
    """The delays after five failures: tests/services/test_accounts.py."""
    secret = "a password that was tried"
    answers = set()
    for user in ("bob", "nobody-here", "dormant", secret) * 3:
        with pytest.raises(SignInFailed) as caught, dana.db.session() as session:
            accounts.authenticate(session, user, secret)
        error = caught.value
        while error is not None:
            assert secret not in str(error)
            error = error.__cause__ or error.__context__
        answers.add((type(caught.value), str(caught.value)))
    assert answers == {(SignInFailed, WORDS)}
    with dana.db.session(actor="root") as session:
        failed = activity.feed(session, type="login.failed")
    assert [entry.actor for entry in failed] == ["bob", "(unknown)", "dormant", "(unknown)"] * 3
    with dana.owner.connect() as connection:
        history = connection.scalar(text("SELECT string_agg(l::text, '|') FROM activity_logs l"))
    assert secret not in history
    assert "nobody-here" not in history


def test_case_44_a_rejected_password_is_in_no_error_and_in_no_log(dana, caplog):
    long = "correct horse battery staple " * 3
    with caplog.at_level("DEBUG"):
        for change in (
            lambda s: accounts.change_password(s, accounts.find_user(s, "bob"), long, current="right"),
            lambda s: accounts.change_password(s, accounts.find_user(s, "bob"), "the next one", current=long),
            lambda s: accounts.change_password(s, accounts.find_user(s, "alice"), long[:60]),
            lambda s: accounts.create_user(s, username="x", password=long),
        ):
            with pytest.raises(SpeechError) as caught, dana.db.session(actor="bob") as session:
                change(session)
            assert "correct horse" not in str(caught.value) + str(caught.value.__cause__)
    assert "correct horse" not in caplog.text
    with core(dana.db, Actor("root")) as connection:
        assert "correct horse" not in str(connection.scalars(text("SELECT new FROM activity_logs")).all())
