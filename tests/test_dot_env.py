"""`.env`: where it is found, lines that are refused, and paths that start at its folder."""

from __future__ import annotations

import os

import pytest

from src import dot_env
from src.config import Settings, load_settings
from src.database.connection import addresses
from src.errors import ConfigurationError

SERVER = "POSTGRES_HOST=db.example\nPOSTGRES_USER=owner\n"


@pytest.fixture(autouse=True)
def project(monkeypatch, tmp_path):
    """The folder of a project, in which the process is, and an environment without settings."""
    for name in list(os.environ):
        if name.startswith(("POSTGRES_", "DATABASE_", "AUDIO_", "S3_", "PG", "DB_", "SPEECH_", "KEY_")):
            monkeypatch.delenv(name)
    project = tmp_path / "project"
    (project / "jobs" / "nightly").mkdir(parents=True)
    (project / "pyproject.toml").write_text("")
    monkeypatch.setattr(dot_env, "_CHECKOUT", tmp_path / "checkout")
    monkeypatch.chdir(project)
    return project


def write(folder, text):
    (folder / ".env").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / ".env"


# Where it is looked for


def test_a_folder_below_the_project_uses_the_file_of_the_project(project, monkeypatch):
    path = write(project, f"{SERVER}AUDIO_STORAGE_ROOT=recordings\nKEY_FILE=keys/k.json\n")
    monkeypatch.chdir(project / "jobs" / "nightly")
    settings = load_settings()
    assert (settings.env_file, settings.postgres_host) == (path, "db.example")
    assert settings.audio_storage_root == project / "recordings"
    assert addresses.key_path(settings) == project / "keys" / "k.json"


def test_the_nearest_file_is_used_and_none_above_the_project(project, monkeypatch, tmp_path):
    write(tmp_path, "POSTGRES_DB=above\n")
    write(project / "jobs", "POSTGRES_DB=nearest\n")
    assert load_settings().postgres_db == "speech_to_info"
    monkeypatch.chdir(project / "jobs" / "nightly")
    assert load_settings().postgres_db == "nearest"
    monkeypatch.chdir(project)
    assert load_settings().env_file is None


def test_another_folder_uses_the_file_of_the_checkout_of_this_layer(monkeypatch, tmp_path):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "alembic.ini").write_text("")
    write(checkout, SERVER)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = load_settings()
    assert settings.postgres_host == "db.example"
    assert addresses.key_path(settings) == checkout / "storage" / "keys" / "db.example_5432_speech_to_info.json"


def test_the_file_can_be_named(project, monkeypatch, tmp_path):
    write(project, "POSTGRES_DB=here\n")
    (tmp_path / "production.env").write_text("POSTGRES_DB=named\n")
    monkeypatch.setenv("SPEECH_ENV_FILE", str(tmp_path / "production.env"))
    assert load_settings().postgres_db == "named"
    monkeypatch.setenv("SPEECH_ENV_FILE", str(tmp_path / "no.env"))
    with pytest.raises(ConfigurationError, match=r"SPEECH_ENV_FILE names .*no\.env, which is not a file"):
        load_settings()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_above_the_current_folder_is_not_read(project, monkeypatch):
    os.chown(write(project, SERVER), 54321, 54321)
    assert load_settings().postgres_host == "db.example"
    monkeypatch.chdir(project / "jobs")
    assert load_settings().env_file is None


def test_relative_paths_start_at_the_current_folder_without_a_file(project, monkeypatch):
    monkeypatch.setenv("AUDIO_STORAGE_ROOT", "recordings")
    settings = load_settings()
    monkeypatch.chdir("/")
    assert settings.audio_storage_root == project / "recordings"
    assert addresses.key_path(settings).parent == project / "storage" / "keys"


def test_a_program_can_name_no_file(project):
    write(project, SERVER)
    assert Settings(_env_file=None).postgres_host is None


