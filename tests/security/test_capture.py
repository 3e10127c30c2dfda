"""Every change is logged exactly once with actor, reason and content, without secrets, with verifiable hashes."""

from __future__ import annotations

import hashlib
import io
import json

import pytest
from sqlalchemy import create_engine, delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from src.database import ActivityLog, Base, Case, CaseNote, CaseParticipant, User, UserRole
from src.database.schema import head
from src.errors import SpeechError
from src.services import accounts
from tests.declared import CAPTURED_TABLES, CASE_TABLES
from tests.security.population import add_audio

pytestmark = pytest.mark.shared_database

SESSION_OPTIONS = {"actor": "alice", "reason": 'because of O\'Brien\nand "quotes" — 理由', "request_id": "R-4711"}
# Not captured: ephemeral, derived, or with a history of their own.
UNCAPTURED = {"transcription_segments", "transcription_sources", "activity_logs", "activity_seals",
              "activity_archives", "actor_keys", "case_access_changes", "case_accesses", "log_overflows",
              "login_throttles", "name_locks",
              "protected_tables", "database_identities", "storages"}  # fmt: skip


@pytest.fixture
def log(populated):
    """A function that returns the entries since the start of the test, oldest first, without those of reads."""
    last = text("SELECT coalesce(max(id), 0) FROM activity_logs")
    with populated.owner.connect() as connection:
        start = connection.scalar(last)

    def entries(*, entity=None):
        with populated.owner.connect() as connection:
            rows = connection.execute(
                text("SELECT l.* FROM activity_logs l JOIN activity_types t ON t.id = l.activity_type_id"
                     " WHERE l.id > :start AND t.code <> 'note.read' ORDER BY l.id"), {"start": start}
            ).all()  # fmt: skip
        return [row for row in rows if entity is None or row.entity == entity]

    return entries


def test_every_table_is_captured_or_listed_as_uncaptured():
    assert set(CAPTURED_TABLES) | UNCAPTURED == set(Base.metadata.tables)


def orm_insert(session, case):
    session.add(CaseNote(case_id=case, body="new"))


def core_insert(session, case):
    session.execute(insert(CaseNote).values(case_id=case, body="new"))


def raw_insert(session, case):
    session.execute(text("INSERT INTO case_notes (case_id, body) VALUES (:case, 'new')"), {"case": case})


def copied_insert(session, case):
    session.execute(text("CREATE TEMP TABLE staged (case_id bigint, body text) ON COMMIT DROP"))
    with session.connection().connection.dbapi_connection.cursor() as cursor:
        cursor.copy_expert("COPY staged FROM STDIN", io.StringIO(f"{case}\tnew\n"))
    session.execute(text("INSERT INTO case_notes (case_id, body) SELECT * FROM staged"))


def orm_update(session, case):
    session.scalars(select(CaseNote)).one().body = "new"


def bulk_update(session, case):
    session.execute(update(CaseNote).values(body="new"))


def raw_update(session, case):
    session.execute(text("UPDATE case_notes SET body = 'new'"))


def merged_update(session, case):
    session.execute(
        text("MERGE INTO case_notes n USING (VALUES (1)) v ON n.id > 0 WHEN MATCHED THEN UPDATE SET body = 'new'")
    )


def orm_delete(session, case):
    session.delete(session.scalars(select(CaseNote)).one())


def bulk_delete(session, case):
    session.execute(delete(CaseNote))


def raw_delete(session, case):
    session.execute(text("DELETE FROM case_notes"))


CHANGES = {
    "insert": (orm_insert, core_insert, raw_insert, copied_insert),
    "update": (orm_update, bulk_update, raw_update, merged_update),
    "delete": (orm_delete, bulk_delete, raw_delete),
}


@pytest.mark.parametrize(("operation", "change"), [(op, way) for op, ways in CHANGES.items() for way in ways])
def test_a_change_is_captured_once_by_any_statement(populated, log, operation, change):
    case = populated.case_of["alice"]
    before = "Secret note of alice"
    with populated.db.session(**SESSION_OPTIONS) as session:
        change(session, case)
        session.flush()
        xid = session.scalar(text("SELECT pg_current_xact_id()::text"))
    (entry,) = log()
    assert (entry.entity, entry.operation, entry.case_id) == ("case_notes", operation, case)
    assert (entry.actor, entry.reason, entry.request_id) == ("alice", SESSION_OPTIONS["reason"], "R-4711")
    assert (str(entry.transaction_id), entry.schema_revision) == (xid, head())
    with populated.owner.connect() as connection:
        assert entry.actor_id == connection.scalar(select(User.id).where(User.username == "alice"))
        assert entry.epoch == connection.scalar(text("SELECT system_identifier FROM pg_control_system()"))
    new_body = None if operation == "delete" else entry.new["body"]
    old_body = None if operation == "insert" else entry.old["body"]
    assert (old_body, new_body) == {
        "insert": (None, "new"),
        "update": (before, "new"),
        "delete": (before, None),
    }[operation]
    assert (entry.old is None, entry.new is None) == (operation == "insert", operation == "delete")
    if operation == "update":
        assert set(entry.old) == {"body", "updated_at", "row_version"}
        assert set(entry.new) == set(CaseNote.__table__.columns.keys())


