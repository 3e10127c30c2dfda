"""Attack cases 16-20, 23, 49 and 50: writing to other cases, weakening or shadowing tables, holds and deletions.

The numbers are those of the list of attack cases. Cases covered by other files are referenced, not repeated.
"""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError

from src.database import Base, Case, CaseNote, StorageObject
from src.database.connection.actor_tokens import Actor
from src.database.schema import SESSION_ROLES
from src.errors import Forbidden, NotFound, SpeechError
from src.services import cases, recordings
from src.storage import keys
from tests.security.population import ALL_TABLES, CASE_TABLES, MODELS, core, one_connection, refused
from tests.undone import undone

pytestmark = pytest.mark.shared_database

BELOW = tuple(table for table in CASE_TABLES if table not in {"cases", "activity_logs", "storage_objects"})


@pytest.fixture
def of_both(populated):
    """Bob also owns Alice's case, so that the rows are visible and other rules must reject the writes."""
    with populated.db.session(actor="alice") as session:
        cases.add_participant(session, session.get(Case, populated.case_of["alice"]), "bob", role="owner")
    return populated


@pytest.mark.parametrize("change", ["case_id = {case}", "case_id = {case}, {parent} = {foreign}"])
def test_case_16_no_row_moves_to_another_case_not_even_with_its_parent(of_both, change):
    """UPDATE of case_id and FK together, by an owner of both cases. Foreign cases: test_writing.py."""
    before = [of_both.snapshot()[table] for table in BELOW]
    for table in BELOW:
        parent = next((key for key in ("audio_file_id", "transcription_id", "user_id")
                       if key in Base.metadata.tables[table].columns), "id")  # fmt: skip
        above = {"audio_file_id": "audio_files", "transcription_id": "transcriptions"}.get(parent, "case_participants")
        foreign = min(of_both.rows_of("alice", above))
        moved = change.format(case=of_both.case_of["alice"], parent=parent, foreign=foreign)
        with pytest.raises(Forbidden), of_both.db.session(actor="bob") as session:
            session.execute(text(f"UPDATE {table} SET {moved} WHERE case_id = {of_both.case_of['bob']}"))
    assert [of_both.snapshot()[table] for table in BELOW] == before


def test_case_16_not_even_the_database_owner_separates_a_child_from_its_parent(populated):
    for table in ("transcriptions", "processing_jobs", "analysis_results", "transcription_sources"):
        with pytest.raises(DBAPIError, match=r"foreign key|never edited"), populated.owner.begin() as connection:
            connection.execute(
                text(f"UPDATE {table} SET case_id = :bob WHERE case_id = :alice"),
                {"bob": populated.case_of["bob"], "alice": populated.case_of["alice"]},
            )


def test_case_16_a_bulk_update_without_where_changes_only_own_rows(populated):
    """More statements: test_writing.py."""
    own_counts = {table: len(populated.rows_of("alice", table)) for table in CASE_TABLES}
    with populated.db.session(actor="alice") as session:
        assert session.execute(update(CaseNote).values(body="x")).rowcount == own_counts["case_notes"]
        assert session.execute(text("UPDATE audio_files SET name = 'x'")).rowcount == own_counts["audio_files"]
    with populated.owner.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM case_notes WHERE body = 'x'")) == own_counts["case_notes"]


def test_case_16_an_object_announced_in_a_foreign_case_is_invisible_and_not_held(populated):
    """Announcing needs no permission (ADR 0003): pending objects have no owner, and a hold does not keep them."""
    bob, key = populated.case_of["bob"], keys.case_key(populated.case_of["bob"], "wav")
    with populated.db.session(actor="alice") as session:
        session.execute(select(func.public.announce_object(bob, key, "memory")))
    with undone(populated.db, actor="bob") as session:
        cases.place_hold(session, session.get(Case, bob), reason="court order")
        assert {usage.objects for usage in recordings.storage_usage(session, bob)} == {1}
        with pytest.raises(DBAPIError, match="permission denied"):
            session.scalars(select(StorageObject.id).where(StorageObject.key == key)).all()
    with populated.owner.begin() as connection:
        assert connection.execute(text("DELETE FROM storage_objects WHERE key = :key"), {"key": key}).rowcount == 1


def test_case_17_deleting_an_invisible_row_fails_like_a_missing_one(populated):
    """With SQL 0 rows; with the ORM NotFound, with the message of a row that was deleted."""
    words = []
    for table in ("case_notes", "analysis_results", "transcriptions", "audio_files", "cases"):
        model, foreign = MODELS[table], min(populated.rows_of("bob", table))
        with populated.db.session(actor="alice") as session:
            assert session.execute(text(f"DELETE FROM {table} WHERE id = {foreign}")).rowcount == 0
            assert session.execute(text(f"DELETE FROM {table} WHERE id = {foreign} RETURNING id")).all() == []
            assert session.execute(delete(model).where(model.id == foreign)).rowcount == 0
        for forbidden in (True, False):
            with populated.db.session(actor="bob") as session:
                thing = session.get(model, foreign)
            if not forbidden:
                with populated.owner.begin() as connection:
                    connection.execute(text(f"DELETE FROM {table} WHERE id = {foreign}"))
            with pytest.raises(NotFound) as caught, populated.db.session(actor="alice") as session:
                session.delete(thing)
            words.append(str(caught.value))
    assert words[::2] == words[1::2]


