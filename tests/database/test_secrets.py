"""Passwords and keys appear in no repr, log or error."""

from __future__ import annotations

import logging
import traceback

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from src.config import Settings, load_settings
from src.database import Database
from src.database.connection import addresses
from src.database.connection.actor_tokens import SigningKey
from src.database.connection.engine import PoolOptions, make_engine, normalise_url
from src.database.connection.key_file import KeyFile
from src.database.provisioning.logins import provide_logins
from src.database.testing import logins
from src.errors import ConfigurationError, SpeechError

SECRET = "hunter2-S3cr3t"
URL = f"postgresql://owner:{SECRET}@127.0.0.1:1/name"
KEY = SigningKey(1, SECRET.encode().ljust(32, b"!"))


@pytest.fixture
def settings(tmp_path):
    return Settings(
        _env_file=None, database_url=URL, postgres_password=SECRET, postgres_app_password=SECRET,
        admin_password=SECRET, key_file=tmp_path / "key.json",
    )  # fmt: skip


def representations(item):
    yield from (repr(item), str(item), f"{item} {item!r}")
    if hasattr(item, "__dict__"):
        yield repr(list(vars(item).keys()))


def test_representations_of_objects_contain_no_secret(settings, tmp_path):
    keys = KeyFile("app", SECRET, KEY, "admin", SECRET)
    keys.save(tmp_path / "key.json")
    database = Database(URL, signing_key=KEY, settings=settings)
    items = [settings, keys, KEY, database, database.engine, database.engine.url, database.side_engine,
              database.engine.pool, addresses.serving_logins(settings), addresses.owner_url(settings),
              addresses.pool_options(settings), normalise_url(URL), make_engine(URL), PoolOptions()]  # fmt: skip
    for item in items:
        for representation in representations(item):
            assert SECRET not in representation, item
    assert "***" in repr(database)


def full_text(error):
    """The text of the error in a log, including chained errors."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(error)


@pytest.mark.parametrize("url", [
    URL,
    f"postgresql://owner:{SECRET}@no-such-host.invalid/name",
    f"postgresql://owner:{SECRET}@/name?host=/no/such/folder",
    f"postgresql://owner:{SECRET}@127.0.0.1:1/name?sslmode=nonsense",
    f"postgresql://owner:{SECRET}@127.0.0.1:1/name?no_such_option=1",
])  # fmt: skip
def test_connection_errors_contain_no_password(url, caplog):
    caplog.set_level(logging.DEBUG)
    with (
        Database(url, signing_key=KEY) as database,
        pytest.raises(SpeechError) as caught,
        database.session(actor="alice") as session,
    ):
        session.execute(text("SELECT 1"))
    assert SECRET not in full_text(caught.value)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("url", [
    f"postgresql://owner:{SECRET}",
    f"postgresql://owner:a@b:{SECRET}@127.0.0.1:1/name",
    f"postgresql://owner:{SECRET}@host:port:port/name",
    f"{SECRET}://owner@host/name",
    f"postgresql://owner:x@{SECRET}@127.0.0.1:1/name",
    SECRET,
])  # fmt: skip
def test_errors_for_an_invalid_url_do_not_quote_it(url):
    try:
        with Database(url, signing_key=KEY, pool=PoolOptions(connect_timeout_seconds=2)) as database:
            with pytest.raises(SpeechError) as caught, database.session(actor="alice") as session:
                session.execute(text("SELECT 1"))
            error = caught.value
    except SpeechError as raised:
        error = raised
    assert SECRET not in full_text(error)


STATEMENTS = (
    "SELECT CAST(:value AS integer)",
    "SELECT 1 / 0, :value",
    "INSERT INTO cases (title, status_id) VALUES (:value, 99999)",
    "INSERT INTO cases (title, case_code) VALUES ('x', 'y'), (:value, 'y')",
)


def test_errors_of_statements_contain_no_parameters(db, caplog):
    caplog.set_level(logging.DEBUG)
    for statement in STATEMENTS:
        with pytest.raises((SpeechError, DBAPIError)) as caught, db.session(actor="alice") as session:
            session.execute(text(statement), {"value": SECRET})
        assert SECRET not in str(caught.value)
    assert SECRET not in caplog.text


def test_the_password_of_a_login_is_sent_only_as_a_verifier(speech_server, owner, tmp_path, caplog):
    sent = []
    event.listen(owner, "before_cursor_execute", lambda *call: sent.append(call[2]))
    with owner.connect() as connection:
        keys = provide_logins(connection, tmp_path / "key.json", *logins("sti_test_verifier", SECRET))
        connection.rollback()
    assert keys.password == SECRET
    assert any("SCRAM-SHA-256$" in statement for statement in sent)
    assert not any(SECRET in statement for statement in sent)


def test_errors_for_invalid_settings_contain_no_values(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("POSTGRES_PORT", "POSTGRES_POOL_SIZE", "BCRYPT_COST", "PROBE_TIMEOUT_SECONDS"):
        monkeypatch.setenv(name, SECRET)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "POSTGRES_PORT" in str(caught.value)
    assert SECRET not in full_text(caught.value)