def test_an_upsert_is_captured_as_insert_or_update(populated, log):
    with populated.owner.connect() as connection:
        user = connection.scalar(text("SELECT id FROM users WHERE username = 'transcriber'"))
    statement = upsert(CaseParticipant)
    statement = statement.on_conflict_do_update(
        index_elements=["case_id", "user_id"], set_={"role": statement.excluded.role}
    )
    for role in ("viewer", "editor"):
        with populated.db.session(**SESSION_OPTIONS) as session:
            session.execute(statement.values(case_id=populated.case_of["alice"], user_id=user, role=role))
    entries = log(entity="case_participants")
    assert [(e.operation, e.new["role"]) for e in entries] == [("insert", "viewer"), ("update", "editor")]


def test_each_row_of_a_statement_has_an_entry_cases_first(populated, log):
    with populated.db.session(**SESSION_OPTIONS) as session:
        session.execute(insert(Case), [{"title": f"Case {number}"} for number in range(30)])
    entries = log()
    opened, owners = entries[:30], entries[30:]
    assert [entry.new["title"] for entry in opened] == [f"Case {number}" for number in range(30)]
    assert [(entry.entity, entry.new["role"], entry.case_id) for entry in owners] == [
        ("case_participants", "owner", entry.entity_id) for entry in opened
    ]
    assert len({bytes(entry.salt) for entry in entries}) == 60


def test_a_statement_without_rows_needs_no_actor_and_leaves_no_entry(populated, log):
    with populated.db.session() as session:
        session.execute(text("INSERT INTO case_notes (case_id, body) SELECT 1, 'none' WHERE false"))
    assert log() == []


@pytest.mark.own_database
def test_replicated_rows_are_captured_once_each(populated, speech_server, log):
    """Replication fires only row triggers; a superuser can simulate it with session_replication_role."""
    superuser = create_engine(speech_server.maintenance.set(database=populated.owner.url.database))
    with superuser.begin() as connection:
        if not connection.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")):
            pytest.skip("only a superuser can set session_replication_role")
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        rows = [{"case": populated.case_of["alice"], "body": f"Note {number}"} for number in range(3)]
        note = "INSERT INTO case_notes (case_id, author_id, body) SELECT id, opened_by_id, :body FROM cases"
        connection.execute(text(f"{note} WHERE id = :case"), rows)
    superuser.dispose()
    assert [entry.new["body"] for entry in log(entity="case_notes")] == ["Note 0", "Note 1", "Note 2"]


def test_an_update_that_changes_nothing_is_not_captured(populated, log):
    with populated.db.session(**SESSION_OPTIONS) as session:
        assert session.execute(text("UPDATE cases SET title = title")).rowcount == 1
        session.execute(text("UPDATE case_notes SET body = body"))
    assert log() == []


def test_three_updates_have_three_entries_and_an_insert_with_delete_has_two(populated, log):
    with populated.db.session(**SESSION_OPTIONS) as session:
        for number in range(3):
            session.execute(text("UPDATE cases SET title = :title"), {"title": f"T{number}"})
        session.execute(text("INSERT INTO case_notes (case_id, body) SELECT id, 'brief' FROM cases"))
        session.execute(text("DELETE FROM case_notes WHERE body = 'brief'"))
    assert [(e.operation, e.old["title"], e.new["title"]) for e in log(entity="cases")] == [
        ("update", "Case of alice", "T0"),
        ("update", "T0", "T1"),
        ("update", "T1", "T2"),
    ]
    assert [entry.operation for entry in log(entity="case_notes")] == ["insert", "delete"]
    assert len({entry.transaction_id for entry in log()}) == 1


