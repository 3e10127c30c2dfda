"""Engines: the URL, the pool, the settings of new connections and transactions."""

from __future__ import annotations

import multiprocessing
import os

import pytest
from sqlalchemy import text

from src.database import Database
from src.database.connection.engine import PoolOptions, make_engine, normalise_url
from src.database.schema import head, revisions
from src.errors import Busy, ConfigurationError, SchemaMismatch, ServerUnreachable, UnsafeConnection


def backend(session):
    return session.scalar(text("SELECT pg_backend_pid()"))


def terminate(db, pid):
    """Terminate a backend of the same login, and wait until it has exited."""
    raw = db.side_engine.raw_connection()
    cursor = raw.cursor()
    cursor.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
    assert cursor.fetchone() == (True,)
    raw.close()


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg"]
)
def test_every_postgresql_url_gets_the_driver_psycopg2(scheme):
    url = normalise_url(f"{scheme}://user:p%40ss@host:5433/name?sslmode=require")
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password, url.host, url.port, url.database) == ("user", "p@ss", "host", 5433, "name")
    assert url.query == {"sslmode": "require"}
    assert normalise_url(url) == url


@pytest.mark.parametrize("url", ["", "sqlite://", "mysql://u:secret@h/d", "not a url", "postgresql://u:secret@h:port/d",
                                 "postgresqlx://u:secret@h/d", "://", "postgresql:u:secret@h"])  # fmt: skip
def test_other_urls_are_rejected_without_quoting_them(url):
    with pytest.raises(ConfigurationError) as caught:
        normalise_url(url)
    message, cause = str(caught.value), caught.value.__cause__
    assert "DATABASE_URL" in message
    assert "secret" not in message + str(cause) + repr(cause)


def test_the_pool_uses_the_options(speech_server, owner_url):
    pool = PoolOptions(size=1, max_overflow=1, timeout_seconds=0.2, recycle_seconds=77, application_name="my service")
    with speech_server.database(owner_url, pool=pool) as db:
        assert (db.engine.pool.size(), db.engine.pool._recycle) == (1, 77)
        with db.session(actor="alice") as first, db.session(actor="bob") as second:
            assert first.scalar(text("SHOW application_name")) == "my service alice"
            assert backend(first) != backend(second)
            with pytest.raises(Busy, match="POSTGRES_POOL_SIZE"), db.session(actor="alice") as third:
                backend(third)


def test_the_last_returned_connection_is_reused_first(db):
    with db.session() as last, db.session() as first:
        returned_first = backend(first)
        returned_last = backend(last)
    with db.session() as session:
        assert backend(session) == returned_last != returned_first


def test_timeouts_are_local_to_the_transaction(speech_server, owner_url):
    pool = PoolOptions(statement_timeout_seconds=1.5, idle_transaction_timeout_seconds=2.5)
    with speech_server.database(owner_url, pool=pool) as db:
        with db.session(actor="alice") as session:
            assert session.scalar(text("SHOW statement_timeout")) == "1500ms"
            assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "2500ms"
        raw = db.engine.raw_connection()
        cursor = raw.cursor()
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)
        cursor.execute("SHOW role")
        assert cursor.fetchone() == ("none",)
        raw.close()


def test_a_statement_timeout_is_busy(speech_server, owner_url):
    pool = PoolOptions(statement_timeout_seconds=0.05)
    with (
        speech_server.database(owner_url, pool=pool) as db,
        pytest.raises(Busy, match=r"Timeout: .*statement timeout"),
        db.session(actor="alice") as session,
    ):
        session.execute(text("SELECT pg_sleep(10)"))


def test_a_terminated_connection_in_the_pool_is_replaced(db):
    with db.session(actor="alice") as session:
        old = backend(session)
    terminate(db, old)
    with db.session(actor="alice") as session:
        assert backend(session) != old


def test_a_terminated_connection_in_a_transaction_is_an_error(db):
    with pytest.raises(ServerUnreachable, match="ended the connection") as caught, db.session(actor="alice") as session:
        pid = backend(session)
        terminate(db, pid)
        backend(session)
    assert caught.value.__cause__ is not None
    with db.session(actor="alice") as session:
        assert backend(session) != pid


def _in_child(db, queue):
    with db.session(actor="bob") as session:
        queue.put((os.getpid(), backend(session), session.scalar(text("SELECT public.actor_name()"))))