# Lines


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("POSTGRES_HOST: db", "NAME=value"),
        ("POSTGRES_HOST:db", "NAME=value"),
        ("POSTGRES_HOST:=db", "NAME=value"),
        ("POSTGRES_HOST", "NAME=value"),
        ("POSTGRES_HOST db", "NAME=value"),
        ("export POSTGRES_HOST", "NAME=value"),
        ("set POSTGRES_HOST=db", "NAME=value"),
        ("setenv POSTGRES_HOST db", "NAME=value"),
        ("=db", "NAME=value"),
        ("POSTGRES\u200b_HOST=db", "NAME=value"),
        ("\ufeff\ufeffPOSTGRES_HOST=db", "NAME=value"),
        ("POSTGRES_PASSWORD='secret", "NAME=value"),
        ('POSTGRES_PASSWORD="secret" more', "NAME=value"),
        ("POSTGRES_PASSWORD='secret\nPOSTGRES_HOST=db'", "several lines"),
        ("THEIRS='secret\nPOSTGRES_HOST=db'", "close its quote"),
        ("POSTGRES_PASSWORD=“secret”", "typographic quote"),
        ("POSTGRES_PASSWORD=secret #1", "single quotes"),
        ("POSTGRES_PASSWORD=secret'", "not opened"),
        ("DATABASE_URL=postgresql://u:secret@${HOST}/d", "not replaced"),
        ("POSTGRES_DB=secret\x07", "control character"),
        ("AUDIO_STORAGE_ROOT=~/secret", "whole path"),
        ("AUDIO_STORAGE_ROOT=$HOME/secret", "whole path"),
        ("POSTGRES_DB=secret\nPOSTGRES_DB=other", "different values on line 3 and line 4"),
    ],
)
def test_a_line_that_would_be_lost_is_refused_with_its_place_and_without_its_value(project, line, words):
    write(project, f"# a comment\n\n{line}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    if "AUDIO" not in line and "POSTGRES_DB=other" not in line:
        assert f"{project}/.env, line 3: " in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        b"POSTGRES_DB=cases",
        b"\xef\xbb\xbfPOSTGRES_DB=cases",
        b"\r\nPOSTGRES_DB=cases\r\n",
        b"export POSTGRES_DB=cases",
        b"  POSTGRES_DB = cases  # a comment",
        b"postgres_db='cases'",
        b'POSTGRES_DB="cases"  # a comment',
        b"POSTGRES_DB=cases\nPOSTGRES_DB=cases",
        b"THEIRS='one\ntwo'\nPOSTGRES_DB=cases",
        b"POSTGRES_INITDB_ARGS=--locale=C\nPOSTGRES_DB=cases",
    ],
)
def test_a_line_of_another_form_that_is_clear_is_read(project, line):
    write(project, line)
    assert load_settings().postgres_db == "cases"


def test_values_are_taken_as_written(project):
    secret = "p%40 #$x${y}:\\\\é"
    write(project, f"{SERVER}POSTGRES_PASSWORD='{secret}'\n")
    password = load_settings().postgres_password.get_secret_value()
    assert password == secret.replace("\\\\", "\\")
    assert addresses.owner_url(load_settings()).password == password