def test_changes_that_are_rolled_back_are_not_captured(populated, log):
    with pytest.raises(ZeroDivisionError), populated.db.session(**SESSION_OPTIONS) as session:
        session.execute(text("UPDATE cases SET title = 'never'"))
        raise ZeroDivisionError
    with populated.db.session(**SESSION_OPTIONS) as session, session.begin_nested() as inner:
        session.execute(text("UPDATE cases SET title = 'never'"))
        inner.rollback()
    assert log() == []


def test_a_cascade_is_captured_row_by_row_with_the_case(populated, log):
    expected = {
        (table, row)
        for table in ("cases", *CASE_TABLES)
        if table in CAPTURED_TABLES and table != "storage_objects"
        for row in populated.rows_of("alice", table)
    }
    with populated.db.session(**SESSION_OPTIONS) as session:
        session.execute(delete(Case))
    entries = log()
    deleted = [entry for entry in entries if entry.operation == "delete"]
    assert {(entry.entity, entry.entity_id) for entry in deleted} == expected
    assert len(deleted) == len(expected)
    # The content outlives the row: its object is queued for the sweeper.
    assert {entry.entity for entry in entries if entry.operation == "update"} == {"storage_objects"}
    assert {(e.operation, e.actor, e.case_id, e.reason) for e in deleted} == {
        ("delete", "alice", populated.case_of["alice"], SESSION_OPTIONS["reason"])
    }


def test_changes_by_triggers_are_captured_for_the_actor(populated, log):
    with populated.db.session(**SESSION_OPTIONS) as session:
        session.add(Case(title="opens with its owner"))
        session.flush()
        add_audio(session, populated.case_of["alice"], "second.wav")
    assert [(entry.entity, entry.operation, entry.actor) for entry in log()] == [
        ("cases", "insert", "alice"),
        ("case_participants", "insert", "alice"),
        ("storage_objects", "insert", "alice"),
        ("storage_objects", "update", "alice"),
        ("audio_files", "insert", "alice"),
    ]
    # An announced object belongs to no case until a recording of the case adopts it.
    assert [entry.case_id for entry in log()[2:]] == [None, populated.case_of["alice"], populated.case_of["alice"]]


def test_changes_of_the_database_owner_are_attributed_to_an_operator(populated, log):
    with populated.owner.begin() as connection:
        connection.execute(text("UPDATE cases SET title = 'by hand' WHERE case_code = 'CASE-BOB'"))
    (entry,) = log()
    assert (entry.actor, entry.actor_id) == (f"operator:{populated.owner.url.username}", None)


@pytest.mark.own_database
def test_the_log_contains_no_secrets(populated, log):
    secret, address = "correct horse battery", "new.address@example.org"
    with populated.db.session(actor="root") as session:
        user = accounts.create_user(session, username="carol", password=secret, email=address, full_name="Carol")
        accounts.change_password(session, user, f"{secret} staple")
        user.email = f"other.{address}"
        session.flush()
        stored = user.id
    with pytest.raises(SpeechError), populated.db.session() as session:
        accounts.authenticate(session, "carol", "a wrong password")
    with populated.db.session() as session:
        accounts.authenticate(session, "carol", f"{secret} staple")
    with populated.owner.begin() as connection:
        connection.execute(text("DELETE FROM users WHERE id = :id"), {"id": stored})
        everything = connection.scalar(text("SELECT string_agg(l::text, chr(10)) FROM activity_logs l"))
        hashes = connection.scalars(text("SELECT password_hash FROM users")).all()
    for secret_word in (secret, address, "@example.org", "$2b$", "bcrypt:", "a wrong password", *hashes):
        assert secret_word not in everything, secret_word
    kinds = [entry.operation for entry in log(entity="users")]
    assert (kinds[0], kinds[-1], kinds.count("event")) == ("insert", "delete", 2)
    changed = [entry for entry in log(entity="users") if entry.operation == "update" and "password_hash" in entry.old]
    assert len(changed) == 2, "the log contains the fact that a password was set and changed, and nothing more"
    assert changed[0].old["password_hash"] is None
    assert changed[1].old["password_hash"].startswith("sha256:")
    assert changed[1].old["password_hash"] != changed[1].new["password_hash"]


ODD = {
    "TimeZone": "Asia/Kathmandu",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "iso_8601",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "xmlbinary": "hex",
    "lc_numeric": "C",
}


