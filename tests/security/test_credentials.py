"""Password hashes and signing keys: sessions cannot read them, models do not load them, nothing prints them."""

from __future__ import annotations

import hashlib

import pytest
from psycopg2 import Error as DriverError
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from src.database import User
from src.database.connection.actor_tokens import Actor
from src.errors import Forbidden
from tests.security.population import core, send_credential, token_for

HASH = "bcrypt:secret-of-bob"


@pytest.mark.parametrize("role", ["sti_app", "sti_wide", "sti_admin", "NONE"])
@pytest.mark.parametrize("actor", ["alice", "bob", "root"])
def test_no_role_can_select_a_password_hash(shared, actor, role):
    queries = (
        "SELECT password_hash FROM users",
        "SELECT * FROM users",
        "SELECT u FROM users u",
        "SELECT to_jsonb(u) FROM users u",
        "SELECT 1 FROM users WHERE password_hash LIKE 'bcrypt%'",
        "SELECT id FROM users ORDER BY password_hash",
        "UPDATE users SET full_name = password_hash",
        "UPDATE users SET full_name = 'x' RETURNING password_hash",
        "COPY users TO STDOUT",
        "COPY users (password_hash) TO STDOUT",
        "SELECT count(password_hash) FROM users",
        "TABLE users",
    )
    with core(shared.db, Actor(actor), role) as connection:
        for query in queries:
            with pytest.raises(DBAPIError) as caught, connection.begin_nested():
                connection.execute(text(query))
            assert caught.value.orig.pgcode == "42501", (query, caught.value)


def test_the_model_does_not_load_the_password_hash(shared):
    with shared.db.session(actor="root") as session:
        user = session.scalars(select(User).where(User.username == "bob")).one()
        assert "password_hash" not in vars(user)
        assert not hasattr(user, "password_hash")
        assert HASH not in repr(user) + str(user) + str(vars(user))


def test_a_credential_needs_a_login_token(shared):
    with core(shared.db, Actor("alice")) as connection:
        for wrong in (
            None,
            "",
            "bob",
            token_for(shared.db, connection, "session", "bob"),
            token_for(shared.db, connection, "password", "bob"),
            connection.scalar(text("SELECT current_setting('sti.actor')")),
        ):
            assert connection.execute(text("SELECT * FROM credential(:t)"), {"t": wrong}).all() == []
        right = token_for(shared.db, connection, "login", "BOB")
        assert connection.execute(text("SELECT password_hash FROM credential(:t)"), {"t": right}).scalar_one() == HASH


@pytest.mark.parametrize("subject", ["bob", " bob", "0" * 64 + " bob", "0" * 64 + "bob", ""])
@pytest.mark.parametrize("purpose", ["password", "login", "session"])
def test_a_password_change_needs_a_matching_proof(unchanged, purpose, subject):
    refused = pytest.raises(DriverError, match="the token does not allow this actor")
    with refused, core(unchanged.db, Actor("bob")) as connection:
        send_credential(connection, token_for(unchanged.db, connection, purpose, subject), "bcrypt:mine")


def digest_of(text):
    return hashlib.sha256(text.encode()).hexdigest()


def proof_for(db, connection, name, new):
    return token_for(db, connection, "password", f"{digest_of(new)} {name}")


def test_a_proof_does_not_change_the_password_of_another_user(populated):
    for actor, name, allowed in (
        ("alice", "bob", False),
        (None, "bob", False),
        ("bob", "bob", True),
        ("root", "alice", True),
    ):
        with core(populated.db, Actor(actor)) as connection:
            proof = proof_for(populated.db, connection, name, "bcrypt:mine")
            if allowed:
                send_credential(connection, proof, "bcrypt:mine")
            else:
                with pytest.raises(DriverError):
                    send_credential(connection, proof, "bcrypt:mine")
                connection.get_transaction().rollback()
    with populated.owner.connect() as connection:
        rows = connection.execute(text("SELECT username, password_hash FROM users"))
        stored = {row.username: row.password_hash for row in rows}
    assert stored["bob"] == stored["alice"] == "bcrypt:mine"
    assert stored["root"] == "bcrypt:secret-of-root"


def test_recording_a_login_needs_a_token_and_does_not_change_the_actor(populated):
    with pytest.raises(Forbidden), populated.db.session(actor="alice") as session:
        session.execute(text("SELECT record_login('x', NULL)"))
    with core(populated.db, Actor("alice")) as connection:
        proof = token_for(populated.db, connection, "outcome", f"succeeded {digest_of('')} bob")
        send_credential(connection, proof, None)
        assert connection.scalar(text("SELECT actor_name()")) == "alice"
        assert connection.scalar(text("SELECT count(*) FROM cases")) == 1
    with populated.owner.connect() as connection:
        last = connection.scalar(text("SELECT last_login FROM users WHERE username = 'bob'"))
    assert last is not None


def test_a_rejected_token_is_in_no_error_message(shared, caplog):
    with pytest.raises(DriverError) as caught, core(shared.db, Actor("alice")) as connection:
        proof = token_for(shared.db, connection, "session", "bob")
        send_credential(connection, proof, HASH)
    assert proof not in str(caught.value)
    assert HASH not in str(caught.value)
    assert proof not in caplog.text
