"""Migrations and models create the same catalog, and differences are detected."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.util import CommandError
from sqlalchemy import text

from src.database import Base
from src.database.provisioning.comparison import compare
from src.errors import InvalidInput
from tests.migrations import catalog
from tests.migrations.conftest import alembic_config, contents, engine_of, picture_of
from tests.provisioning.details import DETAILS

TAMPERINGS = {
    "a policy dropped": "DROP POLICY cases_app_select ON cases",
    "a policy for PUBLIC": "ALTER POLICY cases_app_select ON cases TO PUBLIC",
    "a policy wide open": "ALTER POLICY cases_app_select ON cases USING (true)",
    "row security off": "ALTER TABLE cases DISABLE ROW LEVEL SECURITY",
    "row security forced": "ALTER TABLE cases FORCE ROW LEVEL SECURITY",
    "a CHECK changed": "ALTER TABLE cases DROP CONSTRAINT cases_title_length_check,"
    " ADD CONSTRAINT cases_title_length_check CHECK (char_length(title) <= 301)",
    "a CHECK not validated": "ALTER TABLE cases DROP CONSTRAINT cases_closed_after_created_check,"
    " ADD CONSTRAINT cases_closed_after_created_check CHECK (closed_at >= created_at) NOT VALID",
    "a constraint renamed": "ALTER TABLE cases RENAME CONSTRAINT cases_case_code_excl TO cases_code_key",
    "a foreign key that cascades": "ALTER TABLE cases DROP CONSTRAINT cases_status_id_fkey,"
    " ADD CONSTRAINT cases_status_id_fkey FOREIGN KEY (status_id) REFERENCES case_statuses (id) ON DELETE CASCADE",
    "a trigger disabled": "ALTER TABLE cases DISABLE TRIGGER capture",
    "a trigger not always": "ALTER TABLE cases ENABLE TRIGGER capture",
    "a trigger dropped": "DROP TRIGGER touch ON cases",
    "a trigger with other arguments": "CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON cases"
    " FOR EACH ROW EXECUTE FUNCTION capture_change('id', 'title', '')",
    "a table granted too much": "GRANT DELETE ON users TO sti_app",
    "a column granted too much": "GRANT SELECT (password_hash) ON users TO sti_app",
    "a grant with grant option": "GRANT SELECT ON cases TO sti_app WITH GRANT OPTION",
    "a grant revoked": "REVOKE INSERT ON cases FROM sti_app",
    "a function granted to PUBLIC": "GRANT EXECUTE ON FUNCTION mint_actor(bigint, bigint) TO PUBLIC",
    "a function with SECURITY INVOKER": "ALTER FUNCTION actor_id() SECURITY INVOKER",
    "a function without search_path": "ALTER FUNCTION actor_id() RESET search_path",
    "a function with another body": "CREATE OR REPLACE FUNCTION schema_revision() RETURNS text LANGUAGE sql"
    " IMMUTABLE PARALLEL SAFE AS 'SELECT ''0000''::text'",
    "an added function": "CREATE FUNCTION helper() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "the schema granted": "GRANT CREATE ON SCHEMA public TO sti_app",
    "a default grant": "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO sti_app",
    "a sequence granted": "GRANT USAGE ON SEQUENCE cases_id_seq TO sti_app",
    "a sequence with CYCLE": "ALTER TABLE cases ALTER id SET CYCLE",
    "an identity always": "ALTER TABLE cases ALTER id SET GENERATED ALWAYS",
    "a default changed": "ALTER TABLE cases ALTER description SET DEFAULT 'none'",
    "a column nullable": "ALTER TABLE cases ALTER title DROP NOT NULL",
    "a column of another type": "ALTER TABLE sentiments ALTER description TYPE varchar(2000)",
    "an added column": "ALTER TABLE cases ADD nickname text",
    "a comment removed": "COMMENT ON COLUMN cases.case_code IS NULL",
    "an index dropped": "DROP INDEX case_notes_case_id_idx",
    "an index of other columns": "DROP INDEX case_notes_case_id_idx;"
    " CREATE INDEX case_notes_case_id_idx ON case_notes (author_id)",
    "an added table": "CREATE TABLE extras (id bigint)",
    "a view": "CREATE VIEW everything AS SELECT * FROM cases",
    "an enum": "CREATE TYPE mood AS ENUM ('good', 'bad')",
    "the DEFAULT partition dropped": "DROP TABLE activity_logs_default",
}


def test_migrations_and_models_make_the_same_database(owner_url, empty_url):
    with engine_of(empty_url) as engine:
        Base.metadata.create_all(engine)

    assert catalog.differences(picture_of(owner_url), picture_of(empty_url)) == []


def test_the_picture_contains_all_tables_and_their_protection(owner_url):
    picture = picture_of(owner_url)

    for table in Base.metadata.tables:
        assert "row security true" in picture[f"relation {table}"]
        assert f"column {table}.id" in picture
        assert f"constraint {table}.{table}_pkey" in picture
        assert f"index public.{table}_pkey" in picture
    assert not any("alembic" in name for name in picture)


def test_tampering_changes_the_picture(owner):
    with owner.connect() as connection:
        whole = catalog.read(connection)
        unseen = []
        details = {name: detail.statement for name, detail in DETAILS.items() if "partition" not in name}
        # The next numbers are those of rows, and not part of the schema.
        for what, statement in {**details, **TAMPERINGS}.items():
            if what == "numbers given twice":
                continue
            connection.execute(text(f"{statement}; SELECT set_config('search_path', '', true)"))
            # In the same transaction, so that one database suffices for all cases.
            if not catalog.differences(whole, catalog.look(connection)):
                unseen.append(what)
            connection.rollback()
        assert unseen == []
        assert catalog.differences(whole, catalog.read(connection)) == []


def test_alembic_check_finds_nothing(owner_url):
    command.check(alembic_config(owner_url))


def test_alembic_check_finds_an_added_column(owner_url, owner):
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE cases ADD nickname text"))

    with pytest.raises(CommandError, match="nickname"):
        command.check(alembic_config(owner_url))


def test_create_all_twice_changes_neither_schema_nor_rows(filled_url):
    before = picture_of(filled_url)
    with engine_of(filled_url) as engine, engine.connect() as connection:
        rows = contents(connection)
        connection.rollback()
        Base.metadata.create_all(connection)
        connection.commit()
        Base.metadata.create_all(connection)
        connection.commit()

        assert contents(connection) == rows
    assert catalog.differences(before, picture_of(filled_url)) == []


def test_a_database_created_from_the_models_has_no_differences(empty_url):
    with engine_of(empty_url) as engine, engine.connect() as connection:
        Base.metadata.create_all(connection)

        assert compare(connection) == []


def test_drop_all_removes_everything_and_is_repeatable(empty_url):
    empty = picture_of(empty_url)
    with engine_of(empty_url) as engine:
        Base.metadata.create_all(engine)
        assert picture_of(empty_url) != empty
        for _ in range(2):
            Base.metadata.drop_all(engine)
            assert catalog.differences(empty, picture_of(empty_url)) == []


def test_create_all_of_a_subset_is_rejected_before_any_change(empty_url):
    empty = picture_of(empty_url)
    languages = Base.metadata.tables["languages"]
    # With AUTOCOMMIT, a late error would leave changes behind.
    with engine_of(empty_url) as engine, pytest.raises(InvalidInput, match="users"):
        Base.metadata.create_all(engine.execution_options(isolation_level="AUTOCOMMIT"), tables=[languages])

    assert catalog.differences(empty, picture_of(empty_url)) == []


def test_drop_all_of_a_subset_is_rejected_before_any_change(owner, owner_url):
    whole = picture_of(owner_url)
    seals = Base.metadata.tables["activity_seals"]
    with pytest.raises(InvalidInput, match="cases"):
        Base.metadata.drop_all(owner.execution_options(isolation_level="AUTOCOMMIT"), tables=[seals])

    assert catalog.differences(whole, picture_of(owner_url)) == []