def test_the_hashes_can_be_recomputed_from_the_row(populated, log):
    values = {"1.10": 1.1, "tiny": 5e-324, "unicode": '😀 ünï "q" \\ / \u2028', "keys": {"b": 1, "a": [None, True]}}
    with populated.db.session(**SESSION_OPTIONS) as session:
        for name, value in ODD.items():
            session.execute(text(f"SET LOCAL {name} = '{value}'"))
        session.execute(text("SET LOCAL backslash_quote = on"))
        session.execute(text("UPDATE analysis_results SET accepted_at = now(), accepted_by_id = public.actor_id()"))
        # Without the ORM: the driver cannot parse timestamps in this style.
        session.execute(
            text("INSERT INTO cases (title, description) VALUES (:title, repeat('x', 20000))"),
            {"title": "\U0001f600 'quoted' \\ back"},
        )
        audio = populated.audio_of["alice"]
        session.execute(
            text("INSERT INTO analysis_results (case_id, audio_file_id, version, sentiment_score, details)"
                 " VALUES (:case, :audio, 2, 0.1::float8 + 0.2::float8, CAST(:details AS jsonb))"),
            {"case": populated.case_of["alice"], "audio": audio, "details": json.dumps(values)},
        )  # fmt: skip
    entries = log()
    assert len(entries) == 4
    for entry in entries:
        assert (bytes(entry.payload_hash), bytes(entry.leaf_hash)) == hashes_of(populated, entry)
    stored = next(e for e in entries if e.entity == "analysis_results" and e.operation == "insert")
    assert stored.new["sentiment_score"] == 0.1 + 0.2
    assert stored.new["details"] == values
    assert stored.new["created_at"].endswith("+00:00")


def hashes_of(populated, entry):
    """Recompute the hashes as documented in `src/database/sql/activity_log.sql`; PostgreSQL only formats jsonb."""

    def canonical(value):
        with populated.owner.connect() as connection:
            return connection.scalar(text("SELECT CAST(:v AS jsonb)::text"), {"v": value}).encode()

    with populated.owner.connect() as connection:
        old, new, micros = connection.execute(
            text("SELECT old::text, new::text, (extract(epoch FROM created_at) * 1000000)::bigint FROM activity_logs"
                 " WHERE id = :id"), {"id": entry.id}).one()  # fmt: skip
    payload = canonical(f'{{"new": {new or "null"}, "old": {old or "null"}}}')
    payload_hash = hashlib.sha256(bytes(entry.salt) + payload).digest()
    fields = [entry.id, micros, entry.activity_type_id, entry.actor_id, entry.actor, entry.case_id, entry.entity,
              entry.entity_id, entry.operation, entry.reason, entry.request_id, str(entry.transaction_id), entry.epoch,
              entry.schema_revision]  # fmt: skip
    return payload_hash, hashlib.sha256(b"\0" + canonical(json.dumps(fields)) + payload_hash).digest()


@pytest.mark.own_database
@pytest.mark.parametrize("change", ["old", "new", "reason", "actor", "entity_id", "salt", "created_at"])
def test_a_changed_entry_does_not_match_its_hash(populated, log, change):
    with populated.db.session(**SESSION_OPTIONS) as session:
        session.execute(text("UPDATE cases SET title = 'x'"))
    (entry,) = log()
    with populated.owner.begin() as connection:
        connection.execute(text("ALTER TABLE activity_logs DISABLE TRIGGER refuse_change"))
        value = {"old": "'{}'", "new": "'{}'", "reason": "'x'", "actor": "'bob'", "entity_id": "7", "salt": "'x'",
                 "created_at": "created_at + interval '1 microsecond'"}[change]  # fmt: skip
        connection.execute(text(f"UPDATE activity_logs SET {change} = {value} WHERE id = :id"), {"id": entry.id})
    (tampered,) = log()
    assert bytes(tampered.leaf_hash) != hashes_of(populated, tampered)[1]


@pytest.mark.own_database
def test_roles_are_captured_and_an_entry_outside_every_partition_is_stored(populated, log):
    with populated.db.session(actor="root") as session:
        session.scalars(select(UserRole).where(UserRole.code == "user")).one().description = "people"
    assert [(entry.entity, entry.operation) for entry in log()] == [("user_roles", "update")]
    with populated.owner.begin() as connection:
        partitions = connection.scalars(
            text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'activity_logs'::regclass")
        ).all()
        for partition in partitions:
            if partition != "activity_logs_default":
                connection.execute(text(f"ALTER TABLE activity_logs DETACH PARTITION {partition}"))
    with populated.db.session(actor="alice") as session:
        session.execute(text("UPDATE cases SET title = 'without a month'"))
        assert session.scalar(select(ActivityLog.actor)) == "alice"
