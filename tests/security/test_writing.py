"""Writes to other cases: rows cannot be moved, added, changed or signed as another user."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from src.database import Base, Case, CaseNote, CaseParticipant
from src.database.connection.actor_tokens import Actor
from src.database.schema.declaration import SIGNED, protection_of, with_mark
from src.errors import Conflict, Forbidden, InvalidInput, NotFound, SpeechError
from src.services import cases, recordings
from tests.security.population import CASE_TABLES, core, insert_statement, refused, rows_written_by
from tests.undone import undone

pytestmark = pytest.mark.shared_database

BELOW = tuple(table for table in CASE_TABLES if table not in {"cases", "activity_logs"})
# The policy of cases checks opened_by_id itself.
SIGNED_COLUMNS = {
    table: columns for table in BELOW if (columns := with_mark(Base.metadata.tables[table].columns, SIGNED))
} | {"cases": ("opened_by_id",)}  # fmt: skip


@pytest.mark.parametrize("table", CASE_TABLES)
def test_no_row_can_be_inserted_into_a_foreign_case(unchanged, table):
    values = rows_written_by(unchanged, "alice", unchanged.case_of["bob"])[table]
    # Signed as Alice: only the case is foreign.
    values = {
        name: value for name, value in values.items() if table == "cases" or name not in SIGNED_COLUMNS.get(table, ())
    }
    with pytest.raises(SpeechError) as caught, unchanged.db.session(actor="alice") as session:
        session.execute(*insert_statement(table, values))
    assert isinstance(caught.value, Forbidden | Conflict)


@pytest.mark.parametrize("table", BELOW)
def test_no_row_can_be_moved_into_a_foreign_case(unchanged, table):
    for change in ("case_id = :bob", "case_id = :bob, id = id", "id = id + 1000", "created_at = now()"):
        with pytest.raises(Forbidden), unchanged.db.session(actor="alice") as session:
            session.execute(text(f"UPDATE {table} SET {change}"), {"bob": unchanged.case_of["bob"]})


@pytest.mark.parametrize("table", ["audio_files", "transcriptions"])
def test_a_child_cannot_reference_an_invisible_parent(unchanged, table):
    """The parent is in Bob's case; the child names Alice's case or Bob's."""
    foreign = min(unchanged.rows_of("bob", table))
    child, column = {
        "audio_files": ("processing_jobs (case_id, kind, audio_file_id)", "'x', :parent"),
        "transcriptions": ("transcription_segments (case_id, position, text, transcription_id)", "77, 'x', :parent"),
    }[table]
    for case, refusal in ((unchanged.case_of["alice"], Conflict), (unchanged.case_of["bob"], Forbidden)):
        with pytest.raises(refusal) as caught, unchanged.db.session(actor="alice") as session:
            session.execute(text(f"INSERT INTO {child} VALUES (:case, {column})"), {"case": case, "parent": foreign})
        if refusal is Conflict:
            # The same message as for a parent that does not exist.
            with pytest.raises(Conflict) as missing, unchanged.db.session(actor="alice") as session:
                session.execute(text(f"INSERT INTO {child} VALUES (:case, {column})"), {"case": case, "parent": 10**12})
            assert str(caught.value) == str(missing.value)


def test_an_upsert_does_not_change_an_invisible_row(unchanged):
    bob = unchanged.case_of["bob"]
    theirs = insert(Case).values(title="taken", case_code="CASE-BOB")
    for statement in (
        theirs.on_conflict_do_update(index_elements=["case_code"], set_={"title": "taken"}),
        theirs.on_conflict_do_update(index_elements=["case_code"], set_={"title": "x"}, where=Case.id == bob),
    ):
        # The condition of an upsert is evaluated for invisible rows: no key without the case can be its target.
        with (
            pytest.raises(DBAPIError, match="no unique or exclusion constraint"),
            core(unchanged.db, Actor("alice")) as connection,
        ):
            connection.execute(statement)
    with unchanged.db.session(actor="alice") as session:
        assert session.execute(theirs.on_conflict_do_nothing()).rowcount == 0
        assert session.scalars(select(Case.case_code)).all() == ["CASE-ALICE"]


def test_merge_does_not_change_an_invisible_row(populated):
    with populated.db.session(actor="alice") as session:
        session.execute(
            text("MERGE INTO cases c USING (VALUES (:bob), (:alice)) v (id) ON c.id = v.id"
                 " WHEN MATCHED THEN UPDATE SET title = 'merged'"),
            {"bob": populated.case_of["bob"], "alice": populated.case_of["alice"]},
        )  # fmt: skip
    with populated.owner.connect() as connection:
        assert connection.scalars(text("SELECT title FROM cases ORDER BY id")).all() == ["merged", "Case of bob"]


