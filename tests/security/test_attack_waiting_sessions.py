"""Sessions that others wait for, with most locks of the server or an open transaction, and maintenance beside them."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from src.config import load_settings
from src.database import User
from src.database.connection.actor_tokens import Actor
from src.database.connection.driver_errors import translate_connect
from src.database.connection.engine import PoolOptions, make_engine
from src.errors import Conflict
from src.maintenance import superseded
from src.maintenance.ending_sessions import end_holders, lock_crowds
from src.maintenance.erasure import erase_everywhere
from src.maintenance.fixity_rounds import verify_all
from src.maintenance.initialisation import check
from src.maintenance.sweeping import sweep
from src.services import accounts, activity, cases, recordings, work
from src.storage import keys
from tests.security.population import add_audio, backend_of, core
from tests.services.test_permissions import wait_until_blocked
from tests.undone import undone

NOW = {"older_than": timedelta(0), "grace": timedelta(0)}


def bounded(session):
    """Make a lock that is waited for an error, so that a test fails instead of waiting."""
    session.execute(text("SET LOCAL lock_timeout = '5s'"))
    return session


def test_a_session_that_takes_most_locks_is_found_and_ended(populated):
    room = text(
        "SELECT current_setting('max_locks_per_transaction')::int * (current_setting('max_connections')::int"
        " + current_setting('max_prepared_transactions')::int) / 2"
    )
    with populated.owner.connect() as connection:
        most = connection.scalar(room)
        assert lock_crowds(connection) == []
    holder = populated.db.engine.execution_options(actor=Actor("alice")).connect()
    with holder, suppress(OperationalError):
        holder.execute(
            text("SELECT count(pg_advisory_lock_shared(g)) FROM generate_series(1, :most) g"), {"most": most}
        )
        pid = backend_of(holder)
        with populated.owner.connect() as connection:
            (found,) = lock_crowds(connection)
            assert (found.backend, found.tables) == (pid, None)
            assert found.locks >= most
        named = [sentence for sentence in check(populated.owner, load_settings(), print) if str(pid) in sentence]
        assert len(named) == 1
        assert "the server has few left (history seal" in named[0]
        with Session(populated.owner) as session:
            assert [each.backend for each in end_holders(session, populated.db.engine.url)] == [pid]
        holder.execute(text("SELECT 1"))
        pytest.fail("the session was not ended")
    with populated.db.session(actor="root") as session:
        assert "the server has few left" in activity.feed(session, type="access.refused")[-1].detail["refused"]


def test_many_locks_are_not_too_many_while_most_are_free(populated):
    with populated.db.session(actor="alice") as session:
        session.execute(text("SELECT count(pg_advisory_xact_lock(g)) FROM generate_series(1, 500) g"))
        with Session(populated.owner) as owner:
            assert end_holders(owner, populated.db.engine.url) == []


def test_a_server_without_locks_is_named_with_what_to_do(populated):
    refused = translate_connect(
        OperationalError("", {}, Exception("FATAL:  out of shared memory")), populated.owner.url
    )
    assert re.search(r"no lock left.*kill the idle ones|restart PostgreSQL", str(refused))


def test_sessions_work_when_a_superuser_revokes_advisory_locks(populated, tone, speech_server):
    """docs/security.md offers it: only functions of the owner take such locks, and the sessions release all."""
    revoked = "^(pg_(try_)?advisory_(xact_)?lock(_shared)?|lo_.*|pg_logical_emit_message)$"
    listed = text("SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace"
                  " AND p.proname ~ :revoked")  # fmt: skip
    login = populated.owner.url.username
    superuser = make_engine(speech_server.maintenance.set(database=populated.owner.url.database), PoolOptions(size=1))
    with superuser.begin() as connection:
        if not connection.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")):
            pytest.skip("the server of the tests was named without a superuser")
        for function in connection.scalars(listed, {"revoked": revoked}).all():
            connection.execute(text(f"REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM PUBLIC"))
            connection.execute(text(f'GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO "{login}"'))
    superuser.dispose()
    for role, forbidden in (("sti_app", "SELECT pg_try_advisory_lock(1)"), ("NONE", "SELECT lo_create(0)")):
        with pytest.raises(DBAPIError, match="permission denied"), \
             core(populated.db, Actor("alice"), role) as connection:  # fmt: skip
            connection.execute(text(forbidden))
    with populated.db.session(actor="alice") as session:
        recordings.ingest(session, populated.case_of["alice"], tone, name="tone.wav")
    with Session(populated.owner) as session:
        assert sweep(session, populated.db.storage, **NOW).failed == {}


@pytest.fixture
def shared_case(populated):
    """A case with four owners, of which one session has just removed one, in a transaction that stays open."""
    with populated.db.session(actor="alice") as session:
        case = cases.open_case(session, title="trap")
        for name in ("bob", "root", "transcriber"):
            cases.add_participant(session, case, name, role="owner")
    with undone(populated.db, actor="alice") as holder:
        cases.remove_participant(holder, case, "transcriber")
        yield case, holder


def test_an_owner_who_leaves_keeps_nobody_from_signing_in_or_from_being_deactivated(populated, shared_case):
    with populated.owner.begin() as connection:
        bounded(connection).execute(text("UPDATE users SET last_login = now()"))
    for name in ("bob", "alice"):
        with populated.db.session(actor="root") as session:
            accounts.deactivate(bounded(session), session.scalars(select(User).where(User.username == name)).one())


def test_a_transaction_that_others_wait_for_is_ended_before_a_day(populated):
    url, own = populated.db.engine.url, select(User).where(User.username == "alice")
    holder = populated.db.engine.execution_options(actor=Actor("alice")).connect()
    with ThreadPoolExecutor(1) as pool, populated.owner.connect() as waiter, holder, suppress(OperationalError):
        holder.execute(text("SELECT id FROM users WHERE username = 'alice' FOR UPDATE"))
        pid = backend_of(holder)
        with Session(populated.owner) as session:
            assert end_holders(session, url, blocking=timedelta(0)) == [], "nobody waits"
        waiter.execute(text("SET statement_timeout = '60s'"))
        signing_in = pool.submit(waiter.execute, text("UPDATE users SET last_login = now() WHERE username = 'alice'"))
        wait_until_blocked(populated.owner, waiter)
        with Session(populated.owner) as session:
            assert end_holders(session, url) == [], "it is not open for an hour"
            (ended,) = end_holders(session, url, blocking=timedelta(0))
        assert (ended.backend, ended.waiting) == (pid, 1)
        assert "keeps 1 other sessions waiting" in str(ended)
        assert signing_in.result().rowcount == 1
        holder.execute(text("SELECT 1"))
        pytest.fail("the session was not ended")
    with populated.db.session(actor="root") as session:
        assert not accounts.deactivate(bounded(session), session.scalars(own).one()).is_active


@pytest.fixture
def moved(populated, tone):
    """A recording of bob that a move replaced by nothing, its id and its old object."""
    case, kind = populated.case_of["bob"], populated.db.storage.name
    with populated.db.session(actor="bob") as session:
        audio = recordings.ingest(session, case, tone, name="original.wav")
    key = keys.case_key(case, "wav")
    with populated.db.session(actor="bob") as session:
        session.execute(
            text("SELECT public.announce_object(:case, :key, :kind)"), {"case": case, "key": key, "kind": kind}
        )
    with populated.db.session(actor="bob") as session:
        session.execute(text("SELECT public.place_recording(:id, :path, :key, :kind, false, NULL)"),
                        {"id": audio.id, "path": audio.path, "key": key, "kind": kind})  # fmt: skip
    return audio.id, audio.path


LOCKING = {
    "a recording": "UPDATE audio_files SET name = 'x'",
    "a check": "SELECT public.note_check(a.id, a.path, 'x') FROM audio_files a",
    "a case": "UPDATE cases SET title = 'x'",
}


@pytest.mark.parametrize("statement", LOCKING.values(), ids=LOCKING)
def test_no_open_transaction_of_a_member_holds_up_maintenance(populated, moved, statement):
    """Every command ends: what is locked is kept back, or named by an error, and done when the lock is gone."""
    audio, original = moved
    storages = {populated.db.storage.name: populated.db.storage}
    with undone(populated.db, actor="bob") as holder:
        holder.execute(text(statement))
        with Session(populated.owner) as session:
            bounded_by_server(session)
            done = sweep(session, storages, **NOW)
            assert (done.kept_back, done.failed) == (1 if "UPDATE audio_files" in statement else 0, {})
            checked = {c.audio_id: c.outcome for c in verify_all(session, storages, unchecked_for=timedelta(0))}
            assert checked[audio] == "missing"
            if "cases" in statement:
                with pytest.raises(DBAPIError, match="lock timeout"):
                    erase_everywhere(session, populated.db.storage, case_id=populated.case_of["bob"], username=None,
                                     reason="asked for")  # fmt: skip
            else:
                with pytest.raises(Conflict, match=f"keeps recording {audio} locked"):
                    superseded.point_back(session, storages, audio)
    with Session(populated.owner) as session:
        assert original in sweep(session, storages, **NOW).differing
        assert superseded.point_back(session, storages, audio) == original


def bounded_by_server(session):
    """End statements that wait, so that a test fails instead of waiting: longer than maintenance waits for a lock."""
    session.execute(text("SET statement_timeout = '30s'"))
    session.commit()


@pytest.mark.parametrize(
    "key", ["cases/{case}/" + "-" * 36 + ".wav", "cases/{case}/{uuid}.exe", "archive/9999999999999999999/{uuid}.wav"]
)
def test_an_object_whose_key_no_storage_accepts_is_swept(populated, key):
    """Such keys could be announced before the database had the grammar of the storage."""
    case = populated.case_of["alice"]
    with populated.owner.begin() as connection:
        connection.execute(
            text("INSERT INTO storage_objects (case_id, key, backend, announced_by_id)"
                 " SELECT :case, :key, :kind, id FROM users WHERE username = 'alice'"),
            {"case": case, "key": key.format(case=case, uuid=uuid4()), "kind": populated.db.storage.name},
        )  # fmt: skip
    with Session(populated.owner) as session:
        done = sweep(session, populated.db.storage, **NOW)
    assert (done.failed, done.removed_objects) == ({}, 1)


def test_a_job_of_the_past_is_not_claimed_before_those_that_wait(populated):
    jobs = text("INSERT INTO processing_jobs (case_id, audio_file_id, kind, run_after)"
                " VALUES (:case, :audio, 'transcribe', '1000-01-02') RETURNING id")  # fmt: skip
    with populated.db.session(actor="alice") as session:
        audio = add_audio(session, populated.case_of["alice"], "later.wav")
        late = session.scalar(jobs, {"case": audio.case_id, "audio": audio.id})
    claimed = []
    for _ in range(3):
        with populated.db.session(actor="transcriber") as session:
            claimed.append(work.claim(session, "transcribe").id)
    assert claimed[-1] == late