@pytest.fixture
def viewer(populated):
    with populated.db.session(actor="alice") as session:
        cases.add_participant(session, session.get(Case, populated.case_of["alice"]), "bob", role="viewer")
    return populated


def test_case_18_a_viewer_cannot_lock_or_change_rows(viewer):
    """INSERT, UPDATE and DELETE of each table by a viewer: test_writing.py; SELECT FOR UPDATE here."""
    alice = viewer.case_of["alice"]
    with core(viewer.db, Actor("bob")) as connection:
        for table in (*BELOW, "cases"):
            column = "id" if table == "cases" else "case_id"
            assert connection.scalar(text(f"SELECT count(*) FROM {table} WHERE {column} = {alice}")) > 0
            for lock in ("UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE", "UPDATE SKIP LOCKED"):
                locking = f"SELECT id FROM {table} WHERE {column} = {alice} FOR {lock}"
                if not refused(connection, locking):
                    assert connection.execute(text(locking)).all() == [], (table, lock)
            for change in (f"UPDATE {table} SET id = id WHERE {column} = {alice}",
                           f"DELETE FROM {table} WHERE {column} = {alice}"):  # fmt: skip
                assert refused(connection, change) or connection.execute(text(change)).rowcount == 0


def test_case_18_a_viewer_cannot_record_events_of_writers(viewer):
    with pytest.raises(SpeechError), viewer.db.session(actor="bob") as session:
        session.execute(text("SELECT record_activity('hold.released', :c, NULL, NULL, '{}')"),
                        {"c": viewer.case_of["alice"]})  # fmt: skip


def test_case_19_cascades_stay_within_a_case(populated):
    """By the catalog: cascading foreign keys include case_id. By a deletion: rows of the other case remain."""
    with populated.owner.connect() as connection:
        cascades = connection.execute(
            text("SELECT k.conrelid::regclass::text, k.confrelid::regclass::text, ARRAY(SELECT a.attname::text FROM"
                 " pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)) FROM pg_constraint k"
                 " WHERE k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd') AND k.conparentid = 0")
        ).all()  # fmt: skip
    assert len(cascades) >= 8
    assert [row for row in cascades if row[0] in CASE_TABLES and "case_id" not in row[2]] == []
    theirs = {table: populated.rows_of("bob", table) for table in CASE_TABLES}
    with populated.db.session(actor="alice") as session:
        assert session.execute(delete(Case)).rowcount == 1
    assert {table: populated.rows_of("bob", table) for table in CASE_TABLES} == theirs
    with populated.owner.connect() as connection:
        logged = connection.scalars(
            text("SELECT DISTINCT case_id FROM activity_logs WHERE operation = 'delete' AND actor = 'alice'")
        )
        assert logged.all() == [populated.case_of["alice"]]


@pytest.mark.parametrize("statement", [
    "TRUNCATE {0} CASCADE", "DROP TABLE {0} CASCADE", "ALTER TABLE {0} DISABLE TRIGGER ALL",
    "CREATE TRIGGER evil AFTER INSERT ON {0} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE evil AS ON DELETE TO {0} DO INSTEAD NOTHING",
])  # fmt: skip
def test_case_20_not_even_an_administrator_can_weaken_a_table(shared, statement):
    """Members, and more statements: test_roles.py. An administrator's session is sti_admin, which owns nothing."""
    with core(shared.db, Actor("root")) as connection:
        assert connection.scalar(text("SELECT current_user")) == "sti_admin"
        for table in ALL_TABLES:
            assert refused(connection, statement.format(f"public.{table}")), table


SHADOWS = (
    "CREATE TEMP TABLE users AS SELECT id, username, role_id, true AS is_active FROM public.users",
    (
        "CREATE TEMP TABLE case_participants AS SELECT {bob}::bigint AS case_id, id AS user_id, 'owner'::text AS role,"
        " '{{}}'::jsonb AS permissions, NULL::timestamptz AS expires_at FROM public.users"
    ),
    "CREATE TEMP TABLE cases AS SELECT {bob}::bigint AS id, 'forged'::text AS title",
    "CREATE TEMP TABLE activity_logs (LIKE public.activity_logs)",
    "CREATE TEMP VIEW processing_jobs AS SELECT 1 AS id",
    "CREATE FUNCTION pg_temp.actor_id() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
    "CREATE FUNCTION pg_temp.actor_may(a text, b text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT ''2000-01-01''::timestamptz'",
    "CREATE FUNCTION pg_temp.same(a bigint, b bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "CREATE OPERATOR pg_temp.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = pg_temp.same)",
    "CREATE DOMAIN pg_temp.bigint AS text",
    "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (false)",
    "SET LOCAL search_path = pg_temp, public, pg_catalog",
)


