"""`init_db` as an operator runs it: repeatedly, and with errors."""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from src.database import Case, Database, User
from src.database.connection.engine import PoolOptions, make_engine
from src.database.connection.key_file import KeyFile
from src.database.embedded import EmbeddedServer
from src.database.testing import FAST
from src.services import accounts, cases
from tests.declared import LOOKUP_TABLES

COUNTS = re.compile(r"^(\w+): (\d+) inserted, (\d+) updated, (\d+) unchanged", re.MULTILINE)


def counts(output):
    return {table: tuple(map(int, numbers)) for table, *numbers in COUNTS.findall(output)}


def database_of(operator):
    keys = KeyFile.load(operator.key_file)
    members, administrators = (
        operator.url.set(username=name, password=password)
        for name, password in ((keys.login, keys.password), (keys.admin_login, keys.admin_password))
    )
    return Database(members, signing_key=keys.signing_key, admin_url=administrators)


def test_the_first_run_creates_everything_and_reports_it(set_up):
    output = set_up.variables["FIRST_OUTPUT"]
    assert f"database {set_up.url.database}: created" in output
    reported = counts(output)
    assert set(reported) == {*LOOKUP_TABLES, "user_roles", "case_status_moves"}
    assert all(inserted > 0 for table, (inserted, _, _) in reported.items())
    assert stat.S_IMODE(set_up.key_file.stat().st_mode) == 0o600
    password = KeyFile.load(set_up.key_file).password
    assert password not in output
    assert f":{set_up.url.password}@" not in output


def test_the_second_run_changes_nothing(set_up):
    before = set_up.key_file.read_bytes()
    again = set_up.init_db()
    assert (again.returncode, again.stderr) == (0, "")
    assert {numbers[:2] for numbers in counts(again.stdout).values()} == {(0, 0)}
    assert "created" not in again.stdout
    assert set_up.key_file.read_bytes() == before
    assert set_up.init_db("--check").stdout == "the database is ready\n"


def test_the_initialised_database_serves_sessions(set_up):
    created = set_up.init_db("--admin", "Root", ADMIN_PASSWORD="a good password")
    assert (created.returncode, "administrator Root: created" in created.stdout) == (0, True), created.stderr
    for name, code, words in (("Root", 0, "exists already, not changed"), ("ROOT", 0, "exists already, not changed"),
                              ("a|b", 1, "printable"), ("", 1, "printable")):  # fmt: skip
        again = set_up.init_db("--admin", name, ADMIN_PASSWORD="another password")
        assert (again.returncode, words in again.stdout + again.stderr) == (code, True), (name, again)
    with database_of(set_up) as db:
        with db.session() as session:
            assert accounts.authenticate(session, "root", "a good password").username == "Root"
        with db.session(actor="Root") as session:
            accounts.create_user(session, username="carol")
        with db.session(actor="carol") as session:
            cases.open_case(session, title="the first one")
        with db.session(actor="Root") as session:
            assert session.scalars(select(Case.title)).all() == ["the first one"]
            assert len(session.scalars(select(User)).all()) == 2
    for weak, said in (("short", "at least 12"), ("carol.the.root", "the name")):
        refused = set_up.init_db("--admin", "carol.the.root", ADMIN_PASSWORD=weak)
        assert (refused.returncode, said in refused.stderr) == (1, True), refused
    taken = set_up.init_db("--admin", "carol", ADMIN_PASSWORD="a password of carol")
    assert (taken.returncode, "is not an administrator" in taken.stderr) == (1, True)


def test_a_password_without_a_terminal_is_exit_code_3_before_any_change(new_operator, speech_server):
    operator = new_operator(f"{speech_server.template}_never")
    refused = operator.init_db("--admin", "root")
    assert refused.returncode == 3
    assert refused.stderr.strip().endswith("set ADMIN_PASSWORD.")
    assert len(refused.stderr.splitlines()) == 1
    assert "has no database" in operator.init_db("--check").stderr


