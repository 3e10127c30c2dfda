"""Forged, stolen and expired tokens and proofs are rejected."""

from __future__ import annotations

import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import func, select, text

from src.database import Case
from src.database.connection.actor_tokens import Actor, SigningKey
from src.errors import NotSignedIn
from tests.security.population import backend_of, core, one_connection, token_for

BEGIN = text("SELECT actor, database_role FROM public.begin_actor(:token, NULL, NULL)")
ACTOR = text("SELECT current_setting('sti.actor')")


def forge(db, connection, *, purpose="session", subject="alice", **changes):
    return token_for(db, connection, purpose, subject, **changes)


def actor_of(connection, token):
    """Return the user id that the database accepts for this token, after checking the visible rows."""
    actor, role = connection.execute(BEGIN, {"token": token}).one()
    visible = connection.scalar(text("SELECT count(*) FROM cases"))
    assert connection.scalar(select(func.public.actor_id())) == actor
    assert role == "sti_app"
    assert visible == (0 if actor is None else 1)
    return actor


def test_a_valid_token_is_accepted(shared):
    with core(shared.db, Actor()) as connection:
        assert actor_of(connection, forge(shared.db, connection)) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": "login"},
        {"purpose": "password"},
        {"purpose": ""},
        {"pid": 1},
        {"started": 1},
        {"started": -1},
        {"started": -(10**15)},
        {"key": SigningKey.generate(1)},
        {"key": SigningKey.generate(2)},
        {"key": SigningKey.generate(10**19)},
        {"key": SigningKey.generate(-1)},
        {"subject": "ALICE "},
        {"subject": "dormant"},
    ],
    ids=str,
)
def test_a_token_for_another_purpose_backend_time_or_key_is_rejected(shared, changes):
    with core(shared.db, Actor()) as connection:
        assert actor_of(connection, forge(shared.db, connection, **changes)) is None


def spliced(parts):
    return "|".join([*parts[:5], "bob"])


TAMPERINGS = {
    "first byte of the signature": lambda p: "|".join([chr(ord(p[0][0]) ^ 1) + p[0][1:], *p[1:]]),
    "last byte of the signature": lambda p: "|".join([p[0][:-1] + chr(ord(p[0][-1]) ^ 1), *p[1:]]),
    "upper case signature": lambda p: "|".join([p[0].upper(), *p[1:]]),
    "no signature": lambda p: "|".join(["", *p[1:]]),
    "spliced user": spliced,
    "later start": lambda p: "|".join([*p[:3], str(int(p[3]) + 1), *p[4:]]),
    "two parts": lambda p: "|".join(p[:2]),
    "four parts": lambda p: "|".join(p[:4]),
    "five parts": lambda p: "|".join(p[:5]),
    "seven parts": lambda p: "|".join([*p, "bob"]),
    "unicode digits in the key": lambda p: "|".join([p[0], "١", *p[2:]]),
    "unicode digits in the pid": lambda p: "|".join([*p[:2], "١٢٣", *p[3:]]),
    "huge": lambda p: "|".join(p) + "x" * 1_000_000,
    "huge key number": lambda p: "|".join([p[0], "9" * 400, *p[2:]]),
    "newline": lambda p: "|".join([p[0], f"{p[1]}\n", *p[2:]]),
    "empty": lambda _: "",
    "separators": lambda _: "|||||",
    "null": lambda _: None,
}


@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_tampered_token_is_rejected(shared, tamper):
    with core(shared.db, Actor()) as connection:
        token = forge(shared.db, connection)
        assert actor_of(connection, tamper(token.split("|"))) is None


@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_tampered_proof_inside_a_session_revokes_access(shared, tamper):
    with shared.db.session(actor="alice") as session:
        parts = session.scalar(ACTOR).split("|")
        # The signature is the last part of a proof; the tamperings expect it first.
        swapped = tamper([parts[-1], *parts[:-1]])
        forged = None if swapped is None else "|".join([*swapped.split("|")[1:], swapped.split("|")[0]])
        session.execute(select(func.set_config("sti.actor", forged, True)))
        assert session.scalar(select(func.public.actor_id())) is None
        assert session.scalars(select(Case)).all() == []