def test_a_forked_child_opens_new_connections_and_the_parent_keeps_its_own(db):
    fork = multiprocessing.get_context("fork")
    with db.session(actor="alice") as session:
        own_pid = backend(session)
    sockets = db.engine.pool.checkedin()
    assert sockets == 1
    queue = fork.Queue()
    children = [fork.Process(target=_in_child, args=(db, queue)) for _ in range(2)]
    for child in children:
        child.start()
    results = [queue.get(timeout=30) for _ in children]
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert len({pid for pid, _, _ in results} | {os.getpid()}) == 3
    assert len({backend_pid for _, backend_pid, _ in results} | {own_pid}) == 3
    assert {name for _, _, name in results} == {"bob"}
    with db.session(actor="alice") as session:
        assert backend(session) == own_pid, "the connection of the parent was neither closed nor used"


def test_the_owner_may_not_serve_sessions(speech_server, owner_url):
    with (
        Database(owner_url, signing_key=speech_server.signing_key) as db,
        pytest.raises(UnsafeConnection, match="row security does not apply") as caught,
        db.session(actor="alice") as session,
    ):
        backend(session)
    assert str(owner_url.password) not in str(caught.value)
    assert f"{owner_url.username} owns the tables" in str(caught.value)


@pytest.mark.parametrize("power", ["SUPERUSER", "BYPASSRLS", "IN ROLE {owner}"])
def test_a_login_that_bypasses_row_security_may_not_serve_sessions(speech_server, owner_url, powerful, power):
    url = powerful(power.format(owner=owner_url.username)).set(database=owner_url.database)
    with Database(url, signing_key=speech_server.signing_key) as db:
        for _ in range(2):
            with pytest.raises(UnsafeConnection) as caught, db.session(actor="alice") as session:
                backend(session)
            assert power.split(" ")[0].replace("IN", "REVOKE") in str(caught.value)
        assert db.engine.pool.checkedin() == 0


@pytest.fixture
def powerful(speech_server, owner_url):
    """Create logins with attributes that only some administrators can grant; skip if the owner cannot."""
    made = []

    def make(attributes):
        engine = make_engine(speech_server.maintenance, PoolOptions(size=1))
        name = f"sti_test_powerful_{os.getpid()}_{len(made)}"
        made.append(name)
        try:
            with engine.begin() as connection:
                connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD 'x' {attributes}"))
        except Exception as error:
            if "ermission denied" in str(error) or "must be superuser" in str(error):
                pytest.skip("the login of the test server may not create such a role")
            raise
        finally:
            engine.dispose()
        return owner_url.set(username=name, password="x")

    yield make
    engine = make_engine(speech_server.maintenance, PoolOptions(size=1))
    with engine.begin() as connection:
        for name in made:
            connection.execute(text(f"DROP ROLE IF EXISTS {name}"))
    engine.dispose()


@pytest.mark.parametrize(
    ("revision", "oldest", "words"),
    [("9999", "9999", "newer than this code"), ("0011", "0011", "before the first release")],
)
def test_a_schema_that_is_incompatible_with_this_code_serves_no_session(db, owner, revision, oldest, words):
    with owner.begin() as connection:
        connection.execute(text(f"SELECT record_schema('{revision}', 1, '{oldest}')"))
    with pytest.raises(SchemaMismatch, match=words), db.session(actor="alice") as session:
        backend(session)


def test_a_newer_schema_that_is_compatible_with_this_code_serves_sessions(db, owner):
    with owner.begin() as connection:
        connection.execute(text(f"SELECT record_schema('9999', 1, '{head()}')"))
    with db.session(actor="alice") as session:
        assert backend(session)


def test_an_older_schema_needs_an_upgrade(monkeypatch):
    monkeypatch.setattr(revisions, "head", lambda: "1009")
    with pytest.raises(SchemaMismatch, match=r"older than this code.*alembic upgrade head"):
        revisions.require_revision("1008", "1001")


def test_a_database_without_a_schema_serves_no_session(speech_server, empty_url):
    with (
        speech_server.database(empty_url) as db,
        pytest.raises(SchemaMismatch, match="no schema yet"),
        db.session(actor="alice") as session,
    ):
        backend(session)
