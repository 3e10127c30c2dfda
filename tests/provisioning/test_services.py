"""A table of a service beside those of this layer: protected, captured, checked and mended like its own.

The service is a real one: a folder with its own Alembic history, run as a process.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from src.database import Case, Database
from src.database.provisioning.apply import apply
from src.database.provisioning.comparison import compare
from src.database.schema import Protected, protect_table, record_columns
from src.errors import Conflict, Forbidden, InvalidInput, UnsafeConnection
from src.services import cases, history
from tests.migrations.conftest import ROOT, alembic_config, finish, outside, programs_for, start

ENV = """\
from alembic import context
from sqlalchemy import MetaData, create_engine

from src.database import owner_url
from src.database.provisioning.autogenerate import include_service_name, include_service_object
from tags import metadata

options = {"target_metadata": metadata, "version_table": "tags_revisions", "include_name": include_service_name,
           "include_object": include_service_object}
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, dialect_opts={"paramstyle": "named"}, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(owner_url()).connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
"""
MODELS = """\
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text
from src.database.schema import record_columns

metadata = MetaData()
tags = Table("case_tags", metadata, *record_columns(versioned=True), Column("case_id", Integer, nullable=False),
             Column("tag", Text, nullable=False), Column("phone", Text), Column("token", Text),
             Column("set_by_id", BigInteger))
"""
REVISION = """\
import sqlalchemy as sa
from alembic import op
from src.database.schema import protect_table, record_columns, unprotect_table

revision = "1"
down_revision = None


def upgrade():
    table = op.create_table(
        "case_tags",
        *record_columns(versioned=True),
        sa.Column("case_id", sa.Integer, sa.ForeignKey("cases.id", ondelete="CASCADE"), nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("phone", sa.Text),
        sa.Column("token", sa.Text),
        sa.Column("set_by_id", sa.BigInteger, sa.ForeignKey("users.id"), server_default=sa.text("public.actor_id()")),
    )
    protect_table(
        op, table, insert=("case_id", "tag", "phone", "token", "set_by_id"), update=("tag", "phone"),
        signed=("set_by_id",), sensitive=("phone",), secret=("token",), unsampled=("tag",),
    )


def downgrade():
    unprotect_table(op, "case_tags")
    op.drop_table("case_tags")
"""


class Service:
    """Somebody else's program: a folder with an Alembic history of its own."""

    def __init__(self, folder: Path, url: sa.URL) -> None:
        self.folder, self.url = folder, url
        (folder / "migrations" / "versions").mkdir(parents=True)
        (folder / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
        (folder / "migrations" / "env.py").write_text(ENV)
        (folder / "migrations" / "versions" / "1_tags.py").write_text(REVISION)
        (folder / "tags.py").write_text(MODELS)

    def alembic(self, *arguments: str, succeeds: bool = True) -> str:
        environment = {**outside(self.url), "PYTHONPATH": os.pathsep.join([str(ROOT), str(self.folder)])}
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments], cwd=self.folder, env=environment, text=True,
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode == 0) is succeeds, done.stderr
        return done.stdout + ("" if succeeds else done.stderr)


@pytest.fixture
def service(tmp_path, owner_url, db):
    service = Service(tmp_path / "service", owner_url)
    service.alembic("upgrade", "head")
    return service


@pytest.fixture
def case_id(db, service):
    with db.session(actor="alice", reason="to tag") as session:
        case = cases.open_case(session, title="Tagged")
        session.execute(
            text("INSERT INTO case_tags (case_id, tag, phone, token) VALUES (:case, 'urgent', '555-1', 's3cret')"),
            {"case": case.id},
        )
        return case.id


def tags(session):
    return session.execute(text("SELECT case_id, tag, phone, row_version FROM case_tags ORDER BY id")).all()


def test_it_belongs_to_the_case_and_is_captured(db, owner, case_id):
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


def test_administrators_see_all_and_nobody_reads_a_secret(db, case_id):
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
def test_what_the_declaration_does_not_admit_is_refused(db, case_id, statement):
    with pytest.raises(Forbidden), db.session(actor="alice") as session:
        session.execute(text(statement), {"case": case_id} if ":case" in statement else {})


def test_a_hold_keeps_it_and_a_deletion_comes_back(db, owner, case_id):
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
        # Of what is sensitive the log has a hash only.
        assert [row[:3] for row in tags(session)] == [(case_id, "urgent", None)]


def test_the_proof_covers_it(db, owner, case_id):
    with db.session(actor="root") as session:
        assert history.verify(session).findings == []
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE case_tags DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE case_tags SET tag = 'forged'"))
        connection.execute(text("ALTER TABLE case_tags ENABLE TRIGGER USER"))
    assert apply(owner) == []
    with db.session(actor="root") as session:
        (finding,) = history.verify(session).findings
    assert "case_tags 1 differs from entry" in str(finding)
    assert "tag" in str(finding)