def test_case_23_objects_in_pg_temp_do_not_shadow_names_in_our_functions(populated):
    """Tables, views, functions, operators and types, created before our functions are compiled in this backend."""
    alice, bob = populated.case_of["alice"], populated.case_of["bob"]
    with one_connection(populated.db) as fresh, core(fresh, Actor("alice")) as connection:
        for shadow in SHADOWS:
            connection.exec_driver_sql(shadow.format(bob=bob))
        assert connection.scalar(text("SELECT public.actor_case_ids()::pg_catalog.text")) == f"{{{alice}}}"
        assert connection.scalar(text("SELECT public.actor_may('*', '*')")) is False
        assert connection.scalar(text("SELECT public.actor_name()")) == "alice"
        assert connection.scalars(text("SELECT title FROM public.cases")).all() == ["Case of alice"]
        assert connection.execute(text("SELECT * FROM public.search_page('bobsecret', '{}')")).all() == []
        assert refused(connection, "SELECT public.claim_job('{transcribe}', 'w', 60)")
        with pytest.raises(DBAPIError, match="does not exist, or you may not write in it"), connection.begin_nested():
            connection.execute(text(f"SELECT public.record_activity('note', {bob}, NULL, NULL, '{{}}')"))
        assert connection.execute(text("UPDATE public.case_notes SET body = 'shadowed'")).rowcount == 1
        assert connection.scalar(text("SELECT pg_catalog.count(*) FROM pg_temp.activity_logs")) == 0
    with populated.owner.connect() as connection:
        newest = connection.execute(text("SELECT actor, entity, case_id FROM activity_logs ORDER BY id DESC LIMIT 1"))
        assert tuple(newest.one()) == ("alice", "case_notes", alice)


def test_case_49_our_trigger_functions_cannot_be_attached_to_own_tables(unchanged):
    """All functions, on a temporary table and on one in public; capture also rejects it: test_functions.py."""
    with unchanged.owner.connect() as connection:
        functions = connection.scalars(
            text("SELECT proname::text FROM pg_proc WHERE prorettype = 'trigger'::regtype"
                 " AND pronamespace = 'public'::regnamespace")
        ).all()  # fmt: skip
    assert len(functions) >= 10
    for role in (*SESSION_ROLES, "NONE"):
        with core(unchanged.db, Actor("alice"), role) as connection:
            connection.execute(text("CREATE TEMP TABLE case_notes (id bigint, case_id bigint, body text)"))
            assert refused(connection, "CREATE TABLE public.case_notes_2 (id bigint)")
            for function in functions:
                assert refused(
                    connection,
                    "CREATE TRIGGER forge AFTER INSERT ON pg_temp.case_notes FOR EACH ROW"
                    f" EXECUTE FUNCTION public.{function}('case_id', '', '')",
                ), function
            connection.get_transaction().rollback()


def wait_until_blocked(engine, connection, thread):
    """Wait until the connection waits for a lock or its thread ends, without reading the statements of members."""
    waiting = text("SELECT EXISTS (SELECT FROM pg_locks WHERE pid = :pid AND NOT granted)")
    pid = connection.connection.dbapi_connection.info.backend_pid
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watcher:
        while thread.is_alive() and not watcher.scalar(waiting, {"pid": pid}):
            thread.join(0.005)


@pytest.mark.own_database
@pytest.mark.parametrize("first", ["hold", "delete"])
@pytest.mark.parametrize("erase", ["DELETE FROM audio_files", "DELETE FROM cases", "DELETE FROM case_notes"])
def test_case_50_a_hold_and_an_uncommitted_deletion_exclude_each_other(populated, first, erase):
    """As members. As the database owner, and in each isolation level: tests/services/test_permissions.py."""
    alice, table = populated.case_of["alice"], erase.rpartition(" ")[2]
    place = f"INSERT INTO legal_holds (case_id, reason) VALUES ({alice}, 'order')"
    early, late = (place, erase) if first == "hold" else (erase, place)
    errors = []

    def second(connection):
        try:
            connection.execute(text(late))
            connection.get_transaction().commit()
        except DBAPIError as error:
            errors.append(error)
            connection.get_transaction().rollback()

    with core(populated.db, Actor("alice")) as one, core(populated.db, Actor("alice")) as two:
        one.execute(text(early))
        thread = threading.Thread(target=second, args=(two,))
        thread.start()
        wait_until_blocked(populated.owner, two, thread)
        one.get_transaction().commit()
        thread.join(30)
    with populated.owner.connect() as connection:
        column = "id" if table == "cases" else "case_id"
        left = connection.scalar(text(f"SELECT count(*) FROM {table} WHERE {column} = {alice}"))
        held = connection.scalar(text("SELECT count(*) FROM legal_holds WHERE released_at IS NULL"))
    # A hold placed first keeps the rows; one placed after the deletion has no rows, or finds no case.
    assert (held, left > 0) in ({(1, True)} if first == "hold" else {(0, False), (1, False)})
    assert first == "delete" or errors