def test_a_merge_that_reads_no_column_is_rejected(unchanged):
    """PostgreSQL applies no SELECT policy in this case: the UPDATE policy rejects the foreign rows."""
    for action in ("UPDATE SET body = 'x'", "DELETE"):
        with pytest.raises(Forbidden), unchanged.db.session(actor="alice") as session:
            session.execute(text(f"MERGE INTO case_notes n USING (VALUES (1)) v ON true WHEN MATCHED THEN {action}"))


def test_statements_without_where_change_only_own_rows(populated):
    before = {table: populated.rows_of("bob", table) for table in CASE_TABLES}
    with populated.db.session(actor="alice") as session:
        assert session.execute(update(Case).values(title="mine")).rowcount == 1
        assert session.execute(text("UPDATE case_notes SET body = 'mine'")).rowcount == 1
        assert session.execute(text("UPDATE cases SET title = 'x' FROM case_notes n")).rowcount == 1
        assert session.execute(delete(CaseNote)).rowcount == 1
        assert session.execute(text("DELETE FROM analysis_results")).rowcount == 1
        assert session.execute(text("DELETE FROM cases USING users")).rowcount == 1
    assert {table: populated.rows_of("bob", table) for table in CASE_TABLES} == before
    assert populated.rows_of("alice", "audio_files") == set()
    with populated.db.session(actor="bob") as session:
        assert session.scalars(select(Case.title)).all() == ["Case of bob"]


def test_deleting_or_locking_an_invisible_row_affects_no_rows(unchanged):
    bob = unchanged.case_of["bob"]
    with unchanged.db.session(actor="alice") as session:
        assert session.execute(delete(Case).where(Case.id == bob)).rowcount == 0
        assert session.execute(select(Case.id).where(Case.id == bob).with_for_update()).all() == []
        assert session.execute(text("SELECT id FROM cases WHERE id = :b FOR KEY SHARE"), {"b": bob}).all() == []


def add_participant(populated, name, role, **columns):
    with populated.db.session(actor="alice") as session:
        case = session.get(Case, populated.case_of["alice"])
        participant = cases.add_participant(session, case, name, role=role)
        for column, value in columns.items():
            setattr(participant, column, value)
    return case


WRITES = {
    "UPDATE cases SET title = 'x'": "cases",
    "UPDATE case_notes SET body = 'x'": "case_notes",
    "UPDATE audio_files SET name = 'x'": "audio_files",
    "UPDATE transcriptions SET accepted_at = NULL": "transcriptions",
    "UPDATE legal_holds SET release_reason = NULL": "legal_holds",
    "UPDATE case_participants SET role = 'owner'": "case_participants",
    "DELETE FROM cases": "cases",
    "DELETE FROM case_notes": "case_notes",
    "DELETE FROM audio_files": "audio_files",
    "DELETE FROM transcriptions": "transcriptions",
    "DELETE FROM case_participants": "case_participants",
}
EDITORS_WRITES = ("UPDATE cases", "UPDATE case_notes", "UPDATE audio_files", "UPDATE transcriptions")


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_a_participant_changes_in_alices_case_only_what_the_role_allows(populated, role):
    add_participant(populated, "bob", role)
    for statement, table in WRITES.items():
        with core(populated.db, Actor("bob")) as connection:
            column = "id" if table == "cases" else "case_id"
            where = f"{column} = {populated.case_of['alice']}"
            assert connection.scalar(text(f"SELECT count(*) FROM {table} WHERE {where}")) > 0, "the rows are visible"
            expected = 1 if role == "editor" and statement.startswith(EDITORS_WRITES) else 0
            assert connection.execute(text(f"{statement} WHERE {where}")).rowcount == expected, statement
            connection.get_transaction().rollback()
    inserts = rows_written_by(populated, "alice", populated.case_of["alice"])
    # The version is complete: not even an editor can add a segment or a source to it.
    writable = {table for table in BELOW if protection_of(Base.metadata.tables[table]).insert == "write"}
    allowed = writable if role == "editor" else set()
    assert writable >= {"case_notes", "processing_jobs", "transcriptions", "analysis_results"}
    for table in BELOW:
        if table in {"audio_files", "transcription_segments", "transcription_sources"}:
            continue  # need an announced object or an incomplete version; the tests of the services cover them
        values = {k: v for k, v in inserts[table].items() if k not in SIGNED_COLUMNS.get(table, ())}
        with core(populated.db, Actor("bob")) as connection:
            statement, parameters = insert_statement(table, values)
            assert refused(connection, statement.text, parameters) == (table not in allowed), table
            connection.get_transaction().rollback()


