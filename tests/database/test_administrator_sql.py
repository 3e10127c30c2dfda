"""`init_db --admin-sql`: what the administrator runs once, for owners who may create neither roles nor databases."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import text

from src.database import Base, Case
from src.database.connection.engine import PoolOptions, make_engine
from src.database.connection.key_file import KeyFile
from src.database.connection.scram import scram_verifier
from src.database.embedded import EmbeddedServer, find_binaries
from src.database.provisioning.administrator_sql import Role, administrator_sql
from src.database.testing import FAST
from src.errors import InvalidInput
from tests.database.test_init_db import database_of

OF_OTHERS = """
    SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
       AND pg_get_userbyid(relowner) <> 'given owner' AND relname !~ '^pg_stat_'
"""


class Administrator:
    """The superuser of a server without roles of this layer, with psql."""

    def __init__(self, server: EmbeddedServer, binaries: Path) -> None:
        self.server, self._psql = server, binaries / "psql"

    def run(self, script: str, database: str = "postgres", **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"], "PGHOST": str(self.server.socket_directory), "PGPORT": str(self.server.port),
            "PGUSER": self.server.superuser, "PGPASSWORD": self.server.password, **variables,
        }  # fmt: skip
        return subprocess.run([self._psql, "-X", "-q", "-d", database], input=script, env=environment, text=True,
                              capture_output=True, check=False, timeout=60)  # fmt: skip

    def value(self, query: str, database: str = "postgres") -> object:
        engine = make_engine(self.server.url(database), PoolOptions(size=1))
        with engine.connect() as connection:
            found = connection.scalar(text(query))
        engine.dispose()
        return found


@pytest.fixture(scope="module")
def administrator():
    named = os.environ.get("TEST_SERVER_BINARIES")
    binaries = Path(named) if named else find_binaries(None)
    if not (binaries / "psql").is_file():
        pytest.skip(f"{binaries} does not contain psql")
    folder = Path(tempfile.mkdtemp(prefix="sti-admin-"))
    folder.chmod(0o711)
    with EmbeddedServer(folder / "postgres", binaries=binaries, settings=FAST) as server:
        yield Administrator(server, binaries)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def poor(administrator, new_operator):
    """Return an operator whose login, database and server are as the settings say, and need not exist yet."""

    def make(name: str):
        operator = new_operator("unused")
        operator.url = administrator.server.url(name).set(username=f"{name} owner", password="owner's \\password")
        return operator

    return make


def succeeds(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_an_owner_without_rights_can_do_everything_after_the_sql(administrator, poor):
    operator = poor("Poor 'x' \"y\" dbname=z")
    printed = operator.init_db("--admin-sql")
    assert printed.returncode == 0, printed.stderr
    keys = KeyFile.load(operator.key_file)
    assert keys.password not in printed.stdout + printed.stderr
    assert "owner's" not in printed.stdout
    assert str(operator.key_file.name) in printed.stderr
    for _ in range(2):
        succeeds(administrator.run(printed.stdout))

    rights = "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = '{}'"
    assert administrator.value(rights.format(operator.url.username.replace("'", "''"))) is False
    assert operator.alembic("upgrade", "head").returncode == 0
    done = operator.init_db()
    assert done.returncode == 0, done.stderr
    assert succeeds(operator.init_db("--check")) == "the database is ready\n"
    assert KeyFile.load(operator.key_file) == keys
    with database_of(operator) as db, db.session() as session:
        assert session.query(Case).all() == []

    # Run again, it corrects what an owner without rights cannot.
    login = '"' + keys.login.replace('"', '""') + '"'
    options = f"GRANT sti_wide TO {login} WITH INHERIT TRUE;" if _is_16(administrator) else ""
    succeeds(administrator.run(
        f"GRANT sti_admin TO {login}; {options} ALTER ROLE {login} NOLOGIN;"
        f" ALTER ROLE {login} SET search_path = x;"
    ))  # fmt: skip
    checked = operator.init_db("--check")
    assert checked.returncode == 1
    for words in ("is a member of sti_admin", "may not log in", "setting search_path of the role",
                  *(["inherits privileges of sti_wide"] if options else [])):  # fmt: skip
        assert words in checked.stdout
    succeeds(administrator.run(operator.init_db("--admin-sql").stdout))
    assert succeeds(operator.init_db("--check")) == "the database is ready\n"

    # Only the administrator may change passwords: the key file keeps those of the server until then.
    refused = operator.init_db("--reset-login")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (3, 1)
    assert "init_db --admin-sql --reset-login" in refused.stderr
    assert KeyFile.load(operator.key_file) == keys
    succeeds(administrator.run(operator.init_db("--admin-sql", "--reset-login").stdout))
    assert KeyFile.load(operator.key_file).password != keys.password
    with database_of(operator) as db, db.session() as session:
        assert session.query(Case).all() == []


def test_the_sql_gives_a_database_restored_by_the_administrator_to_its_owner(administrator, poor):
    operator = poor("given")
    script = operator.init_db("--admin-sql").stdout
    succeeds(administrator.run(script))
    engine = make_engine(administrator.server.url("given"), PoolOptions(size=1))
    Base.metadata.create_all(engine)
    engine.dispose()

    for command in ((), ("--check",)):
        refused = operator.init_db(*command)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (3, 1), command
        assert "tables of this layer belong to postgres, not to given owner" in refused.stderr, command
    succeeds(administrator.run(operator.init_db("--admin-sql").stdout))
    assert administrator.value(OF_OTHERS, "given") == 0
    assert operator.alembic("stamp", "head").returncode == 0
    assert operator.init_db().returncode == 0


def _is_16(administrator: Administrator) -> bool:
    return int(str(administrator.value("SHOW server_version_num"))) >= 160_000


def test_an_administrator_without_superuser_can_run_it(administrator, poor):
    succeeds(administrator.run("CREATE ROLE cloud LOGIN CREATEROLE CREATEDB PASSWORD 'cloud';"
                               " DROP DATABASE IF EXISTS given;"))  # fmt: skip
    operator = poor("cloudy")
    cloud = {"PGUSER": "cloud", "PGPASSWORD": "cloud"}
    if _is_16(administrator):
        succeeds(administrator.run("GRANT sti_app, sti_wide, sti_admin TO cloud WITH ADMIN TRUE, SET FALSE"))
    for _ in range(2):
        done = administrator.run(operator.init_db("--admin-sql").stdout, **cloud)
        assert done.returncode == 0, done.stderr
    assert operator.init_db().returncode == 0


def test_it_works_without_a_server_and_never_guesses_passwords(poor, administrator, new_operator):
    operator = poor("nowhere")
    operator.url = operator.url.set(query={"host": "/nonexistent"})
    assert operator.init_db("--admin-sql").returncode == 0

    succeeds(administrator.run("CREATE ROLE known_app LOGIN"))
    operator = poor("known")
    operator.url = administrator.server.url("known")
    operator.variables["KEY_FILE"] = str(operator.folder / "missing.json")
    refused = operator.init_db("--admin-sql")
    assert (refused.returncode, refused.stdout, len(refused.stderr.splitlines())) == (3, "", 1)
    assert "known_app exists, and its password is unknown" in refused.stderr
    assert not (operator.folder / "missing.json").exists()

    embedded = new_operator("unused")
    refused = embedded.init_db("--admin-sql", DATABASE_URL=None)
    assert (refused.returncode, refused.stdout, len(refused.stderr.splitlines())) == (3, "", 1)


def test_the_server_accepts_the_verifier_and_no_other_password(administrator):
    verifier = scram_verifier("it's \\ $ %")
    succeeds(administrator.run(f"CREATE ROLE verified LOGIN PASSWORD '{verifier}'"))
    login = {"PGUSER": "verified", "PGPASSWORD": "it's \\ $ %"}
    succeeds(administrator.run("SELECT 1", **login))
    assert administrator.run("SELECT 1", **{**login, "PGPASSWORD": "another"}).returncode == 2
    for password in ("", "größe", "a\nb"):
        with pytest.raises(InvalidInput):
            scram_verifier(password)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 64, "ü" * 32, "a\u2028b", "$do$; DROP"])
def test_names_that_psql_cannot_read_are_refused(name):
    with pytest.raises(InvalidInput):
        administrator_sql(name, Role("owner", None), (), ())