DAMAGES = {
    "DROP POLICY case_tags_app_select ON case_tags": "the policy case_tags_app_select on case_tags is missing",
    "CREATE POLICY open ON case_tags USING (true)": "the policy open on case_tags is not declared",
    "DROP TRIGGER capture_change ON case_tags": "the trigger capture_change on case_tags is missing",
    "ALTER TABLE case_tags DISABLE TRIGGER guard_hold": "the trigger guard_hold on case_tags is disabled",
    "GRANT SELECT (token) ON case_tags TO sti_admin": "sti_admin has SELECT on case_tags.token, a grant too many",
    "REVOKE INSERT (tag) ON case_tags FROM sti_app": "sti_app lacks INSERT on case_tags.tag",
    "ALTER TABLE case_tags DISABLE ROW LEVEL SECURITY": "row security is off on case_tags",
    "ALTER TABLE case_tags ALTER tag SET STATISTICS 50": "ANALYZE takes samples of text of cases: case_tags.tag",
}


@pytest.mark.usefixtures("service")
def test_its_damages_are_named_and_mended(owner):
    for damage, sentence in DAMAGES.items():
        with owner.begin() as connection:
            connection.execute(text(damage))
        with owner.connect() as connection:
            assert any(sentence in one.sentence for one in compare(connection)), damage
        assert apply(owner) == [], damage


@pytest.mark.usefixtures("service")
def test_nobody_is_served_while_its_row_security_is_off(db, owner):
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE case_tags DISABLE ROW LEVEL SECURITY"))
    url, key = db.engine.url, db.signing_key
    refused = pytest.raises(UnsafeConnection, match="case_tags")
    with Database(url, signing_key=key) as fresh, refused, fresh.session(actor="alice"):
        pass


def test_going_down_leaves_nothing(service, owner):
    service.alembic("downgrade", "base")
    with owner.connect() as connection:
        assert compare(connection) == []
        assert connection.scalar(text("SELECT count(*) FROM protected_tables")) == 0


def test_each_history_ignores_the_tables_of_the_other(service, owner_url):
    from alembic import command  # noqa: PLC0415 - Alembic is not what the module is about

    assert "No new upgrade operations detected" in service.alembic("check")
    command.check(alembic_config(owner_url))


def test_offline_it_makes_the_same(tmp_path, owner_url, owner, db):
    service = Service(tmp_path / "offline", owner_url)
    path = tmp_path / "offline.sql"
    path.write_text(service.alembic("upgrade", "head", "--sql"), encoding="utf-8")
    psql = [programs_for(owner_url) / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", path]
    finish(start(*psql, environment=outside(owner_url), folder=tmp_path))
    with owner.connect() as connection:
        assert connection.scalar(text("SELECT name FROM protected_tables")) == "case_tags"
        assert compare(connection) == []


class Recorder:
    """Stands for Alembic's `op`: runs the statements as the owner."""

    def __init__(self, connection) -> None:
        self.execute = connection.execute


def test_another_declaration_takes_the_place_of_the_first(service, owner):
    table = sa.Table("case_tags", sa.MetaData(), *record_columns(versioned=True), sa.Column("case_id", sa.Integer),
                     sa.Column("tag", sa.Text))  # fmt: skip
    with owner.begin() as connection:
        protect_table(
            Recorder(connection), table, insert=("case_id", "tag"), protected=Protected(update=None, delete=None)
        )
    apply(owner)
    with owner.connect() as connection:
        assert compare(connection) == []
        commands = connection.scalars(text("SELECT DISTINCT cmd FROM pg_policies WHERE tablename = 'case_tags'"
                                           " AND 'sti_app' = ANY (roles) ORDER BY 1")).all()  # fmt: skip
        assert commands == ["INSERT", "SELECT"]
        assert not connection.scalar(text("SELECT has_column_privilege('sti_app', 'case_tags', 'tag', 'UPDATE')"))


@pytest.mark.parametrize(
    ("columns", "arguments", "words"),
    [
        ((sa.Column("id", sa.Integer),), {}, "needs the columns created_at, updated_at, case_id"),
        ((*record_columns(), sa.Column("case_id", sa.Integer)), {"insert": ("tag",)}, "insert: .* no column tag"),
        (
            (*record_columns(), sa.Column("case_id", sa.Integer)),
            {"signed": ("case_id",)},
            "signed: case_id must be one of",
        ),
    ],
)
def test_a_declaration_that_does_not_fit_the_table_is_refused(columns, arguments, words):
    table = sa.Table("t", sa.MetaData(), *columns)
    with pytest.raises(InvalidInput, match=words):
        protect_table(None, table, **arguments)


@pytest.mark.parametrize("name", ["Tags", "case tags", "order"])
def test_a_name_that_needs_quotes_is_refused(name):
    table = sa.Table(name, sa.MetaData(), *record_columns(), sa.Column("case_id", sa.Integer))
    with pytest.raises(InvalidInput, match="lowercase letters, digits and underscores"):
        protect_table(None, table)


def test_a_table_of_nobody_is_a_finding_only_where_a_session_may_use_it(owner):
    with owner.begin() as connection:
        connection.execute(text("CREATE TABLE scratch (id int)"))
        assert compare(connection) == []
        connection.execute(text("GRANT SELECT ON scratch TO PUBLIC"))
        assert any("the table scratch is not protected" in one.sentence for one in compare(connection))
        connection.rollback()


def test_the_recipe_makes_a_service_with_a_table_of_its_own(tmp_path, db, owner, monkeypatch, capsys):
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").split("## Your own table beside these")[1]
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
