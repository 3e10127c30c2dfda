"""A table of a service: protected, captured, checked and repaired like those of this layer.

The service is a folder with its own Alembic history, run as a process.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, text
from sqlalchemy.exc import DBAPIError

from src.database import Case, CaseNote, Database
from src.database.provisioning.apply import apply
from src.database.provisioning.comparison import compare
from src.errors import Conflict, Forbidden, InvalidInput, UnsafeConnection
from src.services import cases, history
from tests.conftest import UNSEALED
from tests.migrations.conftest import ROOT, alembic_config, outside
from tests.provisioning.service import Service

TAGS = Table("case_tags", MetaData(), Column("id", Integer), Column("case_id", Integer), Column("tag", Text))


def tags(session):
    return session.execute(text("SELECT case_id, tag, phone, row_version FROM case_tags ORDER BY id")).all()


def test_rows_belong_to_the_case_and_are_captured(db, owner, case_id):
    with db.session(actor="alice", reason="calmed down") as session:
        session.execute(text("UPDATE case_tags SET tag = 'later', phone = '555-2'"))
        assert tags(session) == [(case_id, "later", "555-2", 2)]
    with db.session(actor="bob") as session:
        assert tags(session) == []
        assert session.execute(text("UPDATE case_tags SET tag = 'x'")).rowcount == 0
        with pytest.raises(DBAPIError, match=r"permission denied|row-level security"), session.begin_nested():
            session.execute(text("INSERT INTO case_tags (case_id, tag) VALUES (:case, 'x')"), {"case": case_id})
        assert session.execute(text("DELETE FROM case_tags")).rowcount == 0
    with owner.connect() as connection:
        entries = connection.execute(
            text("SELECT operation, actor, case_id, reason, old ->> 'tag', new ->> 'tag', new ->> 'phone'"
                 " FROM activity_logs WHERE entity = 'case_tags' ORDER BY id")
        ).all()  # fmt: skip
    assert [entry[:6] for entry in entries] == [
        ("insert", "alice", case_id, "to tag", None, "urgent"),
        ("update", "alice", case_id, "calmed down", "urgent", "later"),
    ]
    assert all(entry[6].startswith("sha256:") for entry in entries)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("INSERT INTO case_tags (tag) VALUES ('x')", {}),
        ("INSERT INTO case_tags (case_id, tag) VALUES (NULL, 'x')", {}),
        ("INSERT INTO case_tags (case_id, tag) VALUES (:number, :tag)", {"number": None, "tag": "x"}),
        ("INSERT INTO public.case_tags (tag, case_id) VALUES (:tag, :case_id)", [{"tag": "x", "case_id": None}] * 2),
        (insert(TAGS).values(tag="x", case_id=None), {}),
        (insert(TAGS).values(tag="x"), {}),
        (insert(TAGS).returning(TAGS.c.id), [{"tag": "x", "case_id": None}] * 3),
        (insert(CaseNote).values(body="x"), {}),
        (insert(CaseNote).values(body="x", case_id=None), {}),
    ],
    ids=str,
)
def test_a_row_without_its_case_is_named_and_not_forbidden(db, case_id, statement, values):
    with pytest.raises(InvalidInput, match="case_id is missing") as caught, db.session(actor="alice") as session:
        session.execute(text(statement) if isinstance(statement, str) else statement, values)
    assert caught.value.field == "case_id"
    with pytest.raises(Forbidden), db.session(actor="bob") as session:  # with a case it is a question of rights
        session.execute(text("INSERT INTO case_tags (case_id, tag) VALUES (:case, 'x')"), {"case": case_id})


@pytest.mark.parametrize(("actor", "role"), [
    ("alice", "sti_app"), ("root", "sti_admin"), ("bob", "sti_app"), ("bob", "sti_wide"),
])  # fmt: skip
def test_every_session_role_has_the_permissions_of_its_actor(db, owner, case_id, actor, role):
    may = actor != "bob"
    with db.session(actor=actor) as session:
        session.execute(text(f"SET LOCAL ROLE {role}"))
        assert len(tags(session)) == may
        assert session.execute(text("UPDATE case_tags SET tag = 'other'")).rowcount == may
        assert session.execute(text("DELETE FROM case_tags")).rowcount == may
    add = text("INSERT INTO case_tags (case_id, tag) VALUES (:case, 'new')")
    with suppress(Forbidden), db.session(actor=actor) as session:
        session.execute(text(f"SET LOCAL ROLE {role}"))
        session.execute(add, {"case": case_id})
    with owner.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM case_tags WHERE tag = 'new'")) == may
        done = connection.execute(
            text("SELECT operation FROM activity_logs WHERE entity = 'case_tags' AND actor = :actor AND case_id = :case"
                 " AND request_id IS NULL AND reason IS NULL ORDER BY id"), {"actor": actor, "case": case_id},
        ).scalars().all()  # fmt: skip
    assert done == (["update", "delete", "insert"] if may else [])


def test_the_server_sets_timestamps_and_version_for_every_client(owner, case_id):
    with owner.begin() as connection:
        connection.execute(text("UPDATE case_tags SET tag = 'x', created_at = '2000-01-01', updated_at = '2000-01-01',"
                                " row_version = 99"))  # fmt: skip
        created, updated, version, now = connection.execute(
            text("SELECT created_at, updated_at, row_version, now() FROM case_tags")
        ).one()
    assert version == 2
    assert created < updated == now


def test_administrators_read_all_rows_but_no_secret(db, case_id):
    with db.session(actor="root") as session:
        assert len(tags(session)) == 1
    for actor in ("alice", "root"):
        with pytest.raises(Forbidden), db.session(actor=actor) as session:
            session.execute(text("SELECT token FROM case_tags"))
    with db.session(actor="root") as session:
        assert session.scalar(text("SELECT new ->> 'token' FROM activity_logs WHERE entity = 'case_tags'")) != "s3cret"


@pytest.mark.parametrize("statement", [
    "INSERT INTO case_tags (case_id, tag, set_by_id) SELECT :case, 'x', id FROM users WHERE username = 'bob'",
    "UPDATE case_tags SET case_id = case_id", "UPDATE case_tags SET id = id + 1", "TRUNCATE case_tags",
])  # fmt: skip
def test_statements_outside_the_declaration_are_forbidden(db, case_id, statement):
    with pytest.raises(Forbidden), db.session(actor="alice") as session:
        session.execute(text(statement), {"case": case_id} if ":case" in statement else {})


@pytest.mark.parametrize("statement", ["UPDATE case_tags SET id = id + 1", "TRUNCATE case_tags"])
@pytest.mark.usefixtures("case_id")
def test_statements_without_a_log_entry_are_rejected_for_the_owner_too(owner, statement):
    with pytest.raises(DBAPIError, match="on case_tags is not allowed"), owner.begin() as connection:
        connection.execute(text(statement))


def test_a_hold_prevents_deletes_and_deleted_rows_can_be_restored(db, owner, case_id):
    with db.session(actor="alice") as session:
        hold = cases.place_hold(session, session.get(Case, case_id), reason="court")
    with pytest.raises(Conflict, match="legal hold"), db.session(actor="alice") as session:
        session.execute(text("DELETE FROM case_tags"))
    with db.session(actor="alice") as session:
        cases.release_hold(session, hold, reason="over")
    with db.session(actor="alice") as session:
        session.execute(text("DELETE FROM case_tags"))
    with owner.connect() as connection:
        entry = connection.scalar(
            text("SELECT id FROM activity_logs WHERE entity = 'case_tags' AND operation = 'delete'")
        )
    with db.session(actor="alice") as session:
        session.execute(text("SELECT restore_deleted(:entry)"), {"entry": entry})
        # The log contains only hashes of sensitive columns.
        assert [row[:3] for row in tags(session)] == [(case_id, "urgent", None)]


def test_verification_covers_the_table(db, owner, case_id):
    with db.session(actor="root") as session:
        assert history.verify(session, **UNSEALED).findings == []
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE case_tags DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE case_tags SET tag = 'forged'"))
        connection.execute(text("ALTER TABLE case_tags ENABLE TRIGGER USER"))
    assert apply(owner) == []
    with db.session(actor="root") as session:
        (finding,) = history.verify(session, **UNSEALED).findings
    assert "case_tags 1 differs from entry" in str(finding)
    assert "tag" in str(finding)


DAMAGES = {
    "DROP POLICY case_tags_app_select ON case_tags": "the policy case_tags_app_select on case_tags is missing",
    "CREATE POLICY open ON case_tags USING (true)": "the policy open on case_tags is not declared",
    "DROP TRIGGER capture_change ON case_tags": "the trigger capture_change on case_tags is missing",
    "ALTER TABLE case_tags DISABLE TRIGGER guard_hold": "the trigger guard_hold on case_tags is disabled",
    "CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON case_tags FOR EACH ROW EXECUTE FUNCTION touch_row()":
        "the trigger touch on case_tags differs from this version",
    "CREATE TRIGGER twice AFTER UPDATE ON case_tags FOR EACH ROW EXECUTE FUNCTION capture_change('', '', '', '')":
        "the trigger twice on case_tags calls capture_change and is not declared",
    "ALTER POLICY case_tags_wide_insert ON case_tags WITH CHECK (true)": "the policy case_tags_wide_insert on",
    "GRANT SELECT ON case_tags TO PUBLIC": "PUBLIC has SELECT on case_tags, which is not declared",
    "GRANT TRUNCATE ON case_tags TO sti_app": "sti_app has TRUNCATE on case_tags, which is not declared",
    "ALTER TABLE case_tags FORCE ROW LEVEL SECURITY": "row security is forced on case_tags",
    "GRANT SELECT (token) ON case_tags TO sti_admin": "sti_admin has SELECT on case_tags.token, which is not declared",
    "REVOKE INSERT (tag) ON case_tags FROM sti_app": "sti_app lacks INSERT on case_tags.tag",
    "ALTER TABLE case_tags DISABLE ROW LEVEL SECURITY": "row security is off on case_tags",
    "ALTER TABLE case_tags ALTER tag SET STATISTICS 50": "ANALYZE samples text of cases: case_tags.tag",
}  # fmt: skip
LEFT = {
    "CREATE RULE quiet AS ON DELETE TO case_tags DO INSTEAD NOTHING": "the rule quiet on case_tags",
    "CREATE POLICY hours ON case_tags AS RESTRICTIVE USING (true)": "the policy hours on case_tags is unknown",
    "GRANT CREATE ON SCHEMA public TO {login}; GRANT {login} TO CURRENT_USER; ALTER TABLE case_tags OWNER TO {login}":
        "the table case_tags belongs to",
}  # fmt: skip


@pytest.mark.usefixtures("service")
def test_damages_are_reported_and_repaired(owner):
    for damage, sentence in DAMAGES.items():
        with owner.begin() as connection:
            connection.execute(text(damage))
        with owner.connect() as connection:
            assert any(sentence in one.sentence for one in compare(connection)), damage
        assert apply(owner) == [], damage


@pytest.mark.parametrize("damage", LEFT)
@pytest.mark.usefixtures("service")
def test_differences_for_an_administrator_are_reported(owner, speech_server, damage):
    with owner.connect() as connection:
        for statement in damage.format(login=speech_server.keys.login).split("; "):
            connection.execute(text(statement))
        reported = [one for one in compare(connection) if LEFT[damage] in one.sentence]
        connection.rollback()
    assert reported
    assert all(one.left and not one.mend for one in reported)


@pytest.mark.usefixtures("service")
def test_init_db_check_reports_differences(owner, speech_server, tmp_path, warm_python):
    key_file = tmp_path / "keys.json"
    speech_server.keys.save(key_file)
    environment = outside(
        owner.url,
        KEY_FILE=os.fspath(key_file),
        POSTGRES_APP_USER=speech_server.keys.login,
        AUDIO_STORAGE_ROOT=os.fspath(tmp_path),
    )

    def check():
        return warm_python.run("src.database.scripts.init_db", ["--check"], folder=tmp_path, environment=environment)

    assert check().stdout == "the database is ready\n"
    with owner.begin() as connection:
        connection.execute(text("DROP TRIGGER capture ON case_tags"))
    found = check()
    assert (found.returncode, "the trigger capture on case_tags is missing" in found.stdout + found.stderr) == (1, True)


@pytest.mark.usefixtures("service")
def test_no_session_is_served_without_row_security(db, owner):
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE case_tags DISABLE ROW LEVEL SECURITY"))
    url, key = db.engine.url, db.signing_key
    refused = pytest.raises(UnsafeConnection, match="case_tags")
    with Database(url, signing_key=key) as fresh, refused, fresh.session(actor="alice"):
        pass


def test_a_downgrade_removes_everything(service, owner):
    service.alembic("downgrade", "base")
    with owner.connect() as connection:
        assert compare(connection) == []
        assert connection.scalar(text("SELECT count(*) FROM protected_tables")) == 0
        assert connection.scalar(text("SELECT to_regclass('case_tags')")) is None


def test_each_history_ignores_the_tables_of_the_other(service, owner_url):
    from alembic import command  # noqa: PLC0415 - only this test uses Alembic directly

    assert "No new upgrade operations detected" in service.alembic("check")
    command.check(alembic_config(owner_url))


def test_an_undeclared_table_without_privileges_is_not_reported(owner):
    with owner.begin() as connection:
        connection.execute(text("CREATE TABLE scratch (id int)"))
    with owner.connect() as connection:
        assert compare(connection) == []


@pytest.mark.parametrize(
    ("right", "who"),
    [
        ("SELECT ON scratch TO PUBLIC", "PUBLIC, sti_admin, sti_app, sti_wide"),
        ("UPDATE (id) ON scratch TO sti_wide", "sti_wide"),
    ],
)
def test_no_session_is_served_while_an_unprotected_table_has_privileges(db, owner, right, who):
    with owner.begin() as connection:
        connection.execute(text("CREATE TABLE scratch (id int)"))
        connection.execute(text(f"GRANT {right}"))
    with owner.connect() as connection:
        reported = [str(one) for one in compare(connection)]
    assert any(f"scratch is not protected by row security, and {who} may use it" in one for one in reported), reported
    url, key = db.engine.url, db.signing_key
    refused = pytest.raises(UnsafeConnection, match="scratch")
    with Database(url, signing_key=key) as fresh, refused, fresh.session(actor="alice"):
        pass
    assert apply(owner) == []
    with Database(url, signing_key=key) as fresh, fresh.session(actor="alice"):
        pass


def test_the_guide_creates_a_service_with_a_table(tmp_path, db, owner, monkeypatch, capsys):
    page = (ROOT / "docs" / "how-to" / "own-tables.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"```(?:py|ini)\n# (\S+)\n(.*?)```", page, re.DOTALL))
    service = Service(tmp_path / "recipe", owner.url)
    (service.folder / "migrations" / "versions" / "1_tags.py").unlink()
    use = files.pop("use.py")
    for name, content in files.items():
        (service.folder / name).write_text(content, encoding="utf-8")
    service.alembic("upgrade", "head")
    assert "No new upgrade operations detected" in service.alembic("check")

    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Tagged by the recipe")
    monkeypatch.syspath_prepend(service.folder)
    exec(compile(use, "use.py", "exec"), {"db": db, "case": case})
    assert capsys.readouterr().out == "[]\n"
    with owner.connect() as connection:
        assert connection.scalar(text("SELECT new ->> 'tag' FROM activity_logs WHERE entity = 'case_tags'")) == "urgent"
        assert compare(connection) == []