def test_an_editor_can_neither_delete_the_case_nor_manage_participants(populated):
    case = add_participant(populated, "bob", "editor")
    with populated.db.session(actor="bob") as session:
        cases.add_note(session, case, "an editor writes")
    for attempt in (
        lambda s: s.delete(s.get(Case, case.id)),
        lambda s: cases.add_participant(s, case, "transcriber", role="viewer"),
        lambda s: cases.add_participant(s, case, "bob", role="owner"),
        lambda s: cases.remove_participant(s, case, "alice"),
        lambda s: cases.place_hold(s, case, reason="x"),
    ):
        with pytest.raises(SpeechError), populated.db.session(actor="bob") as session:
            attempt(session)
            session.flush()
    with populated.owner.connect() as connection:
        roles = connection.execute(
            text("SELECT u.username, p.role FROM case_participants p JOIN users u ON u.id = p.user_id"
                 " WHERE p.case_id = :case ORDER BY 1"), {"case": case.id}).all()  # fmt: skip
    assert roles == [("alice", "owner"), ("bob", "editor")]


@pytest.mark.parametrize(
    ("role", "permissions", "may"),
    [
        ("viewer", {"allow": ["write"]}, {"read", "write"}),
        ("editor", {"deny": ["write"]}, {"read"}),
        ("owner", {"deny": ["delete", "manage"]}, {"read", "write"}),
        ("viewer", {"allow": ["write"], "deny": ["write"]}, {"read"}),
        ("owner", {"deny": ["read"]}, set()),
        ("viewer", {"allow": [], "deny": []}, {"read"}),
    ],
)
def test_permissions_of_a_participant_allow_and_deny_and_deny_overrides(populated, role, permissions, may):
    case = add_participant(populated, "bob", role, permissions=permissions)
    with populated.db.session(actor="bob") as session:
        for verb in ("read", "write", "delete", "manage"):
            granted = session.scalar(text("SELECT actor_may_in(:case, :verb)"), {"case": case.id, "verb": verb})
            assert granted == (verb in may), verb


def test_a_grant_that_expires_ends_inside_an_open_transaction(populated):
    case = add_participant(populated, "bob", "viewer")
    with populated.db.session(actor="bob") as session:
        assert session.get(Case, case.id) is not None
        session.expunge_all()
        with populated.owner.begin() as connection:
            connection.execute(text("UPDATE case_participants SET expires_at = now() - interval '1 s'"
                                    " WHERE case_id = :case AND role = 'viewer'"), {"case": case.id})  # fmt: skip
        assert session.get(Case, case.id) is None


@pytest.mark.parametrize(("table", "column"), [(t, c) for t, columns in SIGNED_COLUMNS.items() for c in columns])
def test_rows_cannot_be_signed_as_another_user(unchanged, table, column):
    case = unchanged.case_of["alice"]
    values = rows_written_by(unchanged, "alice", case)[table]
    values = {k: v for k, v in values.items() if k not in SIGNED_COLUMNS[table]}
    with unchanged.owner.connect() as connection:
        bob = connection.scalar(text("SELECT id FROM users WHERE username = 'bob'"))
    values[column] = bob
    values |= {"released_by_id": {"released_at": datetime(2026, 1, 1, tzinfo=UTC), "release_reason": "x"},
               "accepted_by_id": {"accepted_at": datetime(2026, 1, 1, tzinfo=UTC)}}.get(column, {})  # fmt: skip
    if table == "audio_files":
        with unchanged.db.session(actor="alice") as session:
            pending = session.scalar(text("SELECT path FROM audio_files"))
        values["path"] = pending
    with pytest.raises((Forbidden, Conflict)) as caught, unchanged.db.session(actor="alice") as session:
        session.execute(*insert_statement(table, values))
    if table != "audio_files":
        assert isinstance(caught.value, Forbidden)


@pytest.mark.parametrize(("table", "when", "who", "rest"), [
    ("transcriptions", "accepted_at", "accepted_by_id", ""),
    ("analysis_results", "accepted_at", "accepted_by_id", ""),
    ("legal_holds", "released_at", "released_by_id", ", release_reason = 'x'"),
])  # fmt: skip
def test_rows_cannot_be_accepted_or_released_as_another_user(unchanged, table, when, who, rest):
    with pytest.raises(Forbidden), unchanged.db.session(actor="alice") as session:
        session.execute(
            text(f"UPDATE {table} SET {when} = now(), {who} = (SELECT id FROM users WHERE username = 'bob'){rest}")
        )
    with undone(unchanged.db, actor="alice") as session:
        mine = session.execute(
            text(f"UPDATE {table} SET {when} = now(), {who} = public.actor_id(){rest}"),
        )
        assert mine.rowcount == 1


def test_a_segment_is_never_edited(unchanged):
    for statement in ("UPDATE transcription_segments SET text = 'x'", "DELETE FROM transcription_segments"):
        with pytest.raises(Forbidden), unchanged.db.session(actor="alice") as session:
            session.execute(text(statement))


