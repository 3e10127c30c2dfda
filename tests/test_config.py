"""Settings: read from the environment and `.env`, typed, frozen, quiet about secrets."""

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
    "admin_password",
    "aws_secret_access_key",
    "aws_session_token",
)


@pytest.fixture(autouse=True)
def empty(monkeypatch, tmp_path):
    """An empty folder, and none of our variables in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_without_anything_there_are_defaults_and_the_embedded_server():
    settings = load_settings()
    assert settings.postgres_host is None
    assert settings.database_url is None
    assert (settings.postgres_db, settings.postgres_port) == ("speech_to_info", 5432)
    assert settings.audio_storage_root == Path("storage/audio")


def test_the_missions_variables_are_read_from_dot_env(empty):
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


def test_the_environment_wins_over_dot_env(empty, monkeypatch):
    (empty / ".env").write_text("POSTGRES_DB=from_file\nPOSTGRES_PORT=1\n")
    monkeypatch.setenv("POSTGRES_DB", "from_environment")
    assert (load_settings().postgres_db, load_settings().postgres_port) == ("from_environment", 1)


def test_a_url_wins_over_single_variables(monkeypatch):
    monkeypatch.setenv("POSTGRES_HOST", "ignored")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h:5434/n")
    url = addresses.owner_url(load_settings())
    assert (url.drivername, url.host, url.database) == ("postgresql+psycopg2", "h", "n")


def test_settings_are_frozen_and_quiet(monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name.upper(), "postgresql://u:very-secret@h/d")
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.postgres_db = "other"
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert "very-secret" not in shown


def test_every_secret_is_a_secret_and_every_setting_is_described():
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
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}: .*Correct it in .env or the environment.$"):
        load_settings()


def test_each_server_and_database_has_a_key_file_of_its_own(monkeypatch):
    places = set()
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
        assert path.parent == addresses.KEY_FOLDER
        assert path.name == Path(path.name).name
        assert not path.name.startswith(".")
        places.add(path)
    assert len(places) == 7


def test_without_a_key_file_the_remedy_is_named(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h/d")
    with pytest.raises(ConfigurationError, match=r"python -m src\.database\.scripts\.init_db"):
        addresses.serving_login(load_settings())


def test_the_login_has_the_databases_name_and_fits_in_63_bytes(monkeypatch):
    settings = load_settings()
    assert addresses.app_login(settings, "case_files") == "case_files_app"
    for database in ("x" * 63, "ü" * 31):
        assert len(addresses.app_login(settings, database).encode()) <= 63
    monkeypatch.setenv("POSTGRES_APP_USER", "mine")
    assert addresses.app_login(load_settings(), "case_files") == "mine"


def test_an_empty_variable_is_not_set(monkeypatch):
    for name in ("POSTGRES_HOST", "DATABASE_URL", "ADMIN_PASSWORD", "POSTGRES_DB"):
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
def test_the_owners_connection_is_held_to_sslmode_too(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert addresses.owner_url(load_settings()).query["sslmode"] == "verify-full"


def test_a_url_without_a_database_is_refused(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://owner@db:5432")

    with pytest.raises(ConfigurationError, match="names no database"):
        addresses.owner_url(load_settings())


def test_looking_does_not_make_an_embedded_server(monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDDED_POSTGRES_DIR", str(tmp_path / "nowhere"))

    with pytest.raises(DatabaseMissing, match="init_db"):
        addresses.owner_url(load_settings(), create=False)
    assert not (tmp_path / "nowhere").exists()
