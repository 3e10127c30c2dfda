"""A real PgBouncer in transaction mode: many clients share few server connections without mixing up actors."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress

import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError

from src.database import AudioFile, Case, CaseNote, User, UserRole
from src.database.connection.actor_tokens import Actor
from src.database.connection.engine import PoolOptions
from src.errors import ConfigurationError, ServerUnreachable, SignInFailed, SpeechError
from src.services import accounts, recordings
from src.storage import MemoryStorage
from tests.database.test_pinned_settings import OTHERS, require_texts, set_everywhere, settings_of
from tests.security.bouncer import PROGRAM
from tests.security.pooled_people import (
    EVERYBODY,
    SEES,
    VIEWERS,
    WORK,
    Deliberate,
    Seen,
    one_session,
    peopled_behind,
    titles,
)
from tests.security.population import backend_of, core, token_for

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is missing (Debian: apt-get install pgbouncer)")

SERVER_CONNECTIONS = 4


@pytest.fixture
def direct(speech_server, owner_url, owner):
    with owner.begin() as connection:
        for name, role in (("carol", "user"), ("dave", "user"), ("rita", "admin")):
            role_id = select(UserRole.id).where(UserRole.code == role).scalar_subquery()
            connection.execute(insert(User).values(username=name, role_id=role_id))
    with speech_server.database(owner_url, storage=MemoryStorage()) as database:
        yield database


@pytest.fixture
def peopled(direct):
    with peopled_behind(direct, default_pool_size=SERVER_CONNECTIONS) as peopled:
        yield peopled


@pytest.fixture
def narrow(direct):
    """All clients share one server connection, so each finds what the previous one left there."""
    with peopled_behind(direct, default_pool_size=1, query_wait_timeout=1) as peopled:
        yield peopled


def test_32_clients_on_4_server_connections_never_see_or_write_as_another(peopled, owner):
    rounds, threads = 14, 32
    seen, barrier = Seen(), threading.Barrier(threads)
    with (
        peopled.client(size=8, max_overflow=0) as first,
        peopled.client(size=8, max_overflow=0) as second,
        peopled.client(size=8, max_overflow=0) as third,
        peopled.client(size=8, max_overflow=0) as fourth,
    ):
        databases = (first, second, third, fourth)

        def client(number):
            barrier.wait()
            for turn in range(rounds):
                name = EVERYBODY[(number + turn * 3) % len(EVERYBODY)]
                case = peopled.case_of.get(name, peopled.case_of["alice"])
                work = WORK[(number // len(EVERYBODY) + turn) % len(WORK)]
                one_session(databases[number % 4], case, work, f"{name}:{number}:{turn}", seen)

        running = [threading.Thread(target=client, args=(number,)) for number in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    assert seen.wrong == []
    # Otherwise no connection was shared, and the test proves nothing.
    # PgBouncer has a pool for each of the two logins.
    assert 1 < len(seen.backends) <= 2 * SERVER_CONNECTIONS
    assert all(len(names) > 1 for names in seen.backends.values()), seen.backends
    with owner.connect() as connection:
        notes = connection.execute(select(CaseNote.body, User.username).join(User, User.id == CaseNote.author_id)).all()
        logged = connection.execute(
            text("SELECT actor, reason, request_id, username FROM activity_logs l LEFT JOIN users u ON u.id = actor_id"
                 " WHERE request_id IS NOT NULL AND request_id <> ''")
        ).all()  # fmt: skip
    assert sorted(body for body, _ in notes) == sorted(seen.kept)
    assert {body: author for body, author in notes if body.split(":")[0] != author} == {}
    assert len(logged) > len(notes) > threads
    for actor, reason, request, username in logged:
        assert (actor, username, reason) == (request.split(":")[0], actor, request)


def test_the_pooler_hides_the_backend_and_the_tokens_name_the_real_one(peopled):
    with peopled.client(size=1) as db, db.session(actor="alice") as session:
        info = session.connection().info
        assert info["backend_pid"] == backend_of(session)
        assert session.connection().connection.dbapi_connection.info.backend_pid != backend_of(session)
        assert session.scalar(text("SHOW application_name")).startswith(PoolOptions().application_name)


def test_a_token_is_valid_for_one_transaction_only(peopled):
    query = text("SELECT actor FROM public.begin_actor(:token, NULL, NULL)")
    with peopled.client() as db:
        with db.session(actor="bob") as victim:
            stolen = token_for(db, victim, "session", "bob")
            with core(db, Actor("alice")) as thief:
                assert backend_of(thief) != backend_of(victim)
                assert thief.scalar(query, {"token": stolen}) is None
                assert thief.scalar(text("SELECT count(*) FROM cases")) == 0
            assert victim.scalar(query, {"token": stolen}) is not None, "it is valid in its own transaction"
        with core(db, Actor("alice")) as next_one:
            assert next_one.scalar(query, {"token": stolen}) is None


LEFTOVERS = (
    "SET ROLE sti_wide",
    "SET search_path = pg_temp, public",
    "SET sti.actor = 'x'",
    "SET row_security = off",
    "SET client_encoding = 'LATIN1'",
    "SET standard_conforming_strings = off",
    "SET statement_timeout = '100ms'",
    "SET application_name = 'alice was here'",
    "CREATE TEMP TABLE cases (title text)",
    "DECLARE held CURSOR WITH HOLD FOR SELECT title FROM public.cases",
)


def test_leftovers_on_a_server_connection_do_not_affect_the_next_client(narrow):
    with narrow.client(size=1) as first_client, narrow.client(size=1) as second_client:
        with second_client.session(actor="bob") as session:
            pid = backend_of(session)
        with first_client.session(actor="alice") as session:
            assert backend_of(session) == pid
            for statement in (*LEFTOVERS[-1:], *LEFTOVERS[:-1]):
                session.execute(text(statement))
        raw = second_client.engine.raw_connection()
        with raw.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid(), current_user")
            assert cursor.fetchone() == (pid, "sti_wide"), "the role remains, but grants nothing without an actor"
            with pytest.raises(InsufficientPrivilege):
                cursor.execute("SELECT count(*) FROM public.cases")
            raw.rollback()
            cursor.execute("SET LOCAL row_security = on; SELECT count(*) FROM public.cases")
            assert cursor.fetchone() == (0,)
        raw.close()
        with second_client.session(actor="bob", reason="wegen «Ü» \\ '") as session:
            assert backend_of(session) == pid
            assert titles(session) == set(session.scalars(text("SELECT title FROM cases"))) == SEES["bob"]
            assert session.scalar(text("SELECT public.actor_name()")) == "bob"
            assert session.scalar(text("SELECT current_setting('sti.reason')")) == "wegen «Ü» \\ '"
            assert session.scalar(text("SHOW application_name")).startswith(PoolOptions().application_name)
            with pytest.raises(DBAPIError, match="does not exist"), session.begin_nested():
                session.execute(text("FETCH ALL FROM held"))


def test_text_is_stored_unchanged_with_any_client_encoding(direct, owner, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {owner.url.database} SET client_encoding = 'LATIN1'")
    with peopled_behind(direct, default_pool_size=2) as peopled, peopled.client(size=1) as db:
        for turn in range(3):
            with db.session(actor="alice", reason=f"«Grün» 漢字 {turn}") as session:
                session.add(Case(title=f"Ünïcödé 漢字 {turn}"))
    monkeypatch.delenv("PGCLIENTENCODING")
    with direct.session(actor="root") as session:
        stored = session.execute(text("SELECT new ->> 'title', reason FROM activity_logs"
                                      " WHERE entity = 'cases' AND reason LIKE '«%' ORDER BY id")).all()  # fmt: skip
    assert stored == [(f"Ünïcödé 漢字 {turn}", f"«Grün» 漢字 {turn}") for turn in range(3)]


def test_recordings_are_stored_and_opened_for_the_right_actors(peopled, owner, tone):
    """With side sessions: an upload holds up to two server connections, so four are enough for three uploads."""
    uploaders, failures, barrier = ("alice", "bob", "root"), [], threading.Barrier(3)
    with peopled.client(size=4) as db:

        def upload(name):
            barrier.wait()
            for turn in range(2):
                try:
                    with db.session(actor=name, request_id=name) as session:
                        recordings.ingest(session, peopled.case_of[name], tone, name=f"{name} {turn}.wav")
                except SpeechError as error:
                    failures.append(error)

        threads = [threading.Thread(target=upload, args=(name,)) for name in uploaders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        for viewer in VIEWERS:
            with pytest.raises(Deliberate), db.session(actor=viewer, request_id=viewer) as session:
                for audio in session.scalars(select(AudioFile)):
                    recordings.open(session, audio).close()
                raise Deliberate
    with owner.connect() as connection:
        stored = connection.execute(
            select(AudioFile.name, User.username).join(User, AudioFile.uploaded_by_id == User.id)
        )
        assert Counter((name.split()[0], by) for name, by in stored) == {(name, name): 2 for name in uploaders}
        opened = connection.execute(
            text("SELECT l.actor, l.request_id, l.new ->> 'name' FROM activity_logs l JOIN activity_types t"
                 " ON t.id = l.activity_type_id WHERE t.code = 'audio.opened'")
        ).all()  # fmt: skip
    assert Counter((actor, request, name.split()[0]) for actor, request, name in opened) == {
        ("carol", "carol", "alice"): 2,
        ("carol", "carol", "root"): 2,
        ("dave", "dave", "bob"): 2,
    }


def test_sign_in_works_and_is_logged(peopled, owner):
    with peopled.client() as db:
        with db.session(actor="root") as session:
            accounts.create_user(session, username="erin", password="correct horse")
        with db.session() as session:
            assert accounts.authenticate(session, "erin", "correct horse").username == "erin"
        with pytest.raises(SignInFailed), db.session() as session:
            accounts.authenticate(session, "erin", "wrong horse")
        with db.session(actor="erin") as session:
            accounts.change_password(
                session, accounts.find_user(session, "erin"), "battery staple", current="correct horse"
            )
    with owner.connect() as connection:
        codes = connection.scalars(
            text("SELECT t.code FROM activity_logs l JOIN activity_types t ON t.id = l.activity_type_id"
                 " WHERE t.code LIKE 'login.%' ORDER BY l.id")
        ).all()  # fmt: skip
    assert codes == ["login.succeeded", "login.failed"]


def test_a_terminated_server_connection_raises_and_the_next_session_works(narrow):
    with narrow.client(size=1) as db:
        with pytest.raises(ServerUnreachable) as caught, db.session(actor="alice") as session:
            pid = backend_of(session)
            with core(narrow.direct, Actor()) as other:
                other.exec_driver_sql("RESET ROLE")
                assert other.scalar(select(func.pg_terminate_backend(pid, 10_000)))
            titles(session)
        assert caught.value.__cause__ is not None
        with db.session(actor="bob") as session:
            assert backend_of(session) != pid
            assert titles(session) == SEES["bob"]


def test_after_a_restart_of_the_pooler_the_next_session_works(peopled):
    with peopled.client(size=1) as db:
        with db.session(actor="alice") as session:
            assert titles(session) == SEES["alice"]
        peopled.bouncer.restart()
        with db.session(actor="bob") as session:
            assert titles(session) == SEES["bob"]
        with pytest.raises(ServerUnreachable), db.session(actor="alice") as session:
            titles(session)
            peopled.bouncer.restart()
            titles(session)
        with db.session(actor="bob") as session:
            assert titles(session) == SEES["bob"]
        peopled.bouncer.kill()
        with pytest.raises(ServerUnreachable), db.session(actor="bob") as session:
            titles(session)


def test_too_few_server_connections_raise_an_error_instead_of_blocking(narrow):
    """A session that needs a side session holds one server connection and waits for a second."""
    with narrow.client() as db:
        with pytest.raises(ServerUnreachable), db.session(actor="alice") as session:
            titles(session)
            with db.side_session(session) as side:
                titles(side)
        with db.session(actor="bob") as session:
            assert titles(session) == SEES["bob"]


def test_settings_of_the_database_and_what_others_left_on_a_connection_change_nothing(narrow, owner, owner_url):
    with set_everywhere(owner, "DATABASE", str(owner_url.database)):
        # It cannot be pinned before the driver chooses how it quotes texts, since a pooler takes no options.
        with (
            narrow.client(size=1) as db,
            pytest.raises(ConfigurationError, match=r"^standard_conforming_strings is off"),
            db.session(actor="alice"),
        ):
            pass
        with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {owner_url.database} RESET standard_conforming_strings")
        narrow.bouncer.restart()
        # A client without this layer, on the only server connection: what it sets stays there.
        other = psycopg2.connect(narrow.bouncer.url.render_as_string(hide_password=False).replace("+psycopg2", ""))
        other.autocommit = True
        for name, value in OTHERS.items():
            with other.cursor() as cursor, suppress(psycopg2.Error):  # not every version has all of them
                cursor.execute(f"SET {name} = {value if name == 'search_path' else repr(value)}")
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid(), current_setting('search_path'), current_setting('bytea_output')")
            shared, *left = cursor.fetchone()
        assert ("other" in left[0], left[1]) == (True, "escape")
        other.close()
        with narrow.client(size=1) as db:
            for _ in range(2):
                with db.session(actor="alice") as session:
                    assert backend_of(session) == shared
                    found, expected = settings_of(session.connection())
                    assert found == expected
                    require_texts(session)
                    session.add(Case(title=r"a\b 'c'"))
            with db.session(actor="alice") as session:
                assert r"a\b 'c'" in titles(session)
