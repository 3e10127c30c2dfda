"""One connection, many actors: nothing that a session leaves behind affects the next one."""

from __future__ import annotations

import threading

import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from src.database import ActivityLog, Base, Case, CaseNote, User
from src.database.connection import actor_transaction
from src.database.connection.actor_tokens import Actor
from src.errors import SpeechError
from tests.security.population import ALL_TABLES, CASE_TABLES, backend_of, core, one_connection

TITLES = {"alice": ["Case of alice"], "bob": ["Case of bob"], None: [], "mallory": []}


@pytest.fixture
def single(populated):
    with one_connection(populated.db) as database:
        yield database


@pytest.fixture
def reused(lasting):
    with one_connection(lasting.db) as database:
        yield database


def titles(session):
    return session.scalars(text("SELECT title FROM public.cases")).all()


def look(single, name):
    with single.session(actor=name, required=False) as session:
        return backend_of(session), titles(session)


def fail_in_python(session):
    raise ZeroDivisionError


def fail_in_sql(session):
    session.execute(text("SELECT 1 / 0"))


def fail_after_savepoint(session):
    with session.begin_nested() as inner:
        session.execute(text("UPDATE cases SET title = 'inner'"))
        inner.rollback()
    session.execute(text("INSERT INTO cases (title) VALUES ('')"))


@pytest.mark.parametrize("failure", [None, fail_in_python, fail_in_sql, fail_after_savepoint])
def test_alice_bob_and_no_actor_in_turn_on_one_backend(single, failure):
    backends = set()
    for name in ("alice", "bob", None, "alice", "mallory", "bob"):
        if failure is not None:
            with (
                pytest.raises((ZeroDivisionError, DBAPIError, SpeechError)),
                single.session(actor=name, required=False) as session,
            ):
                backends.add(backend_of(session))
                failure(session)
        pid, seen = look(single, name)
        backends.add(pid)
        assert seen == TITLES[name], name
    assert len(backends) == 1


def test_a_session_left_in_a_savepoint_or_a_generator_leaves_nothing(single):
    with single.session(actor="alice") as session:
        session.begin_nested()
        assert titles(session) == TITLES["alice"]
    abandoned = single.session(actor="alice")
    titles(abandoned.__enter__())
    abandoned.__exit__(None, None, None)
    assert look(single, "bob")[1] == TITLES["bob"]
    assert look(single, None)[1] == TITLES[None]


def test_temporary_tables_do_not_shadow_ours(populated, single, monkeypatch):
    with single.session(actor="alice") as session:
        pid = backend_of(session)
    # Left behind on a connection that was not reset: the worst case for the next actor.
    held = single.engine.raw_connection()
    assert held.info["backend_pid"] == pid
    with held.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE sti_app")
        for table in ALL_TABLES:
            columns = ", ".join(f"{column.name} text" for column in Base.metadata.tables[table].columns)
            cursor.execute(f"CREATE TEMP TABLE {table} ({columns})")
            cursor.execute(f"GRANT ALL ON pg_temp.{table} TO PUBLIC")
    held.commit()
    held.close()
    monkeypatch.setattr(actor_transaction, "_RESET", actor_transaction._RESET.replace("DISCARD TEMP;", ""))
    with single.session(actor="bob") as session:
        assert backend_of(session) == pid
        assert session.scalars(select(Case.title)).all() == TITLES["bob"]
        assert session.scalars(select(User.username).where(User.username == "bob")).all() == ["bob"]
        case = Case(title="Into the real table")
        session.add(case)
        session.flush()
        session.add(CaseNote(case_id=case.id, body="and this"))
        session.execute(text("UPDATE cases SET description = 'x'"))
        number = case.id
        assert session.scalar(text("SELECT count(*) FROM activity_logs WHERE entity = 'case_notes'")) > 0
        assert session.scalar(select(func.public.actor_name())) == "bob"
        for table in ALL_TABLES:
            assert session.scalar(text("SELECT to_regclass(:t)::oid = to_regclass('public.' || :t)::oid"), {"t": table})
            assert session.scalar(text(f"SELECT count(*) FROM pg_temp.{table}")) == 0, table
    with populated.owner.connect() as connection:
        written = connection.execute(
            text("SELECT entity, operation, actor FROM activity_logs WHERE case_id = :case ORDER BY id"),
            {"case": number},
        ).all()
    assert ("cases", "insert", "bob") in written
    assert ("case_participants", "insert", "bob") in written
    assert ("case_notes", "insert", "bob") in written
    assert ("cases", "update", "bob") in written


LEFTOVERS = (
    "SET search_path = pg_temp, public",
    "SET ROLE sti_wide",
    "SET ROLE NONE",
    "SET statement_timeout = '1ms'",
    "SET idle_in_transaction_session_timeout = '2s'",
    "SET row_security = off",
    "SET sti.actor = 'x'",
    "SET sti.reason = 'alices reason'",
    "SET sti.request = 'alices request'",
    "SET TimeZone = 'Asia/Kathmandu'",
    "SET DateStyle = 'German'",
    "SET standard_conforming_strings = off",
    "SET default_transaction_isolation = 'serializable'",
    "SET check_function_bodies = off",
    "SET lock_timeout = '1ms'",
    "SET transform_null_equals = on",
    "SET client_min_messages = error",
)


