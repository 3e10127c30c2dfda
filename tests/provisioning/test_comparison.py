"""Every difference from the code is reported, and is repaired or kept for a reported reason."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from src.database import Base
from src.database.connection.engine import make_engine
from src.database.provisioning.apply import apply
from src.database.provisioning.compare_rights import Roles
from src.database.provisioning.comparison import compare
from src.database.provisioning.differences import Difference
from src.database.schema import sql_files
from src.database.schema.creation import execute
from tests.provisioning.damages import BY_REVISION, DAMAGES

LOGINS = {
    "ALTER ROLE {login} INHERIT": "the login {login} inherits privileges",
    "ALTER ROLE {login} NOLOGIN": "the login {login} may not log in",
    "ALTER ROLE {login} CREATEDB": "the login {login} has too many privileges",
    "REVOKE sti_wide FROM {login}": "the login {login} is not a member of sti_wide",
    "GRANT sti_admin TO {login}": "the login {login} is a member of sti_admin",
    "ALTER ROLE {login} SET search_path = x": "the setting search_path of the role {login} applies",
    "GRANT CREATE ON SCHEMA public TO {login}; GRANT {login} TO CURRENT_USER; ALTER TABLE sentiments OWNER TO {login}":
        "the login {login} owns tables",
}  # fmt: skip
# Only a backup restores these.
GONE = {"a table dropped", "a column dropped"}


def run(engine: Engine, statements: str) -> None:
    with engine.begin() as connection:
        execute(connection, statements)


def differences(engine: Engine, logins: Roles | None = None) -> list[Difference]:
    with engine.connect() as connection:
        return compare(connection, logins)


def test_a_migrated_database_has_no_differences(whole, speech_server):
    assert differences(whole, speech_server.keys.roles_of_logins) == []
    with whole.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()")) == 0


def test_a_database_created_by_create_all_has_no_differences(empty_url, speech_server):

    engine = make_engine(empty_url)
    Base.metadata.create_all(engine)
    assert differences(engine, speech_server.keys.roles_of_logins) == []
    engine.dispose()


@pytest.mark.parametrize("setting", [
    "quote_all_identifiers = on", "standard_conforming_strings = off", "search_path = ''", "DateStyle = 'German'",
    "TimeZone = 'Asia/Kathmandu'", "transform_null_equals = on", "check_function_bodies = off",
])  # fmt: skip
def test_settings_of_the_owner_do_not_cause_differences(whole, setting):
    with whole.connect() as connection:
        connection.execute(text(f"SET LOCAL {setting}"))
        assert compare(connection) == []


def test_the_number_of_damages():
    assert len(DAMAGES) >= 50


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_reported(whole, name):
    damage = DAMAGES[name]
    with whole.connect() as connection:
        execute(connection, damage.statement)
        reported = [one for one in compare(connection) if damage.named in str(one)]
        connection.rollback()
    assert reported
    assert all(damage.left in one.left for one in reported)


@pytest.mark.parametrize("seed", [1, 2])
def test_combined_damages_are_repaired_at_once(owner, seed):
    """`make torture WHAT=structure` tests them one by one, each on an undamaged database."""
    names = [name for name in DAMAGES if name not in GONE]
    random.Random(seed).shuffle(names)
    done = []
    for name in names:
        # Fails for objects that an earlier damage dropped.
        with suppress(DBAPIError), owner.begin() as connection:
            execute(connection, DAMAGES[name].statement)
            done.append(name)
    assert len(done) > 40
    left = [one for one in apply(owner) if not one.foreign]
    assert [str(one) for one in left if not one.left] == []
    reasons = {DAMAGES[name].left for name in done} - {""}
    assert [str(one) for one in left if not any(reason in one.left for reason in reasons)] == []
    for name in done:
        if not DAMAGES[name].left:
            assert not [str(one) for one in left if DAMAGES[name].named in str(one)], name


@pytest.mark.parametrize("name", sorted(GONE))
def test_lost_data_is_reported_with_the_remedy(owner, name):
    damage = DAMAGES[name]
    run(owner, damage.statement)
    assert any(damage.named in str(one) and damage.left in one.left for one in apply(owner))


def test_a_missing_function_does_not_hide_other_differences(whole):
    with whole.connect() as connection:
        called = connection.scalars(
            text(
                "SELECT DISTINCT d.refobjid::regprocedure::text FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid"
                " WHERE d.refclassid = 'pg_proc'::regclass AND p.pronamespace = 'public'::regnamespace"
                " AND d.classid IN ('pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_policy'::regclass)"
            )
        ).all()
        assert len(called) > 5
        for function in called:
            execute(connection, f"DROP FUNCTION {function} CASCADE")
            reported = [str(one) for one in compare(connection)]
            connection.rollback()
            assert any(one.startswith(f"the function {function.partition('(')[0]} is missing") for one in reported)
            assert not [one for one in reported if "unknown to this version" in one], function


STATEMENTS = {
    **{
        name: each.statement for name, each in DAMAGES.items() if each.left == BY_REVISION and name != "a table dropped"
    },
    "a type changed": "ALTER TABLE sentiments ALTER name TYPE varchar(300)",
    "a collation changed": 'ALTER TABLE sentiments ALTER name TYPE text COLLATE "C"',
    "an identity dropped": "ALTER TABLE case_notes ALTER id DROP IDENTITY",
    "an identity changed": "ALTER TABLE activity_logs ALTER id SET GENERATED ALWAYS",
    "a required column": "ALTER TABLE cases ALTER closed_at SET NOT NULL",
    "a default dropped": "ALTER TABLE cases ALTER status_id DROP DEFAULT",
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_reported_statement_repairs_the_damage(owner, name):
    run(owner, STATEMENTS[name])
    reported = differences(owner)
    assert reported
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for one in (one for one in reported if "by hand: " in one.left):
            for statement in one.left.partition("by hand: ")[2].split("; "):
                execute(connection, statement)
    assert apply(owner) == []


@pytest.mark.parametrize(("damage", "sentence"), LOGINS.items(), ids=[words.partition(" ")[0] for words in LOGINS])
def test_a_login_with_other_privileges_is_reported(whole, speech_server, damage, sentence):
    login = speech_server.keys.login
    with whole.connect() as connection:
        for statement in damage.format(login=login).split("; "):
            connection.execute(text(statement))
        reported = compare(connection, speech_server.keys.roles_of_logins)
        connection.rollback()
    assert any(sentence.format(login=login) in str(one) for one in reported), reported


def test_a_missing_login_is_reported(whole):
    assert [str(one) for one in differences(whole, {"nobody_here": ("sti_app",)})] == [
        "the login nobody_here is missing (init_db creates it)"
    ]


def test_repairs_are_logged_with_the_build(whole):
    run(whole, "DROP POLICY cases_app_select ON cases")
    apply(whole)
    with whole.connect() as connection:
        actor, detail = connection.execute(
            text("SELECT l.actor, l.new FROM activity_logs l JOIN activity_types t ON t.id = l.activity_type_id"
                 " WHERE t.code = 'schema.applied' ORDER BY l.id DESC LIMIT 1")
        ).one()  # fmt: skip
    assert actor == f"operator:{whole.url.username}"
    assert detail["mended"] == ["the policy cases_app_select on cases is missing"]
    assert detail["build"] > sql_files.build()


def test_apply_without_differences_writes_nothing(whole):
    count = text("SELECT count(*) FROM activity_logs")
    with whole.connect() as connection:
        before = connection.scalar(count)
    assert apply(whole) == []
    with whole.connect() as connection:
        assert connection.scalar(count) == before