# Names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DB_HOST", "POSTGRES_HOST"),
        ("PGHOST", "POSTGRES_HOST"),
        ("POSTGRES_HOSTNAME", "POSTGRES_HOST"),
        ("POSTRGES_HOST", "POSTGRES_HOST"),
        ("POSTGRES-HOST", "POSTGRES_HOST"),
        ("POSTGRESQL_USERNAME", "POSTGRES_USER"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("SQLALCHEMY_DATABASE_URL", "DATABASE_URL"),
        ("POSTGRES_PASSWORD_FILE", "POSTGRES_PASSWORD"),
        ("AUDIO_STORAGE_PATH", None),
        ("S3_BUCKET_NAME", None),
        ("EMBEDDED_DIR", None),
        ("KEY_FIEL", "KEY_FILE"),
        ("AWS_REGION", None),
        ("BCRYPT_ROUNDS", None),
    ],
)
def test_an_unknown_name_in_the_file_is_refused_with_what_is_probably_meant(project, name, meant):
    write(project, f"POSTGRES_DB=cases\n{name}=secret\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert f"{name} ({project}/.env, line 2) is not a setting" in str(caught.value)
    assert meant is None or f"{meant} is probably meant" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("DB_HOST", True),
        ("POSTGRES_URL", True),
        ("POSTRGES_HOST", True),
        ("AUDIO_STORAGE_PATH", True),
        ("S3_ENDPOINT", True),
        ("POSTGRES_SERVICE_HOST", False),
        ("POSTGRES_INITDB_ARGS", False),
        ("ADMIN_EMAIL", False),
        ("AWS_REGION", False),
        ("PGHOST", False),
        ("KEYFILE", False),
    ],
)
def test_an_unknown_name_in_the_environment_is_refused_only_if_nobody_else_may_mean_it(monkeypatch, name, refused):
    monkeypatch.setenv(name, "secret")
    if refused:
        with pytest.raises(ConfigurationError, match=rf"{name} \(in the environment\) is not a setting"):
            load_settings()
    else:
        assert not load_settings().has_server


def test_names_of_other_programs_are_accepted_beside_a_server(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://owner@db/name")
    for name in ("DB_HOST", "POSTGRES_URL", "POSTGRES_SERVER", "POSTGRES_PORT_5432_TCP"):
        monkeypatch.setenv(name, "other")
    monkeypatch.setenv("POSTGRES_PORT", "tcp://10.0.0.1:5432")  # set by Kubernetes for a service with this name
    assert addresses.owner_url(load_settings()).host == "db"


def test_a_setting_of_a_server_with_another_name_is_refused_beside_a_host(monkeypatch):
    monkeypatch.setenv("POSTGRES_HOST", "db")
    monkeypatch.setenv("POSTGRES_URL", "other")
    load_settings()
    monkeypatch.setenv("POSTGRES_SSL", "require")
    with pytest.raises(ConfigurationError, match="POSTGRES_SSLMODE is probably meant"):
        load_settings()


def test_a_file_that_cannot_be_read_is_not_the_same_as_none(project):
    (project / ".env").symlink_to("nowhere")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings()
    (project / ".env").unlink()
    (project / ".env").mkdir()
    with pytest.raises(ConfigurationError, match=r"cannot be read \(Is a directory\)"):
        load_settings()


@pytest.mark.parametrize(
    "text",
    [
        "BCRYPT_COST=zwölf\n",
        "POSTGRES_PORT=0\n",
        "AUDIO_STORAGE_TYPE=tape\n",
        "POSTGRES_POOL_TIMEOUT_SECONDS=-1\n",
        "S3_PREFIX=x\n",
        "POSTGRES_USER=owner\n",
        "POSTGRES_HOST=db\n",
        "KEY_FILE=~/keys.json\n",
        'KEY_FILE=" keys.json"\n',
        "DATABASE_URL=mysql://u:p@h/d\n",
        "DATABASE_URL=postgresql://u:p@h\n",
    ],
)
def test_a_value_that_is_refused_is_named_with_file_and_line(project, text):
    path = write(project, f"# settings\n\n{text}")
    with pytest.raises(ConfigurationError) as raised:
        addresses.describe(load_settings())
    assert f"{path}, line 3" in str(raised.value)


def test_two_values_that_contradict_each_other_are_named_with_their_lines(project):
    path = write(project, "DATABASE_URL=postgresql://u:p@h/d\nPOSTGRES_DB=d\nPOSTGRES_HOST=other\n")
    with pytest.raises(ConfigurationError, match=rf"contradict each other \({path}, lines 1 and 3\)"):
        addresses.describe(load_settings())


def test_a_value_of_the_environment_is_named_as_such(project, monkeypatch):
    write(project, "BCRYPT_COST=12\n")
    monkeypatch.setenv("BCRYPT_COST", "99")
    with pytest.raises(ConfigurationError, match=r"^BCRYPT_COST: .* \(the environment\)"):
        load_settings()