@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_settings_left_behind_do_not_affect_the_next_session(reused, leftover):
    with reused.session(actor="alice") as session:
        pid = backend_of(session)
        session.execute(text(leftover))
    with reused.session(actor="bob", reason="bobs reason", request_id="R-ü") as session:
        assert backend_of(session) == pid
        assert "Case of alice" not in titles(session)
        assert session.scalar(text("SELECT current_user")) == "sti_app"
        assert session.scalar(text("SHOW search_path")) == "public, pg_temp"
        assert session.scalar(text("SHOW statement_timeout")) == "1min"
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "5min"
        assert session.scalar(text("SHOW row_security")) == "on"
        session.add(Case(title="Ünïcödé \\ 'quoted'"))
        session.flush()
        assert "Ünïcödé \\ 'quoted'" in titles(session)
    with reused.session(actor="bob") as session:
        inserts = select(ActivityLog).where(ActivityLog.entity == "cases", ActivityLog.operation == "insert")
        logged = session.scalars(inserts.order_by(ActivityLog.id.desc()).limit(1)).one()
        assert (logged.actor, logged.reason, logged.request_id) == ("bob", "bobs reason", "R-ü")
        assert logged.new["title"] == "Ünïcödé \\ 'quoted'"


def test_a_read_only_default_left_behind_does_not_affect_the_next_writer(single):
    with single.session(actor="alice") as session:
        session.execute(text("SET default_transaction_read_only = on"))
    with single.session(actor="bob") as session:
        session.add(Case(title="x"))


def test_copies_of_a_session_are_not_available_to_the_next_one(single):
    """Held cursors and temporary tables would exist as long as the connection."""
    with single.session(actor="alice") as session:
        pid = backend_of(session)
        session.execute(text("CREATE TEMP TABLE mine AS SELECT * FROM cases"))
        session.execute(text("DECLARE held CURSOR WITH HOLD FOR SELECT title FROM cases"))
    with single.session(actor="bob") as session:
        assert backend_of(session) == pid
        for query in ("SELECT title FROM pg_temp.mine", "FETCH ALL FROM held"):
            with pytest.raises(DBAPIError, match="does not exist"), session.begin_nested():
                session.execute(text(query))


def test_autocommit_fails_closed(shared):
    engine = shared.db.engine.execution_options(isolation_level="AUTOCOMMIT", actor=Actor("alice"))
    with engine.connect() as connection:
        for table in CASE_TABLES:
            with pytest.raises(DBAPIError, match="permission denied"):
                connection.execute(text(f"SELECT count(*) FROM public.{table}"))
            with pytest.raises(DBAPIError, match="permission denied"):
                connection.execute(text(f"DELETE FROM public.{table}"))


def test_raw_connections_fail_closed(shared):
    raw = shared.db.engine.raw_connection()
    try:
        for role in ("NONE", "sti_app", "sti_wide"):
            for table in CASE_TABLES:
                cursor = raw.cursor()
                cursor.execute(f"SET LOCAL ROLE {role}")
                if role == "NONE":
                    with pytest.raises(InsufficientPrivilege):
                        cursor.execute(f"SELECT count(*) FROM public.{table}")
                else:
                    cursor.execute(f"SELECT count(*) FROM public.{table}")
                    assert cursor.fetchone() == (0,), (role, table)
                raw.rollback()
    finally:
        raw.close()


def test_core_without_an_actor_sees_nothing(shared):
    with shared.db.engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM cases")) == 0
    with core(shared.db, Actor("alice")) as connection:
        assert connection.scalar(text("SELECT count(*) FROM cases")) == 1


def test_threads_that_share_a_database_are_isolated(shared):
    rounds, wrong, barrier = 25, [], threading.Barrier(6)

    def work(name):
        barrier.wait()
        for _ in range(rounds):
            with shared.db.session(actor=name, required=False) as session:
                if titles(session) != TITLES[name]:
                    wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("alice", "bob", None) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_nested_sessions_of_two_actors_are_isolated(shared):
    with shared.db.session(actor="alice") as outer, shared.db.session(actor="bob") as inner:
        assert backend_of(outer) != backend_of(inner)
        assert (titles(outer), titles(inner), titles(outer)) == (TITLES["alice"], TITLES["bob"], TITLES["alice"])
        with shared.db.side_session(outer) as side:
            assert titles(side) == TITLES["alice"]


def test_a_role_set_for_the_whole_session_is_reset(shared):
    """RESET ALL does not reset the role, so it is reset explicitly."""
    with shared.db.engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        driver.cursor().execute("SET SESSION ROLE sti_wide")
        driver.commit()
    engine = shared.db.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_user")) == shared.db.engine.url.username