def test_seeds_changed_by_an_operator_are_kept_unless_forced(set_up):
    set_up.sql("UPDATE languages SET name = 'Anglais', is_active = false WHERE code = 'en'")
    set_up.sql("UPDATE case_priorities SET weight = 77 WHERE code = 'high'")
    set_up.sql("UPDATE user_roles SET permissions = permissions || '{\"job\": [\"claim\"]}' WHERE code = 'user'")
    set_up.sql("INSERT INTO case_statuses (code, name) VALUES ('waiting', 'Waiting')")
    set_up.sql("DELETE FROM sentiments WHERE code = 'mixed'")
    kept = set_up.init_db()
    assert "1 changed by an operator and kept (en)" in kept.stdout
    assert "1 changed by an operator and kept (high)" in kept.stdout
    assert "1 changed by an operator and kept (user)" in kept.stdout
    assert counts(kept.stdout)["sentiments"][0] == 1
    assert set_up.sql("SELECT name FROM languages WHERE code = 'en'") == "Anglais"
    forced = set_up.init_db("--force")
    assert counts(forced.stdout)["languages"][1] == 1
    assert set_up.sql("SELECT name FROM languages WHERE code = 'en'") == "English"
    assert set_up.sql("SELECT weight FROM case_priorities WHERE code = 'high'") != 77
    assert set_up.sql("SELECT count(*) FROM case_statuses WHERE code = 'waiting'") == 1
    assert {numbers[1] for numbers in counts(set_up.init_db("--force").stdout).values()} == {0}


CHECKS = {
    "policy": ("DROP POLICY case_notes_app_delete ON case_notes", "the policy case_notes_app_delete on case_notes"),
    "row security": ("ALTER TABLE cases DISABLE ROW LEVEL SECURITY", "row security is off on cases"),
    "trigger": ("ALTER TABLE cases DISABLE TRIGGER capture", "the trigger capture on cases is disabled"),
    "grant": ("GRANT TRUNCATE ON cases TO sti_app", "sti_app has TRUNCATE on cases, which is not declared"),
    "table": ("CREATE TABLE bare (id int); GRANT SELECT ON bare TO sti_app", "the table bare is not protected"),
    "seed": ("DELETE FROM sentiments WHERE code = 'mixed'", "the seed sentiments.mixed is missing"),
    "function": ("ALTER FUNCTION actor_may SECURITY INVOKER", "the function actor_may differs from this version"),
}


def test_check_reports_all_differences_and_exits_with_1(new_operator, speech_server):
    operator = new_operator(f"{speech_server.template}_checked")
    first = operator.init_db()
    assert (first.returncode, first.stderr) == (0, "")
    assert operator.init_db("--check").returncode == 0
    for statement, _ in CHECKS.values():
        operator.sql(statement)
    keys = operator.key_file
    keys.rename(operator.folder / "moved")
    checked = operator.init_db("--check")
    assert (checked.returncode, checked.stderr) == (1, "")
    for name, (_, sentence) in CHECKS.items():
        assert sentence in checked.stdout, name
    assert re.search(r"the key file \S+ is missing", checked.stdout)
    assert "sti_app has SELECT on bare, which is not declared" in checked.stdout
    assert len(checked.stdout.splitlines()) == len(CHECKS) + 2
    assert operator.sql("SELECT count(*) FROM sentiments WHERE code = 'mixed'") == 0, "a check changes nothing"

    (operator.folder / "moved").rename(keys)
    repaired = operator.init_db()
    assert repaired.returncode == 0, "the next run repairs all of it"
    for name in CHECKS.keys() - {"seed", "table"}:
        assert f"repaired: {CHECKS[name][1]}" in repaired.stderr, name
    assert operator.init_db("--check").stdout == "the database is ready\n"


def test_reset_login_replaces_a_lost_key_file_and_the_password(new_operator, speech_server):
    operator = new_operator(f"{speech_server.template}_lost")
    assert operator.init_db().returncode == 0
    old = KeyFile.load(operator.key_file)
    operator.key_file.unlink()
    refused = operator.init_db()
    assert refused.returncode == 3
    assert "--reset-login" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    done = operator.init_db("--reset-login")
    assert done.returncode == 0, done.stderr
    new = KeyFile.load(operator.key_file)
    assert (new.login, new.signing_key) == (old.login, old.signing_key)
    assert new.password != old.password
    with database_of(operator) as db, db.session() as session:
        assert session.scalars(select(Case)).all() == []
    assert operator.init_db("--check").returncode == 0


