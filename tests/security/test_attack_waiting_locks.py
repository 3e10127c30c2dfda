"""Attacks that hold up others by locks: advisory keys that can be computed, names, rows, whole tables."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from src.database import AudioFile, Base, Case, User
from src.database.connection.actor_tokens import Actor
from src.database.provisioning import migrate, seeding
from src.database.schema.derivation import derived
from src.errors import Busy, Conflict, Forbidden, NotFound
from src.maintenance.ending_sessions import end_holders, table_locks
from src.maintenance.retention import _ALONE
from src.maintenance.sweeping import sweep
from src.services import accounts, activity, analyses, bulk, cases, history, recordings, transcripts
from src.storage import keys
from tests.security.population import backend_of, core
from tests.undone import undone

MODES = ("ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE",
         "EXCLUSIVE", "ACCESS EXCLUSIVE")  # fmt: skip
LOCK_KEY = text("SELECT pg_advisory_lock(hashtextextended(:name, 0))")


@pytest.fixture
def idle(populated):
    """A connection of the serving login without a transaction, and a function that takes an advisory lock on it."""
    raw = populated.db.engine.raw_connection()
    raw.driver_connection.autocommit = True
    with raw.cursor() as cursor:
        yield lambda sql: cursor.execute(f"SELECT pg_advisory_lock({sql})")
    raw.driver_connection.autocommit = False
    raw.close()


def bounded(session):
    """Make a lock that is waited for an error, so that a test fails instead of waiting."""
    session.execute(text("SET LOCAL lock_timeout = '1s'"))
    return session


NAMES = ("administrators", "activity seals", "activity_logs partitions", "activity retention")


def test_no_advisory_lock_of_an_idle_connection_holds_up_an_operation(populated, idle, tone):
    """Every key that the code once took, computed by the intruder and held for the session."""
    case, audio = populated.case_of["alice"], populated.audio_of["alice"]
    for name in (*NAMES, f"analysis {audio}", f"transcription {audio}", f"recording {case} {'0' * 64}"):
        idle(f"hashtextextended('{name}', 0)")
    with populated.db.session(actor="root") as session:
        root = accounts.create_user(bounded(session), username="second", role="admin")
        accounts.deactivate(session, root)
        history.seal(session)
        history.verify(session)
    with populated.db.session(actor="alice") as session:
        analyses.add(bounded(session), audio, summary="not held up")
        transcripts.add(session, audio, [transcripts.Segment("not held up", 0, 1)], language="en")
        recordings.ingest(session, case, tone, name="tone.wav", on_duplicate="return")
    bulk.insert(populated.db, Case, [{"title": "not held up"}], actor="alice", job="nightly")
    with populated.owner.begin() as connection:
        bounded(connection).execute(text("SELECT public.ensure_activity_partitions(1), empty_default_partition()"))
        connection.execute(_ALONE)


def test_a_held_key_of_an_object_refuses_at_once_and_another_upload_works(populated, idle, tone):
    case, key = populated.case_of["alice"], keys.case_key(populated.case_of["alice"], "wav")
    announce = text("SELECT public.announce_object(:case, :key, 'memory')")
    with populated.db.session(actor="alice") as session:
        session.execute(announce, {"case": case, "key": key})
    idle(f"hashtextextended('{key}', 0)")
    with populated.db.session(actor="alice") as session:
        assert bounded(session).scalar(text("SELECT public.lock_object(:key)"), {"key": key}) is False
        recordings.ingest(session, case, tone, name="tone.wav")


@pytest.mark.parametrize("lock", ["migration", "initialisation"])
def test_a_held_lock_of_the_operators_names_the_holder_at_once(populated, idle, lock):
    key = (migrate if lock == "migration" else seeding)._LOCK_KEY
    idle(key)
    with pytest.raises(Conflict, match=f"The login {populated.db.engine.url.username} .*pg_terminate_backend"):
        if lock == "migration":
            with migrate.migration_lock(populated.owner):
                pytest.fail("the lock was taken twice")
        else:
            with populated.owner.begin() as connection:
                seeding.hold_lock(connection)


def test_a_name_in_a_case_is_locked_by_those_who_may_write_there_only(populated):
    case = populated.case_of["alice"]
    lock = text("SELECT public.lock_in_case(:case, :name)")
    with populated.db.session(actor="alice") as session:
        cases.add_participant(session, case, "transcriber", role="viewer")
    for actor, error in (("bob", NotFound), ("transcriber", Forbidden), (None, NotFound)):
        with pytest.raises(error), populated.db.session(actor=actor) as session:
            session.execute(lock, {"case": case, "name": "x"})
    with pytest.raises(NotFound), populated.db.session(actor="alice") as session:
        session.execute(lock, {"case": None, "name": "x"})
    with pytest.raises(Forbidden), populated.db.session(actor="alice") as session:
        session.execute(text("SELECT public.lock_name('administrators')"))
    for statement in ("INSERT INTO name_locks (digest) VALUES ('')", "SELECT * FROM name_locks FOR UPDATE",
                      "LOCK TABLE name_locks", "DELETE FROM name_locks"):  # fmt: skip
        with pytest.raises(Forbidden), populated.db.session(actor="root") as session:
            session.execute(text(statement))


def test_a_name_is_held_until_its_transaction_ends_and_no_name_is_that_of_another(populated):
    case, other = populated.case_of["alice"], populated.case_of["bob"]
    lock = text("SELECT public.lock_in_case(:case, :name)")
    with undone(populated.db, actor="alice") as holder:
        holder.execute(lock, {"case": case, "name": "x"})
        holder.execute(lock, {"case": case, "name": "x"})
        holder.execute(text("SELECT public.lock_own('x')"))
        with pytest.raises(Busy, match="lock timeout"), populated.db.session(actor="alice") as session:
            bounded(session).execute(lock, {"case": case, "name": "x"})
        with pytest.raises(Busy, match="lock timeout"), populated.db.session(actor="alice") as session:
            bounded(session).execute(text("SELECT public.lock_own('x')"))
        with populated.db.session(actor="bob") as session:
            bounded(session).execute(text("SELECT public.lock_own('x')"))
            session.execute(lock, {"case": other, "name": "x"})
            session.execute(lock, {"case": other, "name": f"{case} x"})
    with populated.db.session(actor="alice") as session:
        bounded(session).execute(lock, {"case": case, "name": "x"})
    with populated.owner.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM name_locks")) == 0


def test_writers_of_one_recording_still_take_turns(populated):
    audio = populated.audio_of["alice"]

    def add(number):
        with populated.db.session(actor="alice") as session:
            return analyses.add(session, audio, summary=f"{number}").version

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(add, range(8))) == list(range(2, 10))


def test_a_verification_keeps_archives_and_members_cannot(populated):
    keep = text("LOCK TABLE public.activity_archives IN ACCESS SHARE MODE")
    with pytest.raises(DBAPIError, match="permission denied"), core(populated.db, Actor("alice")) as connection:
        connection.execute(keep)
    with populated.db.session(actor="root") as reader:
        reader.execute(keep)
        with populated.db.session(actor="root") as session:
            bounded(session).execute(keep)
        with pytest.raises(DBAPIError, match="lock timeout"), populated.owner.begin() as connection:
            bounded(connection).execute(_ALONE)


@pytest.mark.parametrize("actor", ["alice", "root"])
def test_sessions_lock_only_tables_from_which_they_may_delete(shared, actor):
    """DELETE on a table implies every lock of it; members may lock no table of look-ups, users, log or objects."""
    roles = {"alice": "sti_app", "root": "sti_admin"}
    deletable = {table.table for table in derived(Base.metadata) for grant in table.grants
                 if "DELETE" in grant.rights and roles[actor] in grant.roles}  # fmt: skip
    lockable = set()
    for table in Base.metadata.tables:
        for mode in MODES[1:]:
            with core(shared.db, Actor(actor)) as connection:
                try:
                    with connection.begin_nested():
                        connection.execute(text(f"LOCK TABLE public.{table} IN {mode} MODE"))
                        lockable.add(table)
                except DBAPIError as error:
                    assert error.orig.pgcode == "42501"  # noqa: PT017 - both outcomes are expected
    assert lockable <= deletable
    if actor == "alice":
        assert deletable == {"analysis_results", "audio_files", "case_notes", "case_participants", "cases",
                             "processing_jobs", "transcriptions"}  # fmt: skip


@contextmanager
def ended_session(populated, actor):
    """A transaction of this actor whose session is ended inside the block."""
    connection = populated.db.engine.execution_options(actor=Actor(actor)).connect()
    with connection, suppress(OperationalError):
        yield connection
        connection.execute(text("SELECT 1"))
        pytest.fail("the session was not ended")


@pytest.mark.parametrize("mode", MODES[3:])
def test_a_session_that_locks_a_table_is_found_and_ended(populated, mode):
    with ended_session(populated, "alice") as holder:
        holder.execute(text(f"LOCK TABLE cases, audio_files IN {mode} MODE"))
        pid, login = backend_of(holder), populated.db.engine.url.username
        with populated.owner.connect() as connection:
            (found,) = table_locks(connection)
            assert (found.backend, found.login, found.tables) == (pid, login, "audio_files, cases")
        with Session(populated.owner) as session:
            assert end_holders(session, populated.db.engine.url) == [found]
        with populated.db.session(actor="bob") as session:
            assert bounded(session).scalars(select(Case.title)).all() == ["Case of bob"]
    with populated.db.session(actor="root") as session:
        entry = activity.feed(session, type="access.refused")[-1]
    assert (entry.detail["backend"], entry.detail["login"]) == (pid, login)
    assert "locks tables that all sessions use: audio_files, cases" in entry.detail["refused"]


def test_sessions_that_only_work_are_not_ended(populated):
    with populated.db.session(actor="alice") as session, populated.db.session(actor="root") as sealer:
        session.execute(text("UPDATE cases SET title = title"))
        session.execute(text("DELETE FROM case_notes"))
        session.execute(text("SELECT * FROM audio_files FOR UPDATE"))
        sealer.execute(text("SELECT * FROM public.begin_seal()"))
        sealer.execute(text("LOCK TABLE public.activity_archives IN ACCESS SHARE MODE"))
        with Session(populated.owner) as owner:
            assert end_holders(owner, populated.db.engine.url) == []
            owner.execute(text("LOCK TABLE sentiments IN ACCESS EXCLUSIVE MODE"))
            assert table_locks(owner.connection()) == [], "operators may lock tables"


@pytest.mark.parametrize("held", ["SELECT pg_current_xact_id()", "DECLARE c CURSOR FOR SELECT 1"])
def test_a_transaction_that_is_open_for_too_long_is_ended(populated, held):
    """A transaction that wrote stops sealing, any other one stops vacuum, and each takes a connection."""
    with ended_session(populated, "alice") as holder:
        pid = backend_of(holder)
        holder.execute(text(held))
        with Session(populated.owner) as session:
            assert end_holders(session, populated.db.engine.url) == []
            (ended,) = end_holders(session, populated.db.engine.url, longest=timedelta(0))
        assert (ended.backend, ended.tables) == (pid, None)


def test_no_member_locks_the_rows_that_all_share(shared):
    """A row lock needs the privilege to update: look-ups, roles, other users, the log and objects."""
    with core(shared.db, Actor("alice")) as connection:
        for table in Base.metadata.tables:
            for strength in ("UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"):
                try:
                    with connection.begin_nested():
                        locked = connection.scalars(text(f"SELECT id FROM public.{table} FOR {strength}")).all()
                except DBAPIError as error:
                    assert error.orig.pgcode == "42501"  # noqa: PT017 - both outcomes are expected
                    continue
                if table == "users":
                    assert locked == [connection.info["actor_id"]]
                else:
                    assert set(locked) <= shared.rows_of("alice", table), table


def test_locked_rows_do_not_hold_up_a_sweep(populated):
    with populated.db.session(actor="alice") as session:
        session.execute(text("SELECT public.mark_deleted(:id, true)"), {"id": populated.audio_of["alice"]})
    with populated.db.session(actor="alice") as holder:
        holder.execute(text("SELECT id FROM audio_files FOR UPDATE"))
        holder.execute(text("SELECT id FROM cases FOR UPDATE"))
        with Session(populated.owner) as session:
            session.execute(text("SET lock_timeout = '1s'"))
            session.commit()
            done = sweep(session, populated.db.storage, older_than=timedelta(0), grace=timedelta(0))
    assert done.purged_recordings == 0
    with Session(populated.owner) as session:
        assert sweep(session, populated.db.storage, older_than=timedelta(0), grace=timedelta(0)).purged_recordings == 1
        assert session.get(AudioFile, populated.audio_of["alice"]) is None


def test_a_user_who_keeps_the_own_row_locked_is_deactivated_after_the_session_is_ended(populated):
    own = select(User).where(User.username == "alice")
    with ended_session(populated, "alice") as holder:
        holder.execute(text("SELECT id FROM users FOR UPDATE"))
        with pytest.raises(Busy, match="lock timeout"), populated.db.session(actor="root") as session:
            accounts.deactivate(bounded(session), session.scalars(own).one())
        with Session(populated.owner) as session:
            end_holders(session, populated.db.engine.url, longest=timedelta(0))
        with populated.db.session(actor="root") as session:
            assert not accounts.deactivate(bounded(session), session.scalars(own).one()).is_active
