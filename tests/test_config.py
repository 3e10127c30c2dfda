"""Settings: read from the environment and `.env`, typed, immutable, without secrets in their repr."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from src.config import Settings, load_settings
from src.database.connection import addresses
from src.errors import ConfigurationError, DatabaseMissing

SECRETS = (
    "postgres_password",
    "database_url",
    "postgres_app_password",
    "postgres_admin_password",
    "admin_password",
    "aws_secret_access_key",
    "aws_session_token",
)


@pytest.fixture(autouse=True)
def empty(monkeypatch, tmp_path):
    """An empty folder, and an environment without the variables of this layer."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_defaults_use_the_embedded_server(empty):
    settings = load_settings()
    assert settings.postgres_host is None
    assert settings.database_url is None
    assert (settings.postgres_db, settings.postgres_port) == ("speech_to_info", 5432)
    assert settings.audio_storage_root == empty / "storage" / "audio"


def test_variables_are_read_from_dot_env(empty):
    (empty / ".env").write_text(
        "POSTGRES_HOST=db.example\nPOSTGRES_PORT=5433\nPOSTGRES_DB=mission\nPOSTGRES_USER=me\n"
        "POSTGRES_PASSWORD='p@ss #word'\nAUDIO_STORAGE_ROOT=/audio\nSOMETHING_ELSE=ignored\n", encoding="utf-8"
    )  # fmt: skip
    settings = load_settings()
    url = addresses.owner_url(settings)
    assert (url.host, url.port, url.database, url.username, url.password) == (
        "db.example",
        5433,
        "mission",
        "me",
        "p@ss #word",
    )
    assert settings.audio_storage_root == Path("/audio")


def test_the_environment_takes_precedence_over_dot_env(empty, monkeypatch):
    (empty / ".env").write_text("POSTGRES_DB=from_file\nPOSTGRES_POOL_SIZE=1\n")
    monkeypatch.setenv("POSTGRES_DB", "from_environment")
    assert (load_settings().postgres_db, load_settings().postgres_pool_size) == ("from_environment", 1)


def test_settings_are_immutable_and_show_no_secrets(monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name.upper(), "postgresql://u:very-secret@h/d")
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.postgres_db = "other"
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert "very-secret" not in shown


def test_secrets_have_a_secret_type_and_all_settings_a_description():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        kind = str(field.annotation)
        assert ("SecretStr" in kind) == (name in SECRETS), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POSTGRES_PORT", "x"),
        ("POSTGRES_PORT", "0"),
        ("POSTGRES_DB", "x" * 64),
        ("POSTGRES_POOL_SIZE", "-1"),
        ("POSTGRES_POOL_TIMEOUT_SECONDS", "0"),
        ("POSTGRES_STATEMENT_TIMEOUT_SECONDS", "nan"),
        ("POSTGRES_STATEMENT_TIMEOUT_SECONDS", "inf"),
        ("POSTGRES_CONNECT_TIMEOUT_SECONDS", "0"),
        ("BCRYPT_COST", "9"),
        ("BCRYPT_COST", "31"),
        ("PROBE_TIMEOUT_SECONDS", "-5"),
    ],
)
def test_an_invalid_value_is_an_error_that_names_the_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"^{name}: .* \(the environment\)\. Correct it there\.$"):
        load_settings()


def test_each_server_and_database_has_a_separate_key_file(monkeypatch, tmp_path):
    paths = set()
    for variables in (
        {},
        {"POSTGRES_DB": "other"},
        {"POSTGRES_HOST": "h", "POSTGRES_USER": "u"},
        {"POSTGRES_HOST": "h", "POSTGRES_USER": "u", "POSTGRES_PORT": "5433"},
        {"DATABASE_URL": "postgresql://u:p@h2:5432/d"},
        {"DATABASE_URL": "postgresql://u:p@/d?host=/var/run"},
        {"DATABASE_URL": "postgresql://u:p@h2:5432/../../etc"},
    ):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            path = addresses.key_path(load_settings())
        assert path.parent == tmp_path / addresses.KEY_FOLDER
        assert path.name == Path(path.name).name
        assert not path.name.startswith(".")
        paths.add(path)
    assert len(paths) == 7


def test_a_missing_key_file_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h/d")
    with pytest.raises(ConfigurationError, match=r"python -m src\.database\.scripts\.init_db"):
        addresses.serving_logins(load_settings())


def test_the_login_is_named_after_the_database_and_has_at_most_63_bytes(monkeypatch):
    settings = load_settings()
    assert addresses.login_names(settings, "case_files") == addresses.LoginNames("case_files_app", "case_files_admin")
    for database in ("x" * 63, "ü" * 31):
        names = addresses.login_names(settings, database)
        assert len(names.members.encode()) <= 63
        assert len(names.administrators.encode()) <= 63
        assert names.members != names.administrators
    monkeypatch.setenv("DATABASE_URL", "postgresql://owner@db/name")
    monkeypatch.setenv("POSTGRES_APP_USER", "mine")
    assert addresses.login_names(load_settings(), "case_files").members == "mine"


def test_an_empty_variable_counts_as_unset(monkeypatch):
    for name in ("POSTGRES_HOST", "DATABASE_URL", "ADMIN_PASSWORD", "POSTGRES_DB", "POSTGRES_PORT"):
        monkeypatch.setenv(name, "")

    settings = load_settings()

    assert (settings.postgres_host, settings.database_url, settings.admin_password) == (None, None, None)
    assert settings.postgres_db == "speech_to_info"


@pytest.mark.parametrize(
    "variables",
    [
        {"POSTGRES_HOST": "db", "POSTGRES_USER": "owner", "POSTGRES_SSLMODE": "verify-full"},
        {"DATABASE_URL": "postgresql://owner@db/name", "POSTGRES_SSLMODE": "verify-full"},
    ],
)
def test_sslmode_applies_to_the_connections_of_the_owner(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert addresses.owner_url(load_settings()).query["sslmode"] == "verify-full"


def test_a_url_without_a_database_is_an_error(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://owner@db:5432")

    with pytest.raises(ConfigurationError, match="names no database"):
        addresses.owner_url(load_settings())


def test_create_false_does_not_create_an_embedded_server(monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDDED_POSTGRES_DIR", str(tmp_path / "nowhere"))

    with pytest.raises(DatabaseMissing, match="init_db"):
        addresses.owner_url(load_settings(), create=False)
    assert not (tmp_path / "nowhere").exists()
