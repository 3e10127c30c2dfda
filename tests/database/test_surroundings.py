"""Databases in which this layer cannot live are refused before the first change: one line, exit code 3."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import NotSupportedError

from src.database.connection.engine import PoolOptions, make_engine

OTHER_PROJECT = "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
# name → (options of CREATE DATABASE, statements in it, words of the line)
REFUSED = {
    "latin1": ("ENCODING 'LATIN1' LOCALE 'C'", "", "has the encoding LATIN1; this layer needs UTF8"),
    "ascii": ("ENCODING 'SQL_ASCII' LOCALE 'C'", "", "has the encoding SQL_ASCII"),
    "c": ("ENCODING 'UTF8' LOCALE 'C'", "", "Élodie and élodie would be two users"),
    "icu_c": ("ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C'", "", "(LC_CTYPE C)"),
    "turkish": ("ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'tr' LOCALE 'C.UTF-8'", "", "does not fold all"),
    "table": ("", "CREATE TABLE users (name text)", "already contains users, which this layer did not create"),
    "view": ("", "CREATE VIEW cases AS SELECT 1 AS n", "already contains cases"),
    "type": ("", "CREATE TYPE languages AS ENUM ('en')", "already contains languages"),
    "index": ("", "CREATE TABLE x (n int); CREATE INDEX cases_title_lower_idx ON x (n)", "cases_title_lower_idx"),
    "function": ("", "CREATE FUNCTION actor_id() RETURNS int LANGUAGE sql AS 'SELECT 1'", "functions with names"),
    "no_schema": ("", "DROP SCHEMA public", "CREATE SCHEMA public AUTHORIZATION"),
    "their_revision": ("", f"{OTHER_PROJECT} INSERT INTO alembic_version VALUES ('3f2a')", "at revision 3f2a, which"),
    "our_revision": ("", f"{OTHER_PROJECT} INSERT INTO alembic_version VALUES ('1001')", "but no table of this layer"),
    "their_version_table": ("", "CREATE TABLE alembic_version (n int)", "is not Alembic's table"),
}  # fmt: skip
# Everything that a migration or init_db would add.
OBJECTS = (
    "SELECT (SELECT count(*) FROM pg_class) + (SELECT count(*) FROM pg_proc) + (SELECT count(*) FROM pg_namespace)"
    " + (SELECT count(*) FROM pg_extension)"
)


def create(speech_server, name, options):
    engine = make_engine(speech_server.owner.set(database=speech_server.maintenance.database), PoolOptions(size=1))
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
    except NotSupportedError:
        pytest.skip("this server is built without ICU")
    finally:
        engine.dispose()


@pytest.mark.parametrize("case", REFUSED)
def test_an_unfit_database_is_refused_before_the_first_change(new_operator, speech_server, case):
    options, statements, words = REFUSED[case]
    name = f"{speech_server.template}_{case}"
    operator = new_operator(name)
    create(speech_server, name, options)
    if statements:
        operator.sql(statements)
    before = operator.sql(OBJECTS)

    # init_db migrates by the same code; three cases show that alembic behaves like it.
    also = [operator.alembic("upgrade", "head")] if case in {"c", "latin1", "their_revision"} else []
    for done in (operator.init_db(), *also):
        assert done.returncode == 3, done
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert words in done.stderr
        assert "SELECT" not in done.stderr
        assert f"database {name} on" in done.announced
    assert operator.sql(OBJECTS) == before


def test_the_remedy_for_a_locale_works(new_operator, speech_server):
    name = f"{speech_server.template}_remedy"
    operator = new_operator(name)
    new_operator(f"{name}_utf8")
    create(speech_server, name, "ENCODING 'UTF8' LOCALE 'C'")
    statement = operator.alembic("upgrade", "head").stderr.strip().partition("for example: ")[2]

    run(speech_server, statement)
    operator.url = operator.url.set(database=f"{name}_utf8")

    assert operator.init_db().returncode == 0
    assert operator.sql("SELECT lower('ÉLODIE')") == "élodie"


def run(speech_server, statement):
    engine = make_engine(speech_server.owner.set(database=speech_server.maintenance.database), PoolOptions(size=1))
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


def test_a_migration_after_an_interrupted_one_is_not_refused(new_operator, speech_server):
    operator = new_operator(f"{speech_server.template}_again")
    speech_server.create(operator.url.database)
    assert operator.alembic("upgrade", "head").returncode == 0
    assert operator.alembic("downgrade", "base").returncode == 0

    done = operator.alembic("upgrade", "head")

    assert done.returncode == 0, done.stderr
