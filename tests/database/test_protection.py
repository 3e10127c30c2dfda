"""Whatever weakens the protection has a name in `init_db --check`."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from src.database import Base
from src.database.engine import PoolOptions, make_engine
from src.database.protection import weaknesses
from src.database.schema.access import PROTECTED_TABLES

TAMPERINGS = {
    "DROP POLICY cases_app_select ON cases": "the policy cases_app_select on cases is missing",
    "ALTER POLICY cases_app_select ON cases USING (true)": "the policy cases_app_select on cases is not the one",
    "ALTER POLICY case_notes_app_insert ON case_notes WITH CHECK (true)": "the policy case_notes_app_insert",
    "ALTER POLICY case_notes_app_select ON case_notes TO PUBLIC": "the policy case_notes_app_select",
    "CREATE POLICY open ON cases USING (true)": "the policy open on cases is not one of ours",
    "ALTER TABLE audio_files DISABLE ROW LEVEL SECURITY": "row security is off on audio_files",
    "CREATE TABLE added (id int)": "the table added is not protected",
    "DROP TABLE activity_seals": "the table activity_seals is missing",
    "ALTER TABLE cases DISABLE TRIGGER capture": "the trigger capture on cases is disabled",
    "ALTER TABLE cases ENABLE TRIGGER capture": "the trigger capture on cases is disabled",
    "ALTER TABLE users DISABLE TRIGGER USER": "the trigger capture on users is disabled",
    "DROP TRIGGER touch ON users": "the trigger touch on users is missing",
    "CREATE OR REPLACE TRIGGER capture AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION"
    " public.capture_change('', '', '')": "the trigger capture on users is",
    "ALTER TABLE activity_logs_default DISABLE TRIGGER refuse_change": "refuse_change on activity_logs_default is",
    "GRANT INSERT ON activity_logs TO sti_app": "sti_app has INSERT on activity_logs, a grant too many",
    "GRANT SELECT ON activity_logs_default TO PUBLIC": "PUBLIC has SELECT on activity_logs_default, a grant too many",
    "GRANT SELECT (password_hash) ON users TO sti_admin": "sti_admin has SELECT on users.password_hash",
    "GRANT USAGE ON SEQUENCE activity_logs_id_seq TO sti_app": "sti_app has USAGE on activity_logs_id_seq",
    "REVOKE SELECT ON cases FROM sti_app": "sti_app lacks SELECT on cases",
    "GRANT EXECUTE ON FUNCTION mint_actor TO sti_app": "sti_app may execute the function mint_actor",
    "GRANT EXECUTE ON FUNCTION capture_change TO PUBLIC": "PUBLIC may execute the function capture_change",
    "REVOKE EXECUTE ON FUNCTION actor_id FROM sti_app": "sti_app may not execute the function actor_id",
    "DROP FUNCTION record_login": "the function record_login is missing",
    "CREATE OR REPLACE FUNCTION actor_id() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER"
    " SET search_path = pg_catalog, pg_temp AS 'SELECT 1::bigint'": "the function actor_id is not the one",
    "ALTER FUNCTION actor_id() RESET ALL": "the function actor_id is not the one",
    "ALTER FUNCTION actor_id() SET search_path = public": "the function actor_id is not the one",
    "ALTER FUNCTION actor_id() SECURITY INVOKER": "the function actor_id is not the one",
    "ALTER FUNCTION actor_case_ids(text) IMMUTABLE": "the function actor_case_ids is not the one",
    "CREATE FUNCTION actor_id(x int) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1::bigint'":
        "the function actor_id(integer) runs with the rights of its owner",
    "GRANT CREATE ON SCHEMA public TO PUBLIC": "sti_app may create objects in the schema public",
    "CREATE VIEW peep AS SELECT * FROM cases; GRANT SELECT ON peep TO sti_app": "sti_app has SELECT on peep",
    "ALTER ROLE {login} INHERIT": "the login {login} inherits rights",
    "ALTER ROLE {login} NOLOGIN": "the login {login} may not log in",
    "ALTER ROLE {login} CREATEDB": "the login {login} is too powerful",
    "REVOKE sti_admin FROM {login}": "the login {login} is not a member of sti_admin",
    "GRANT CREATE ON SCHEMA public TO {login}; GRANT {login} TO CURRENT_USER; ALTER TABLE sentiments OWNER TO {login}":
        "the login {login} owns tables",
}  # fmt: skip


@pytest.fixture(scope="module")
def migrated(speech_server):
    with speech_server.copy() as url:
        engine = make_engine(url, PoolOptions(size=1))
        yield engine
        engine.dispose()


def test_a_migrated_database_has_none_and_looking_changes_nothing(migrated, speech_server):
    with migrated.connect() as connection:
        assert weaknesses(connection, speech_server.keys.login) == []
        assert connection.scalar(text("SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()")) == 0


def test_a_database_made_by_create_all_has_none_either(empty_url, speech_server):
    engine = make_engine(empty_url)
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
    with engine.connect() as connection:
        assert weaknesses(connection, speech_server.keys.login) == []
    engine.dispose()


def test_every_table_of_the_models_is_a_protected_one():
    assert set(PROTECTED_TABLES) == set(Base.metadata.tables)


@pytest.mark.parametrize(("tampering", "sentence"), TAMPERINGS.items())
def test_a_weakness_is_named(migrated, speech_server, tampering, sentence):
    login = speech_server.keys.login
    with migrated.connect() as connection:
        for statement in tampering.format(login=login).split("; "):
            connection.execute(text(statement))
        told = weaknesses(connection, login)
        connection.rollback()
    assert any(sentence.format(login=login) in one for one in told), told


def test_a_missing_login_is_named(migrated):
    with migrated.connect() as connection:
        assert weaknesses(connection, "nobody_here") == ["the login nobody_here is missing"]