@pytest.mark.parametrize("who", ["alice", "root"])
def test_only_the_services_set_the_archive_flag(unchanged, who):
    """Neither a user who may change the recording nor an administrator can set the flag without moving the object."""
    message = "The actor of this session may not do that: permission denied for table audio_files"
    for change in ("is_archived = true, archive_reason = 'x'", "archive_reason = 'x'", "is_archived = is_archived"):
        with pytest.raises(Forbidden, match=message), unchanged.db.session(actor=who) as session:
            session.execute(text(f"UPDATE audio_files SET {change}"))
    with pytest.raises(Forbidden, match=message), unchanged.db.session(actor=who) as session:
        audio = session.scalars(select(recordings.AudioFile).limit(1)).one()
        audio.is_archived, audio.archive_reason = True, "x"
    values = rows_written_by(unchanged, "alice", unchanged.case_of["alice"])["audio_files"]
    for archived in ({"is_archived": True, "archive_reason": "x"}, {"archive_reason": "x"}):
        with pytest.raises(Forbidden, match=message), unchanged.db.session(actor=who) as session:
            session.execute(*insert_statement("audio_files", values | archived))
    place = text("SELECT place_recording(a.id, a.path, :key, 'memory', :archived, 'x') FROM audio_files a LIMIT 1")
    for key, archived in (("cases/1/x.wav", True), ("archive/1/x.wav", False), ("archive/1/x.wav", None)):
        with (
            pytest.raises(InvalidInput, match="archived: must be true for keys below"),
            unchanged.db.session(actor=who) as session,
        ):
            session.execute(place, {"key": key, "archived": archived})


def test_a_foreign_recording_cannot_be_opened_and_a_foreign_case_not_ingested_into(unchanged, tone):
    with unchanged.db.session(actor="bob") as session:
        case = session.get(Case, unchanged.case_of["bob"])
        audio = session.scalars(select(recordings.AudioFile)).one()
    with pytest.raises(NotFound), unchanged.db.session(actor="alice") as session:
        recordings.open(session, audio)
    with pytest.raises(NotFound), unchanged.db.session(actor="alice") as session:
        recordings.ingest(session, case, tone, name="x.wav")


def test_a_participant_of_two_cases_cannot_move_rows_between_them(populated):
    add_participant(populated, "bob", "editor")
    for table in ("case_notes", "audio_files", "transcriptions"):
        with pytest.raises(Forbidden), populated.db.session(actor="bob") as session:
            session.execute(text(f"UPDATE {table} SET case_id = :own"), {"own": populated.case_of["bob"]})
    with populated.db.session(actor="bob") as session:
        assert len(session.scalars(select(CaseParticipant)).all()) == 3


@pytest.mark.own_database
def test_users_change_only_their_own_profile(populated):
    with populated.db.session(actor="alice") as session:
        assert session.execute(text("UPDATE users SET full_name = 'Alice A.'")).rowcount == 1
    for change in (
        "is_active = true",
        "role_id = 1",
        "username = 'root2'",
        "password_hash = 'x'",
        "last_login = now()",
    ):
        with pytest.raises(Forbidden), populated.db.session(actor="alice") as session:
            session.execute(text(f"UPDATE users SET {change} WHERE username = 'alice'"))
    with populated.owner.connect() as connection:
        assert connection.scalars(text("SELECT full_name FROM users WHERE username <> 'alice'")).all() == [""] * 4


@pytest.mark.parametrize("table", [table for table in CASE_TABLES if table not in {"storage_objects", "activity_logs"}])
def test_sessions_cannot_set_ids_timestamps_and_versions(unchanged, table):
    """An id set in advance would make a later insert fail; a timestamp set by a session could be false."""
    kept = {"id", "created_at", "updated_at", "row_version", "opened_mark", "search"}
    with core(unchanged.db, Actor("alice")) as connection:
        for column in kept & set(Base.metadata.tables[table].columns.keys()):
            with pytest.raises(Exception, match=r"permission denied|generated column"), connection.begin_nested():
                connection.execute(text(f"INSERT INTO {table} ({column}) OVERRIDING SYSTEM VALUE VALUES (NULL)"))
        settable = set(
            connection.scalars(
                text("SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attnum > 0"
                     " AND has_column_privilege(attrelid, attname, 'INSERT')"), {"table": f"public.{table}"})
        )  # fmt: skip
    refused = set(Base.metadata.tables[table].columns.keys()) - settable
    assert refused - kept == {
        "audio_files": {"deleted_at", "is_archived", "archive_reason"},
        "processing_jobs": {"state", "lease", "attempts"},
        "cases": {"active_holds"},
        "transcriptions": {"segments_sha256"},
        "transcription_sources": {"audio_file_id"},
    }.get(table, set())
