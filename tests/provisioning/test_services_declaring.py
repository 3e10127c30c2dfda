"""Declarations of a service's table: on new and used tables, repeated, offline, invalid."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError

from src.database.provisioning.comparison import compare
from src.database.schema import LOOKUP, Protected, protect_table, record_columns, unprotect_table
from src.errors import Conflict, Forbidden, InvalidInput
from src.services import cases, history
from tests.conftest import UNSEALED
from tests.migrations import catalog
from tests.migrations.conftest import finish, outside, picture_of, programs_for, start
from tests.provisioning.service import REVISION, Service, operations

# All columns of the service's table, as in a later revision.
TAGS = sa.table(
    "case_tags",
    *(sa.column(name) for name in ("id", "created_at", "updated_at", "row_version", "case_id", "tag", "phone", "token",
                                   "set_by_id")),
)  # fmt: skip
COLUMNS = (*record_columns(), sa.Column("case_id", sa.Integer), sa.Column("tag", sa.Text))


def rights(connection, role="sti_app", table="case_tags"):
    """Return the privileges of a role on the whole table and on columns."""
    return set(connection.scalars(
        text("SELECT privilege_type FROM information_schema.role_table_grants WHERE table_name = :table"
             " AND grantee = :role UNION ALL SELECT privilege_type || ' ' || column_name FROM"
             " information_schema.column_privileges c WHERE table_name = :table AND grantee = :role AND NOT EXISTS"
             " (SELECT FROM information_schema.role_table_grants t WHERE t.table_name = :table AND t.grantee = :role"
             "  AND t.privilege_type = c.privilege_type)"), {"table": table, "role": role},
    ))  # fmt: skip


def names(connection, kind, table="case_tags"):
    query = {"triggers": "SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = to_regclass(:table)",
             "policies": "SELECT polname::text FROM pg_policy WHERE polrelid = to_regclass(:table)"}[kind]  # fmt: skip
    return set(connection.scalars(text(query), {"table": table}))


def make(connection, name, *columns):
    """Create a table with the required columns of a protected table; return it."""
    return operations(connection).create_table(name, *record_columns(), *columns)


def of_case(name="case_id"):
    return sa.Column(name, sa.Integer, sa.ForeignKey("cases.id", ondelete="CASCADE"), nullable=False)


@pytest.mark.usefixtures("service")
def test_a_new_declaration_replaces_the_previous_one(owner):
    with owner.begin() as connection:
        connection.execute(text("CREATE POLICY hours ON case_tags AS RESTRICTIVE USING (true)"))
        # A trigger of an older version of this layer.
        connection.execute(text("CREATE TRIGGER old_capture AFTER UPDATE ON case_tags FOR EACH ROW"
                                " EXECUTE FUNCTION capture_change('case_id', '', '', 'write')"))  # fmt: skip
        assert {"INSERT phone", "UPDATE tag", "DELETE"} < rights(connection)
        protected = Protected(update=None, delete=None, held=False)
        protect_table(operations(connection), TAGS, insert=("case_id", "tag"), protected=protected)
    with owner.connect() as connection:
        assert rights(connection) == {"SELECT", "INSERT case_id", "INSERT tag"}
        assert {"guard_hold", "old_capture"} & names(connection, "triggers") == set()
        assert {name for name in names(connection, "policies") if "_app_" in name} == {
            "case_tags_app_select", "case_tags_app_insert"
        }  # fmt: skip
        # A restrictive policy of the service is kept.
        assert "hours" in names(connection, "policies")
        assert [one for one in compare(connection) if not one.foreign] == []


def test_a_table_without_writable_columns_is_read_only(db, owner):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Read only")
    with owner.begin() as connection:
        protect_table(operations(connection), make(connection, "facts", of_case(), sa.Column("body", sa.Text)))
        assert rights(connection, table="facts") == {"SELECT", "DELETE"}
        assert compare(connection) == []
    for statement in ("INSERT INTO facts (case_id) VALUES (:case)", "UPDATE facts SET id = :case",
                      "UPDATE facts SET created_at = now() WHERE id = :case"):  # fmt: skip
        with pytest.raises(Forbidden), db.session(actor="alice") as session:
            session.execute(text(statement), {"case": case.id})


def test_only_administrators_change_a_lookup_and_secrets_are_unreadable(db, owner):
    with owner.begin() as connection:
        table = make(connection, "colours", sa.Column("name", sa.Text), sa.Column("token", sa.Text))
        protect_table(operations(connection), table, secret=("token",), protected=LOOKUP)
        assert compare(connection) == []
    with db.session(actor="root") as session:
        session.execute(text("INSERT INTO colours (name, token) VALUES ('red', 's3cret')"))
    with db.session(actor="alice") as session:
        assert session.scalars(text("SELECT name FROM colours")).all() == ["red"]
    refused = (("alice", "INSERT INTO colours (name) VALUES ('blue')"), ("root", "SELECT token FROM colours"),
               ("root", "UPDATE colours SET token = ''"))  # fmt: skip
    for actor, statement in refused:
        with pytest.raises(Forbidden), db.session(actor=actor) as session:
            session.execute(text(statement))


def test_values_that_no_client_can_read_are_refused_in_tables_of_services(db, owner):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Unreadable")
    columns = {"at": sa.TIMESTAMP(timezone=True), "local_at": sa.TIMESTAMP(), "day": sa.Date(), "facts": JSONB(),
               "raw": sa.JSON(), "small": JSONB()}  # fmt: skip
    with owner.begin() as connection:
        small = sa.CheckConstraint("public.readable_json_1(small, 100)", name="small_readable")
        table = make(connection, "facts", of_case(), *(sa.Column(*each) for each in columns.items()), small)
        for _ in range(2):  # repeatable
            protect_table(operations(connection), table, insert=("case_id", *columns))
        assert compare(connection) == []
        limited = connection.scalars(text("SELECT conname FROM pg_constraint WHERE conrelid = 'facts'::regclass"
                                          " AND contype = 'c' ORDER BY conname"))  # fmt: skip
        assert limited.all() == [
            "created_at_range", "facts_at_readable_check", "facts_day_readable_check", "facts_facts_readable_check",
            "facts_local_at_readable_check", "facts_raw_readable_check", "small_readable", "updated_at_range",
        ]  # fmt: skip
    nested = "[" * 2000 + "]" * 2000
    values = {"at": "20000-01-01", "local_at": "0044-03-15 BC", "day": "infinity", "facts": nested, "raw": nested,
              "small": f'["{"x" * 100}"]'}  # fmt: skip
    for column, value in values.items():
        with pytest.raises(InvalidInput, match=f"{column}_readable"), db.session(actor="alice") as session:
            kind = columns[column].compile(dialect=postgresql.dialect())
            session.execute(
                text(f"INSERT INTO facts (case_id, {column}) VALUES (:case, CAST(:value AS {kind}))"),
                {"case": case.id, "value": value},
            )


@pytest.mark.parametrize(
    "kind", [postgresql.INTERVAL(), postgresql.TSTZRANGE(), sa.ARRAY(sa.Date()), sa.ARRAY(JSONB())], ids=str
)
def test_types_whose_values_cannot_be_limited_are_refused_by_name(owner, kind):
    with pytest.raises(DBAPIError, match=r"the column facts\.hard has the type"), owner.begin() as connection:
        table = make(connection, "facts", of_case(), sa.Column("hard", kind))
        protect_table(operations(connection), table, insert=("case_id", "hard"))


def test_the_case_column_can_have_another_name(db, owner):
    with owner.begin() as connection:
        protect_table(
            operations(connection),
            make(connection, "marks", of_case("about_id")),
            insert=("about_id",),
            protected=Protected(case="about_id"),
        )
        assert compare(connection) == []
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Marked")
        session.execute(text("INSERT INTO marks (about_id) VALUES (:case)"), {"case": case.id})
        hold = cases.place_hold(session, case, reason="court")
    with pytest.raises(Conflict, match="legal hold"), db.session(actor="alice") as session:
        session.execute(text("DELETE FROM marks"))
    with db.session(actor="alice") as session:
        cases.release_hold(session, hold, reason="over")
    with db.session(actor="alice") as session:
        assert session.execute(text("DELETE FROM marks")).rowcount == 1
    with owner.connect() as connection:
        entries = text("SELECT count(*) FROM activity_logs WHERE entity = 'marks' AND case_id = :case")
        assert connection.scalar(entries, {"case": case.id}) == 2


def test_a_table_in_use_is_protected_between_two_transactions(db, owner):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Before")
    with owner.begin() as connection:
        table = make(connection, "drafts", of_case(), sa.Column("body", sa.Text))
        connection.execute(text("GRANT SELECT, INSERT ON drafts TO PUBLIC"))
    add = text("INSERT INTO drafts (case_id, body) VALUES (:case, :body)")

    def protect():
        with owner.begin() as connection:
            protect_table(operations(connection), table, insert=("case_id", "body"))

    thread = threading.Thread(target=protect)
    waiting = text("SELECT count(*) FROM pg_locks WHERE relation = 'drafts'::regclass AND NOT granted")
    stop = threading.Event()
    with db.session(actor="alice") as session, owner.connect() as watcher:
        assert session.scalar(text("SELECT count(*) FROM drafts")) == 0
        thread.start()
        while not watcher.scalar(waiting):
            assert not stop.wait(0.01)
            assert thread.is_alive()
            watcher.rollback()
        # No deadlock: this session continues, and the other transaction waits for it.
        session.execute(add, {"case": case.id, "body": "before"})
    thread.join()

    with db.session(actor="alice") as session:
        session.execute(add, {"case": case.id, "body": "after"})
    with owner.connect() as connection:
        assert compare(connection) == []
    with db.session(actor="bob") as session:
        assert session.scalar(text("SELECT count(*) FROM drafts")) == 0
    with db.session(actor="root") as session:
        (finding,) = history.verify(session, **UNSEALED).findings
        assert "drafts 1 has no log entry; if it existed before capture began, run history baseline" in str(finding)
    with owner.begin() as connection:
        connection.execute(text("SELECT write_baseline('drafts', 100)"))
    with db.session(actor="root") as session:
        assert history.verify(session, **UNSEALED).findings == []


def test_a_table_of_this_layer_keeps_its_own_protection(owner):
    notes = sa.table("case_notes", *(sa.column(name) for name in ("id", "created_at", "updated_at", "case_id")))
    with owner.connect() as connection:
        with pytest.raises(DBAPIError, match="case_notes is already protected, but not by protect_table"):
            protect_table(operations(connection), notes)
        connection.rollback()
        unprotect_table(operations(connection), "case_notes")
        assert compare(connection) == []


@pytest.mark.usefixtures("service")
def test_a_kept_table_without_a_declaration_is_closed(db, owner):
    with owner.begin() as connection:
        unprotect_table(operations(connection), "case_tags")
    with owner.connect() as connection:
        assert rights(connection) == names(connection, "triggers") == names(connection, "policies") == set()
        assert compare(connection) == []
    with pytest.raises(Forbidden), db.session(actor="root") as session:
        session.execute(text("SELECT id FROM case_tags"))


def test_offline_mode_creates_the_same_objects_and_keeps_special_characters(tmp_path, speech_server):
    declared = REVISION.replace('unsampled=("tag",),', 'unsampled=("tag",), protected=Protected(visible=VISIBLE),')
    declared = declared.replace("import protect_table", "import Protected, protect_table").replace(
        "down_revision = None", "down_revision = None\nVISIBLE = \"(tag NOT LIKE '%:hidden' OR tag = '100 %s')\""
    )
    pictures = []
    for way in (["upgrade", "head"], ["upgrade", "head", "--sql"]):
        with speech_server.copy() as url:
            folder = tmp_path / str(len(pictures))
            service = Service(folder, url)
            (folder / "migrations" / "versions" / "1_tags.py").write_text(declared)
            printed = service.alembic(*way)
            if "--sql" in way:
                (folder / "offline.sql").write_text(printed, encoding="utf-8")
                psql = [programs_for(url) / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "offline.sql"]
                finish(start(*psql, environment=outside(url), folder=folder))
            pictures.append(picture_of(url))
            engine = sa.create_engine(url)
            with engine.connect() as connection:
                assert compare(connection) == []
                visible = connection.scalar(text("SELECT declaration #>> '{protected,visible}' FROM protected_tables"))
            engine.dispose()
            assert visible == "(tag NOT LIKE '%:hidden' OR tag = '100 %s')"
    assert catalog.differences(*pictures) == []


@pytest.mark.parametrize(
    ("columns", "arguments", "words"),
    [
        ((sa.Column("id", sa.Integer),), {}, "needs the columns created_at, updated_at, case_id"),
        (COLUMNS, {"insert": ("colour",)}, "insert: .* no column colour"),
        (COLUMNS, {"insert": "tag"}, "insert: .* no column a, g, t"),
        (COLUMNS, {"update": ("tag", "id", "updated_at")}, "update: the server sets id, updated_at"),
        (COLUMNS, {"signed": ("case_id",)}, "signed: case_id must be one of"),
        ((*COLUMNS, sa.Column("order", sa.Integer)), {}, "'order' would need quotes"),
    ],
)
def test_a_declaration_that_does_not_match_the_table_is_rejected(columns, arguments, words):
    table = sa.Table("t", sa.MetaData(), *(column._copy() for column in columns))
    with pytest.raises(InvalidInput, match=words):
        protect_table(None, table, **arguments)


@pytest.mark.parametrize("name", ["Tags", "case tags", "order", "user", "tags'; --", "größe"])
def test_a_name_that_needs_quotes_is_rejected(name):
    table = sa.Table(name, sa.MetaData(), *(column._copy() for column in COLUMNS))
    words = "lowercase letters, digits and underscores"
    with pytest.raises(InvalidInput, match=words):
        protect_table(None, table)
    with pytest.raises(InvalidInput, match=words):
        unprotect_table(None, name)


def test_the_length_of_a_table_name_allows_for_policy_names(owner):
    with owner.begin() as connection:
        protect_table(operations(connection), make(connection, "t" * 50, of_case()), insert=("case_id",))
        read_by_administrators = Protected(case=None, administrators="read", restorable=None)
        protect_table(operations(connection), make(connection, "u" * 50), protected=read_by_administrators)
        assert compare(connection) == []
        with pytest.raises(InvalidInput, match="at most 50"):
            protect_table(None, make(connection, "t" * 51, of_case()))
        connection.rollback()


def test_a_table_in_another_schema_is_rejected():
    table = sa.Table("tags", sa.MetaData(), *(column._copy() for column in COLUMNS), schema="private")
    with pytest.raises(InvalidInput, match="is in the schema private"):
        protect_table(None, table)