def test_concurrent_runs_succeed_and_apply_the_seeds_once(new_operator, speech_server):
    operator = new_operator(f"{speech_server.template}_twice")
    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(lambda _: operator.init_db(), range(3)))
    assert [run.returncode for run in ended] == [0, 0, 0], [run.stderr for run in ended]
    inserted = [sum(numbers[0] for numbers in counts(run.stdout).values()) for run in ended]
    assert sorted(inserted)[:2] == [0, 0]
    assert max(inserted) > 0
    assert operator.init_db("--check").returncode == 0


def test_names_that_need_quoting_work(new_operator, speech_server):
    operator = new_operator(f'{speech_server.template}_Ö "x" %s')
    made = operator.init_db()
    assert made.returncode == 0, made.stderr
    checked = operator.init_db("--check")
    assert (checked.returncode, checked.stdout) == (0, "the database is ready\n"), checked
    with database_of(operator) as db, db.session() as session:
        assert session.scalars(select(Case)).all() == []


@pytest.fixture(scope="module")
def bare_server():
    """A server without the group roles, with an owner who may create objects only in the database."""
    folder = Path(tempfile.mkdtemp(prefix="sti-bare-"))
    # As root, the server runs as another account, which needs access to the folder.
    folder.chmod(0o711)
    with EmbeddedServer(folder / "postgres", settings=FAST) as server:
        engine = make_engine(server.url("postgres"), PoolOptions(size=1))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("CREATE ROLE poor LOGIN PASSWORD 'poor'")
            connection.exec_driver_sql("CREATE DATABASE poor OWNER poor")
            yield server, connection
        engine.dispose()
    shutil.rmtree(folder)


def test_an_owner_who_may_not_create_roles_gets_statements_that_work(bare_server, new_operator):
    server, superuser = bare_server
    operator = new_operator("unused")
    operator.url = server.url("poor").set(username="poor", password="poor")
    refused = operator.init_db()
    assert refused.returncode == 3
    assert len(refused.stderr.splitlines()) == 1
    assert "CREATE ROLE sti_app NOLOGIN; CREATE ROLE sti_wide NOLOGIN; CREATE ROLE sti_admin NOLOGIN;" in refused.stderr
    for statement in re.search(r"run: (.*)", refused.stderr)[1].rstrip("; ").split("; "):
        superuser.exec_driver_sql(statement)
    refused = operator.init_db()
    assert refused.returncode == 3
    assert len(refused.stderr.splitlines()) == 1
    statements = re.search(r"run: (.*;) and set POSTGRES_APP_USER", refused.stderr)[1]
    for statement in statements.replace("…", "app").rstrip("; ").split("; "):
        superuser.exec_driver_sql(statement)
    login = {"POSTGRES_APP_USER": "poor_app", "POSTGRES_APP_PASSWORD": "app", "POSTGRES_ADMIN_USER": "poor_admin",
             "POSTGRES_ADMIN_PASSWORD": "app"}  # fmt: skip
    done = operator.init_db(**login)
    assert done.returncode == 0, done.stderr
    checked = operator.init_db("--check", **login)
    assert (checked.returncode, checked.stdout) == (0, "the database is ready\n"), checked


def test_an_owner_who_may_not_create_the_database_gets_the_command(bare_server, new_operator):
    server, _ = bare_server
    operator = new_operator("unused")
    operator.url = server.url("missing").set(username="poor", password="poor")
    refused = operator.init_db()
    assert refused.returncode == 3
    assert "createdb missing" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_superuser_can_be_the_owner(bare_server, new_operator):
    server, _ = bare_server
    operator = new_operator("unused")
    operator.url = server.url("super")
    assert operator.init_db().returncode == 0
    checked = operator.init_db("--check")
    assert (checked.returncode, checked.stdout) == (0, "the database is ready\n"), checked
    assert [path.name for path in (operator.folder / "storage").iterdir() if path.name != "audio"] == ["keys"]
