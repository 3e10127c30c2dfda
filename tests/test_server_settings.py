"""Settings of a server: complete, without contradictions, not redirected, or none and the embedded server."""

from __future__ import annotations

import os

import pytest

from src.config import Settings, load_settings
from src.database.connection import addresses
from src.database.connection.engine import make_engine
from src.errors import ConfigurationError


@pytest.fixture(autouse=True)
def empty(monkeypatch, tmp_path):
    """An empty folder, and an environment without settings."""
    for name in list(os.environ):
        if name.startswith(("POSTGRES_", "DATABASE_", "AUDIO_", "S3_", "PG", "DB_", "SPEECH_", "KEY_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"POSTGRES_USER": "u", "POSTGRES_PASSWORD": "secret"}, "POSTGRES_USER, POSTGRES_PASSWORD: set, but"),
        ({"POSTGRES_PORT": "5432"}, "POSTGRES_PORT: set"),
        ({"POSTGRES_SSLMODE": "require"}, "POSTGRES_SSLMODE: set"),
        ({"POSTGRES_APP_USER": "u"}, "POSTGRES_APP_USER: set"),
        ({"POSTGRES_ADMIN_PASSWORD": "secret"}, "POSTGRES_ADMIN_PASSWORD: set"),
        ({"POSTGRES_LOGIN_PASSWORDS": "false"}, "POSTGRES_LOGIN_PASSWORDS: set"),
        ({"POSTGRES_HOST": "", "POSTGRES_USER": "u"}, "POSTGRES_HOST is empty"),
        ({"POSTGRES_HOST": "", "POSTGRES_DB": "cases"}, "POSTGRES_DB: set, but POSTGRES_HOST is empty"),
        ({"DATABASE_URL": "", "POSTGRES_DB": "cases"}, "DATABASE_URL is empty"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["file", "environment"])
def test_settings_of_a_server_need_a_host(empty, monkeypatch, place, variables, words):
    if place == "file":
        (empty / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    else:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


URL = "postgresql://owner:secret@db:5433/cases"


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"POSTGRES_HOST": "other"}, "POSTGRES_HOST"),
        ({"POSTGRES_PORT": "5432"}, "POSTGRES_PORT"),
        ({"POSTGRES_USER": "other"}, "POSTGRES_USER"),
        ({"POSTGRES_PASSWORD": "another secret"}, "POSTGRES_PASSWORD"),
        ({"POSTGRES_DB": "other", "POSTGRES_HOST": "other"}, "POSTGRES_HOST and POSTGRES_DB"),
        ({"DATABASE_URL": f"{URL}?sslmode=disable", "POSTGRES_SSLMODE": "require"}, "POSTGRES_SSLMODE"),
    ],
)
def test_a_url_that_contradicts_single_settings_is_refused(monkeypatch, variables, named):
    for name, value in ({"DATABASE_URL": URL} | variables).items():
        monkeypatch.setenv(name, value)
    for use in (addresses.owner_url, addresses.describe, addresses.key_path):
        with pytest.raises(ConfigurationError) as caught:
            use(load_settings())
        assert str(caught.value).startswith(f"{named} and DATABASE_URL contradict each other")
        assert "secret" not in str(caught.value)


def test_single_settings_complete_a_url(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://db")
    for name, value in {"USER": "owner", "PASSWORD": "secret", "PORT": "5433", "DB": "cases", "HOST": "db"}.items():
        monkeypatch.setenv(f"POSTGRES_{name}", value)
    settings = load_settings()
    url = addresses.owner_url(settings).render_as_string(hide_password=False)
    assert url == URL.replace("postgresql:", "postgresql+psycopg2:")
    assert addresses.key_path(settings).name == "db_5433_cases.json"


@pytest.mark.parametrize(
    ("url", "variable", "refused"),
    [
        (URL, "PGSERVICE", True),
        (URL, "PGHOSTADDR", True),
        (URL, "PGHOST", False),
        (URL, "PGPORT", False),
        ("postgresql://owner@db/cases", "PGPORT", True),
        ("postgresql://owner@/cases", "PGHOST", True),
        ("postgresql://db/cases", "PGUSER", True),
        ("postgresql://owner@/cases?host=/run", "PGHOST", False),
    ],
)
def test_variables_of_libpq_do_not_redirect(monkeypatch, url, variable, refused):
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv(variable, "/elsewhere")
    for use in (addresses.describe, lambda settings: make_engine(addresses.owner_url(settings))):
        if refused:
            with pytest.raises(ConfigurationError, match=f"^{variable}: set in the environment"):
                use(load_settings())
        else:
            use(load_settings())


@pytest.mark.parametrize("variable", ["PGSERVICE", "PGHOSTADDR"])
def test_variables_of_libpq_do_not_redirect_from_the_embedded_server(monkeypatch, empty, variable):
    monkeypatch.setenv("EMBEDDED_POSTGRES_DIR", str(empty / "embedded"))
    monkeypatch.setenv(variable, "elsewhere")
    for use in (addresses.describe, addresses.owner_url):
        with pytest.raises(ConfigurationError, match=f"^{variable}: set in the environment"):
            use(load_settings())
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"S3_PREFIX": "x", "S3_REGION": "eu"}, "S3_PREFIX, S3_REGION: set, but S3_BUCKET is not"),
        ({"POSTGRES_DB": "a", "postgres_db": "b"}, "have different values"),
        ({"POSTGRES_DB": "cases "}, "POSTGRES_DB: the value begins or ends with a blank"),
        ({"AUDIO_STORAGE_ROOT": " "}, "AUDIO_STORAGE_ROOT: the value begins or ends with a blank"),
    ],
)
def test_settings_that_would_be_lost_are_refused(monkeypatch, variables, words):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=words):
        load_settings()


def test_a_misspelled_argument_is_refused():
    with pytest.raises(ConfigurationError, match="Settings has no field postgres_hots"):
        Settings(postgres_hots="db")
