"""The stored sets of cases: always equal to the participations, after any change by any session."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import func, select, text

from src.database import Case
from src.database.connection.actor_tokens import Actor
from src.database.provisioning.apply import apply
from src.database.provisioning.comparison import compare
from src.errors import ServerUnreachable
from tests.security.population import core

NUMBER_OF_CASES = 30
EXPECTED = text("""
    SELECT p.case_id FROM case_participants p JOIN users u ON u.id = p.user_id
     WHERE u.username = :name AND (p.expires_at IS NULL OR p.expires_at > clock_timestamp())
       AND (p.permissions -> 'deny') IS NULL ORDER BY 1
""")
_OF_USER = "FROM users u WHERE u.id = p.user_id AND u.username = :name AND p.role <> 'owner'"
_ONE = f"{_OF_USER} AND p.case_id = :case"
CHANGES = (
    """INSERT INTO case_participants (case_id, user_id, role) SELECT c.id, u.id, 'viewer' FROM users u, cases c
        WHERE u.username = :name AND c.id = :case ON CONFLICT (case_id, user_id) DO NOTHING""",
    """INSERT INTO case_participants (case_id, user_id, role) SELECT c.id, u.id, 'viewer' FROM users u, cases c
        WHERE u.username = :name AND c.id > :case ON CONFLICT (case_id, user_id) DO NOTHING""",
    f"DELETE FROM case_participants p {_ONE}".replace("FROM users", "USING users"),
    f"DELETE FROM case_participants p {_OF_USER} AND p.case_id > :case".replace("FROM users", "USING users"),
    f"UPDATE case_participants p SET permissions = jsonb_build_object('deny', jsonb_build_array('read')) {_ONE}",
    f"UPDATE case_participants p SET permissions = jsonb_build_object() {_OF_USER}",
    f"UPDATE case_participants p SET expires_at = clock_timestamp() + interval '1 hour' {_ONE}",
    f"UPDATE case_participants p SET expires_at = clock_timestamp() - interval '1 hour' {_ONE}",
    "DELETE FROM cases WHERE id = :case AND id > 20",
)


@pytest.fixture
def with_cases(db, owner):
    with owner.begin() as connection:
        connection.execute(
            text("INSERT INTO cases (title, opened_by_id) SELECT 'n', u.id FROM users u, generate_series(1, :n)"
                 " WHERE u.username = 'bob'"), {"n": NUMBER_OF_CASES}
        )  # fmt: skip
    return db


def visible(connection) -> list[int]:
    ids = sorted(connection.scalar(select(func.public.actor_case_ids())))
    flagged = connection.scalars(
        text("SELECT n FROM (SELECT actor_case_flags() AS f) x, generate_subscripts(f, 1) n WHERE f[n] ORDER BY n")
    ).all()
    assert flagged == ids
    assert sorted(connection.scalars(select(Case.id))) == ids
    return ids


def test_a_stored_set_equals_the_participations(with_cases, owner):
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    for _ in range(60):
        name = rng.choice(("alice", "alice", "bob"))
        change = {"name": name, "case": rng.randint(1, NUMBER_OF_CASES)}
        with core(with_cases, Actor(name)) as connection, owner.connect() as changing:
            before = visible(connection)
            changing.execute(text(rng.choice(CHANGES)), change)
            # Not committed: this session sees no change yet.
            assert visible(connection) == before, seed
            changing.commit()
            expected = changing.scalars(EXPECTED, change).all()
            changing.rollback()
            # Committed: an open transaction sees it in its next statement.
            assert visible(connection) == expected, seed
        with core(with_cases, Actor(name)) as connection:
            assert visible(connection) == expected, seed
        with owner.connect() as connection:
            assert connection.scalars(text("SELECT wrong_case_accesses()")).all() == [], seed


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_no_actor_acts_on_an_old_snapshot(with_cases, isolation):
    """Rights that were withdrawn meanwhile would still be seen as they were."""
    engine = with_cases.engine.execution_options(isolation_level=isolation, actor=Actor("alice"))
    with pytest.raises(ServerUnreachable, match=f"are READ COMMITTED, not {isolation}"):
        engine.connect().begin()


def test_a_participation_that_expires_ends_although_the_set_is_stored(with_cases, owner):
    with owner.begin() as connection:
        connection.execute(
            text("INSERT INTO case_participants (case_id, user_id, role, expires_at) SELECT c.id, u.id, 'viewer',"
                 " CASE WHEN c.id = 1 THEN clock_timestamp() + interval '0.3 s' END FROM cases c, users u"
                 " WHERE u.username = 'alice'")
        )  # fmt: skip
    with core(with_cases, Actor("alice")) as connection:
        assert len(visible(connection)) == NUMBER_OF_CASES
        with owner.connect() as clock:
            clock.execute(text("SELECT pg_sleep_until(min(expires_at)) FROM case_participants"))
        assert visible(connection) == list(range(2, NUMBER_OF_CASES + 1))


def test_a_participation_that_ends_while_the_set_is_computed_ends(with_cases, owner):
    """Computing a large set takes milliseconds, and its member chooses the moment."""
    with owner.begin() as connection:
        alice = connection.scalar(text("SELECT id FROM users WHERE username = 'alice'"))
        connection.execute(
            text("INSERT INTO case_participants (case_id, user_id, role, expires_at)"
                 " VALUES (1, :id, 'viewer', clock_timestamp() + interval '200 ms')"), {"id": alice}
        )  # fmt: skip
        # The set as it is now, returned when the participation has ended.
        connection.execute(
            text("CREATE OR REPLACE FUNCTION participant_case_ids(user_id bigint) RETURNS integer[]"
                 " LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$ BEGIN"
                 " PERFORM pg_sleep_until((SELECT max(expires_at) FROM public.case_participants));"
                 " RETURN '{1}'; END $$")
        )  # fmt: skip
        connection.execute(text("SELECT store_case_access(:id, 1)"), {"id": alice})
        stored = connection.execute(
            text("SELECT case_ids, valid_until < clock_timestamp() FROM case_accesses WHERE user_id = :id"),
            {"id": alice},
        ).one()
    assert stored == ([1], True)


def test_changes_of_the_own_transaction_count_at_once_and_a_rollback_undoes_them(with_cases, owner):
    with with_cases.session(actor="bob") as session:
        assert len(session.scalars(select(Case)).all()) == NUMBER_OF_CASES
        with session.begin_nested() as inner:
            session.execute(text("INSERT INTO cases (title) VALUES ('a'), ('b') RETURNING id"))
            assert len(session.scalars(select(Case)).all()) == NUMBER_OF_CASES + 2
            inner.rollback()
        assert len(session.scalars(select(Case)).all()) == NUMBER_OF_CASES
        session.execute(text("INSERT INTO cases (title) VALUES ('kept')"))
    with with_cases.session(actor="bob") as session:
        assert len(session.scalars(select(Case)).all()) == NUMBER_OF_CASES + 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE case_accesses SET flags = array_fill(true, ARRAY[30]), case_ids = ARRAY(SELECT generate_series(1, 30))",
        "UPDATE case_accesses SET case_ids = '{}'",
        "DELETE FROM case_accesses",
        """ALTER TABLE case_participants DISABLE TRIGGER note_access;
           DELETE FROM case_participants p USING users u WHERE u.id = p.user_id AND u.username = 'carol';
           ALTER TABLE case_participants ENABLE ALWAYS TRIGGER note_access""",
        """UPDATE case_participants p SET expires_at = clock_timestamp() + interval '1 h'
             FROM users u WHERE u.id = p.user_id AND u.username = 'carol';
           DELETE FROM case_access_changes""",
    ],
)
def test_a_wrong_set_of_cases_is_reported_and_repaired(with_cases, owner, damage):
    with owner.begin() as connection:
        connection.execute(text("INSERT INTO users (username) VALUES ('carol')"))
        connection.execute(
            text("INSERT INTO case_participants (case_id, user_id, role) SELECT c.id, u.id, 'viewer'"
                 " FROM cases c, users u WHERE u.username = 'carol' AND c.id < 25")
        )  # fmt: skip
    with core(with_cases, Actor("carol")) as connection:
        assert len(visible(connection)) == 24
    with owner.begin() as connection:
        connection.exec_driver_sql(damage)
    with owner.connect() as connection:
        assert any("the stored sets of cases differ" in str(one) for one in compare(connection))
    assert apply(owner) == []
    with core(with_cases, Actor("carol")) as connection, owner.connect() as changing:
        assert visible(connection) == changing.scalars(EXPECTED, {"name": "carol"}).all()


def test_a_set_of_another_cluster_is_not_used(with_cases, owner):
    with core(with_cases, Actor("bob")):
        pass
    with owner.begin() as connection:
        connection.execute(text("UPDATE case_accesses SET cluster = 1, flags = array_fill(true, ARRAY[99])"))
    with core(with_cases, Actor("alice")) as connection:
        assert visible(connection) == []
    with core(with_cases, Actor("bob")) as connection:
        assert len(visible(connection)) == NUMBER_OF_CASES


def test_a_transaction_that_keeps_the_set_locked_holds_up_nobody(with_cases, owner):
    with owner.begin() as connection:
        connection.execute(
            text("INSERT INTO case_participants (case_id, user_id, role) SELECT c.id, u.id, 'viewer'"
                 " FROM cases c, users u WHERE u.username = 'alice'")
        )  # fmt: skip
    with core(with_cases, Actor("alice")) as first:
        assert len(visible(first)) == NUMBER_OF_CASES
        with core(with_cases, Actor("alice")) as second:
            second.execute(text("SET LOCAL statement_timeout = '10s'"))
            assert len(visible(second)) == NUMBER_OF_CASES
