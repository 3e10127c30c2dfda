"""Every command says which database and storage it works on; wrong settings start and change nothing."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys

import pytest
from alembic.util import CommandError

from src.database.connection.command_errors import explain
from src.errors import Conflict, ServerUnreachable
from tests.database.conftest import REPOSITORY, Operator

SCRIPTS = "src.database.scripts"


@pytest.fixture
def elsewhere(set_up, tmp_path):
    """An operator in an empty folder, without settings."""
    return Operator(tmp_path, set_up.url, set_up.warm, {"EMBEDDED_POSTGRES_DIR": str(tmp_path / "embedded")})


def without_url(operator, *command, **variables):
    return operator.run(*command, DATABASE_URL=None, **variables)


@pytest.mark.parametrize(
    "command",
    [
        ("-m", f"{SCRIPTS}.init_db", "--check"),
        ("-m", f"{SCRIPTS}.history", "verify"),
        ("-m", f"{SCRIPTS}.sweep", "verify"),
        ("-m", f"{SCRIPTS}.search", "names"),
        ("-m", "alembic", "-c", str(REPOSITORY / "alembic.ini"), "current"),
    ],
    ids=lambda command: command[1].rpartition(".")[2],
)
def test_every_command_says_what_it_works_on(set_up, command):
    (set_up.folder / ".env").write_text("AUDIO_STORAGE_ROOT=recordings of 2026\n")
    done = set_up.run(*command)
    host = set_up.url.host or set_up.url.query["host"]
    assert f"database {set_up.url.database} on {host}, port " in done.announced, done
    assert f"recordings in {set_up.folder}/recordings of 2026; read from {set_up.folder}/.env" in done.announced
    assert set_up.url.password not in done.announced
    (set_up.folder / ".env").unlink()


def test_a_storage_with_a_password_in_its_endpoint_is_named_without_it(set_up):
    variables = {"AUDIO_STORAGE_TYPE": "s3", "S3_BUCKET": "speech", "S3_PREFIX": "x"}
    done = set_up.init_db("--check", S3_ENDPOINT_URL="https://user:hidden@s3.example", **variables)
    assert "recordings in s3://speech/x at https://s3.example; " in done.announced
    assert "hidden" not in done.announced + done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "POSTGRES_USER=owner\nPOSTGRES_PASSWORD=secret\n",
        "DB_HOST=db\n",
        "POSTGRES_HOST: db\n",
        "POSTGRES_HOST=\nPOSTGRES_DB=production\n",
        "DATABASE_URL=postgresql://u:p@h/d\nPOSTGRES_HOST=db\n",
    ],
)
def test_wrong_settings_start_and_change_nothing(elsewhere, text):
    (elsewhere.folder / ".env").write_text(text)
    alembic = ("-m", "alembic", "-c", str(REPOSITORY / "alembic.ini"), "upgrade", "head")
    for command in (("-m", f"{SCRIPTS}.init_db"), alembic):
        done = without_url(elsewhere, *command)
        assert (done.returncode, len(done.stderr.splitlines())) == (3, 1), done
    assert [path.name for path in elsewhere.folder.iterdir()] == [".env"]


def test_a_job_in_another_folder_does_not_migrate_an_embedded_server(elsewhere):
    done = without_url(elsewhere, "-m", "alembic", "-c", str(REPOSITORY / "alembic.ini"), "upgrade", "head")
    assert done.returncode == 3
    assert f"The embedded database does not exist in {elsewhere.folder}/embedded (no .env in " in done.stderr
    assert (
        f"No .env was read, in {elsewhere.folder} or in its project: run this in the folder of your project"
        in done.stderr
    )
    (elsewhere.folder / ".env").write_text("POSTGRES_DB=\n")
    done = without_url(elsewhere, "-m", f"{SCRIPTS}.sweep", "verify")
    assert done.returncode == 3
    assert f"The settings are those of {elsewhere.folder}/.env: if another project is meant, run this" in done.stderr
    (elsewhere.folder / ".env").unlink()
    assert list(elsewhere.folder.iterdir()) == []


# What ends a command


def command(folder, body):
    """A script of this layer with this body."""
    (folder / "script.py").write_text(
        f"from {SCRIPTS}.command import run\n\n\ndef script() -> None:\n    {body}\n\n\nrun(script, 'script')\n"
    )
    return "script.py"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ServerUnreachable("No answer."), 3, "No answer."),
        (Conflict("A row exists."), 1, "A row exists."),
        (FileNotFoundError(2, "No such file", "/a"), 3, "The operating system rejects an operation: No such file: /a."),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "wrong"), 1, "A file or an input is not utf-8 text. "),
        (configparser.InterpolationSyntaxError("a", "b", "'%' must"), 3, "alembic.ini cannot be read: '%' must"),
        (CommandError("no revision"), 1, "Alembic: no revision. Run the command again with --debug"),
        (ValueError("two\nlines"), 1, "Unexpected error: ValueError: two lines. Run"),
    ],
)
def test_an_exception_becomes_one_line(error, code, line):
    sentence, exit_code = explain(error)
    assert exit_code == code
    assert sentence.startswith(line)
    assert "\n" not in sentence


@pytest.mark.parametrize(("body", "code"), [("raise ValueError('x')", 1), ("raise KeyboardInterrupt", 130)])
def test_an_exception_ends_a_command_with_one_line(elsewhere, body, code):
    done = elsewhere.run(command(elsewhere.folder, body), "--debug")
    assert done.returncode == code
    assert done.stderr.splitlines()[-1].startswith("script: ")
    assert ("Traceback" in done.stderr) == (code == 1)


def test_an_error_of_the_database_without_a_translation_shows_no_statement(set_up, tmp_path):
    body = (
        "from sqlalchemy import text; from src.config import load_settings;"
        f" from {SCRIPTS}.command import owner_engine; e = owner_engine(load_settings(), 'script').__enter__();"
        " e.connect().execute(text('SELECT hidden_column FROM pg_class'))"
    )
    done = set_up.run(command(tmp_path, body).replace("script.py", str(tmp_path / "script.py")))
    assert done.returncode == 1
    assert done.stderr.startswith('script: The database rejects an operation (SQLSTATE 42703): column "hidden_column"')
    assert "SELECT" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_output_that_nobody_reads_is_not_an_error(elsewhere):
    script = command(
        elsewhere.folder, "from src.maintenance.terminal import say; [say('x' * 1000) for _ in range(1000)]"
    )
    program = f"{sys.executable} {script} | head -1 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", program], cwd=elsewhere.folder, env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_an_unknown_revision_is_one_line(set_up):
    done = set_up.alembic("upgrade", "nonsense")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("alembic: Alembic: Can't locate revision identified by 'nonsense'")
    assert "Traceback" not in done.stderr


def test_percent_and_colon_in_paths_names_and_passwords(new_operator, speech_server, tmp_path):
    folder = tmp_path / "50 %(here)s: %d"
    folder.mkdir()
    operator = new_operator(f"{speech_server.template}_a:b%c")
    operator.folder = folder
    (folder / ".env").write_text("AUDIO_STORAGE_ROOT='rec: 100 %'\nKEY_FILE='keys:%s.json'\n")
    done = operator.init_db()
    assert done.returncode == 0, done.stderr
    assert (folder / "keys:%s.json").is_file()
    assert (folder / "rec: 100 %").is_dir()
    assert operator.alembic("upgrade", "head").returncode == 0
    assert operator.init_db("--check").stdout == "the database is ready\n"


def test_a_checkout_in_a_path_with_a_colon(set_up, tmp_path):
    checkout = tmp_path / "a:b"
    checkout.mkdir()
    for name in ("src", "alembic"):
        shutil.copytree(REPOSITORY / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "alembic.ini", checkout)
    done = Operator(tmp_path, set_up.url, set_up.warm).run(
        "-c", "from alembic.config import main; main()", "-c", str(checkout / "alembic.ini"), "current", PYTHONPATH=None
    )
    assert done.returncode == 0, done.stderr
    assert "(head)" in done.stdout
