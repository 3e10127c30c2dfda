"""Errors of an operator: one line, exit code 3, and a traceback only with --debug."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from contextlib import suppress

import pytest
from sqlalchemy import URL

from src.database.connection.engine import PoolOptions, make_engine
from src.database.connection.key_file import KeyFile
from src.errors import LoginRefused
from tests.database.conftest import Operator

NO_DATABASE = "no_such_database_here"


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wrong_password(operator):
    return operator.url.set(password="wrong+pass/word")


def unknown_login(operator):
    return operator.url.set(username="nobody_here")


def no_such_host(operator):
    return operator.url.set(host="no-such-host.invalid", port=5432, query={})


def refused_port(operator):
    return operator.url.set(host="127.0.0.1", port=closed_port(), query={})


def no_socket(operator):
    url = operator.url
    return URL.create(
        url.drivername, url.username, url.password, database=url.database, query={"host": "/no/such/folder"}
    )


def no_database(operator):
    return operator.url.set(database=NO_DATABASE)


URLS = {
    wrong_password: "rejects the login",
    unknown_login: "rejects the login nobody_here",
    no_such_host: "Unknown host no-such-host.invalid",
    refused_port: "No PostgreSQL server answers at 127.0.0.1, port",
    no_socket: "No PostgreSQL server answers at /no/such/folder",
    no_database: f"has no database {NO_DATABASE}. Create it with: createdb {NO_DATABASE}",
}
COMMANDS = {
    "init_db --check": lambda operator, **v: operator.init_db("--check", **v),
    "alembic upgrade": lambda operator, **v: operator.alembic("upgrade", "head", **v),
}


def skip_if_authentication_is_trust(operator):
    engine = make_engine(wrong_password(operator), PoolOptions(size=1))
    with suppress(LoginRefused), engine.connect():
        pytest.skip("this server does not ask for passwords (trust in pg_hba.conf)")


def assert_one_line(done, words):
    assert done.returncode == 3, (done.returncode, done.stderr, done.stdout)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(("change", "words"), URLS.items(), ids=[change.__name__ for change in URLS])
def test_connection_errors(set_up, change, words):
    if change is wrong_password:
        skip_if_authentication_is_trust(set_up)
    url = change(set_up).render_as_string(hide_password=False)
    # Both use the same code; two cases show that alembic behaves like the other programs.
    also = [COMMANDS["alembic upgrade"]] if change in {wrong_password, no_database} else []
    for command in (COMMANDS["init_db --check"], *also):
        done = command(set_up, DATABASE_URL=url)
        assert_one_line(done, words)
        for secret in ("wrong+pass", f":{set_up.url.password}@"):
            assert secret not in done.announced + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("-m", "src.database.scripts.init_db", "--check", "--debug"), ("alembic", "-x", "debug", "upgrade", "head")],
)
def test_a_traceback_is_shown_with_debug_and_contains_no_password(set_up, arguments):
    skip_if_authentication_is_trust(set_up)
    variables = {"DATABASE_URL": wrong_password(set_up).render_as_string(hide_password=False)}
    done = (
        set_up.alembic(*arguments[1:], **variables)
        if arguments[0] == "alembic"
        else set_up.run(*arguments, **variables)
    )
    assert done.returncode not in {0, 2}
    assert "Traceback" in done.stderr
    assert "LoginRefused" in done.stderr
    assert "wrong+pass" not in done.stderr
    assert "wrong%2Bpass" not in done.stderr


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"DATABASE_URL": None, "POSTGRES_HOST": "localhost"}, "POSTGRES_USER"),
        ({"POSTGRES_PORT": "seven"}, "POSTGRES_PORT"),
        ({"DATABASE_URL": "hidden"}, "DATABASE_URL is not a database URL"),
    ],
)
def test_an_invalid_setting_is_named(set_up, variables, words):
    command = COMMANDS["alembic upgrade" if "POSTGRES_PORT" in variables else "init_db --check"]
    done = command(set_up, **variables)
    assert_one_line(done, words)
    assert "hidden" not in done.stderr


def test_an_invalid_or_unreadable_dot_env_file(set_up, tmp_path):
    operator = Operator(tmp_path, set_up.url, set_up.warm)
    dot_env = tmp_path / ".env"
    dot_env.write_bytes(b"POSTGRES_DB=\xff\xfe\n")
    assert_one_line(operator.init_db("--check", DATABASE_URL=None), "not UTF-8")
    dot_env.write_text("POSTGRES_DB=x\n")
    dot_env.chmod(0)
    command = ["-m", "src.database.scripts.init_db", "--check"]
    if os.getuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root can read every file, and setpriv to drop this capability is not installed")
        capabilities = "-dac_override,-dac_read_search"
        flags = [f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"]
        program = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
        command = ["-c", program, setpriv, *flags, sys.executable, *command]
    assert_one_line(operator.run(*command, DATABASE_URL=None), ".env cannot be read")


def test_a_missing_required_extension(set_up):
    done = set_up.init_db(POSTGRES_REQUIRED_EXTENSIONS="pg_trgm, no_such_extension")
    assert_one_line(done, "no_such_extension")


def test_a_database_without_a_schema(new_operator, speech_server):
    operator = new_operator(f"{speech_server.template}_empty")
    speech_server.create(operator.url.database)
    assert_one_line(operator.init_db("--check"), "no schema yet. Run: alembic upgrade head")


def test_an_older_or_newer_schema(new_operator, speech_server):
    operator = new_operator(f"{speech_server.template}_other")
    assert operator.init_db().returncode == 0
    revision = operator.sql("SELECT version_num FROM alembic_version")
    build = operator.sql("SELECT schema_build()")
    operator.sql("SELECT record_schema('0011', 1, '0011')")
    assert_one_line(operator.init_db("--check"), "before the first release")
    assert_one_line(operator.alembic("upgrade", "head"), "before the first release")
    operator.sql("SELECT record_schema('9999', 1, '9999')")
    operator.sql("UPDATE alembic_version SET version_num = '9999'")
    assert_one_line(operator.init_db("--check"), "newer than this code")
    assert_one_line(operator.init_db(), "newer than this code")
    assert_one_line(operator.alembic("upgrade", "head"), "Install the newer version of this package")
    operator.sql(f"SELECT record_schema('{revision}', {build}, '{revision}')")
    operator.sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    assert operator.init_db("--check").returncode == 0


def test_a_downgraded_schema_is_reported_and_repaired_by_the_next_run(new_operator, speech_server):
    operator = new_operator(f"{speech_server.template}_down")
    assert operator.init_db().returncode == 0
    assert operator.alembic("downgrade", "base").returncode == 0
    assert_one_line(operator.init_db("--check"), "no schema yet")
    # The storage belongs to the identity that the downgrade removed.
    assert_one_line(operator.init_db(), "this database has no identity yet")
    (operator.folder / "storage" / "audio" / ".storage.json").unlink()
    assert operator.init_db().returncode == 0
    assert operator.init_db("--check").returncode == 0


def test_an_owner_who_may_not_create_tables(set_up):
    keys = KeyFile.load(set_up.key_file)
    url = set_up.url.set(username=keys.login, password=keys.password).render_as_string(hide_password=False)
    done = set_up.alembic("upgrade", "head", DATABASE_URL=url)
    assert_one_line(done, "may not create tables")


@pytest.mark.parametrize("arguments", [("--no-such-option",), ("--admin",), ("argument",)])
def test_wrong_arguments_are_exit_code_2(set_up, arguments):
    done = set_up.init_db(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_key_file_readable_by_other_users_is_an_error(set_up):
    set_up.key_file.chmod(0o644)
    try:
        for arguments in ((), ("--check",)):
            assert_one_line(set_up.init_db(*arguments), "chmod 600")
    finally:
        set_up.key_file.chmod(0o600)