@pytest.mark.parametrize("position", range(6))
def test_every_part_of_a_proof_is_signed_or_checked(shared, position):
    with shared.db.session(actor="alice") as session:
        parts = session.scalar(ACTOR).split("|")
        bob = session.scalar(text("SELECT id::text FROM users WHERE username = 'bob'"))
        changed = bob if position == 0 else str(int(parts[position], 16) + 1)
        session.execute(
            select(func.set_config("sti.actor", "|".join([*parts[:position], changed, *parts[position + 1 :]]), True))
        )
        assert session.scalar(text("SELECT count(*) FROM cases")) == 0
        session.execute(select(func.set_config("sti.actor", "|".join(parts), True)))
        assert session.scalar(text("SELECT count(*) FROM cases")) == 1, "the unchanged proof is still valid"


def test_a_proof_of_another_backend_is_rejected(shared):
    with shared.db.session(actor="bob") as other:
        proof = other.scalar(ACTOR)
        with shared.db.session(actor="alice") as session:
            assert backend_of(session) != backend_of(other)
            session.execute(select(func.set_config("sti.actor", proof, True)))
            assert session.scalar(text("SELECT count(*) FROM cases")) == 0


def test_a_session_token_of_another_backend_is_rejected(shared):
    """Replays the token that pg_stat_activity shows of another backend of the same login."""
    with shared.db.session(actor="bob") as other, core(shared.db, Actor()) as connection:
        stolen = forge(shared.db, other, subject="bob")
        assert actor_of(connection, stolen) is None


@pytest.mark.parametrize("local", [True, False])
def test_a_proof_of_an_earlier_transaction_of_the_backend_is_rejected(populated, local):
    with one_connection(populated.db) as single:
        with single.session(actor="bob") as session:
            pid, proof = backend_of(session), session.scalar(ACTOR)
        with single.session(actor="alice") as session:
            assert backend_of(session) == pid
            session.execute(select(func.set_config("sti.actor", proof, local)))
            assert session.scalar(text("SELECT count(*) FROM cases")) == 0
        with single.session() as session:
            assert backend_of(session) == pid
            assert session.scalar(text("SELECT count(*) FROM cases")) == 0


def test_a_token_of_a_retired_key_is_rejected(populated):
    with populated.owner.begin() as connection:
        connection.execute(text("UPDATE actor_keys SET retired_at = now() - interval '1 s'"))
    with pytest.raises(NotSignedIn, match="does not know the signing key 1"), populated.db.session(actor="alice"):
        pass
    with populated.db.session(actor="alice", required=False) as session:
        assert session.scalar(select(func.public.actor_id())) is None
        assert session.scalars(select(Case)).all() == []


def test_two_keys_are_valid_during_rotation(populated):
    second = SigningKey.generate(2)
    with populated.owner.begin() as connection:
        connection.execute(
            text("INSERT INTO actor_keys (id, inner_pad, outer_pad) VALUES (2, :inner, :outer)"),
            {"inner": second.inner_pad, "outer": second.outer_pad},
        )
    with core(populated.db, Actor()) as connection:
        assert actor_of(connection, forge(populated.db, connection)) is not None
        assert actor_of(connection, forge(populated.db, connection, key=second)) is not None


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "COMMIT; BEGIN", "ROLLBACK; BEGIN"])
def test_ending_the_transaction_with_raw_sql_removes_the_actor(shared, statement):
    with core(shared.db, Actor("alice")) as connection:
        cursor = connection.connection.dbapi_connection.cursor()
        cursor.execute(statement)
        with pytest.raises(InsufficientPrivilege):
            cursor.execute("SELECT count(*) FROM public.cases")
        cursor.execute("ROLLBACK; BEGIN; SET LOCAL ROLE sti_app; SELECT public.actor_id(), count(*) FROM public.cases")
        assert cursor.fetchone() == (None, 0)


def test_a_savepoint_rollback_restores_the_actor(shared):
    with shared.db.session(actor="alice") as session:
        with session.begin_nested() as inner:
            session.execute(select(func.set_config("sti.actor", "", True)))
            assert session.scalar(text("SELECT count(*) FROM cases")) == 0
            inner.rollback()
        assert session.scalar(text("SELECT count(*) FROM cases")) == 1
