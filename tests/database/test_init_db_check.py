"""`init_db --check` signs in as services do and works on the storage; it names what fails, and changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from src.config import Settings
from src.database.connection.engine import PoolOptions, make_engine
from src.database.embedded import EmbeddedServer
from src.database.provisioning.logins import provide_logins
from src.database.testing import FAST
from src.errors import ConfigurationError
from src.maintenance import initialisation
from src.maintenance.claiming import claim
from src.storage import LocalStorage
from src.storage.marker import Marker

CONTENT = """
SELECT md5(concat((SELECT string_agg(t::text, ',' ORDER BY id) FROM users t),
                  (SELECT string_agg(t::text, ',' ORDER BY user_id) FROM case_accesses t),
                  (SELECT string_agg(t::text, ',' ORDER BY id) FROM activity_logs t),
                  (SELECT string_agg(t::text, ',' ORDER BY oid) FROM pg_roles t)))
"""
OWN_ADDRESS = f"127.83.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"  # the port is the one of the socket


class Checked:
    """A database with its settings, as an operator's machine has them."""

    def __init__(self, engine, folder, keys, **options):
        self.engine = engine
        self.keys = keys
        self.key_file = folder / "keys.json"
        keys.save(self.key_file)
        self.notes = []
        self.options = {
            "database_url": SecretStr(engine.url.render_as_string(hide_password=False)),
            "key_file": self.key_file,
            "audio_storage_root": folder,
            **options,
        }

    def check(self, **options):
        settings = Settings(_env_file=None, **{**self.options, **options})
        return initialisation.check(self.engine, settings, self.notes.append)

    def claim(self, folder):
        with Session(self.engine) as session:
            claim(session, LocalStorage(folder))

    def sql(self, statement):
        with self.engine.begin() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None


@pytest.fixture
def checked(owner, speech_server, tmp_path):
    checked = Checked(owner, tmp_path, speech_server.keys)
    checked.claim(tmp_path)
    yield checked
    for login in speech_server.logins:
        checked.sql(f"ALTER ROLE {login.name} LOGIN VALID UNTIL 'infinity' CONNECTION LIMIT -1")
    with owner.begin() as connection:
        provide_logins(connection, checked.key_file, *speech_server.logins)


def test_a_sound_database_is_ready_and_unchanged(checked):
    before = checked.sql(CONTENT)
    assert checked.check() == []
    assert checked.sql(CONTENT) == before
    assert checked.notes == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("ALTER ROLE {app} PASSWORD 'by hand'", ("{app} cannot serve sessions: its password is not", "--reset-login")),
        ("ALTER ROLE {admin} PASSWORD NULL", ("{admin} cannot serve sessions: its password is not", "--reset-login")),
        ("ALTER ROLE {app} NOLOGIN", ("the login {app} may not log in", 'ALTER ROLE "{app}" LOGIN')),
        ("ALTER ROLE {app} VALID UNTIL '2001-01-01'", ("the login {app} may not log in", "VALID UNTIL 'infinity'")),
        ("ALTER ROLE {admin} CONNECTION LIMIT 0", ("the login {admin} cannot serve sessions", "CONNECTION LIMIT -1")),
    ],
)
def test_what_keeps_a_login_from_signing_in_is_named(checked, damage, words):
    names = {"app": checked.keys.login, "admin": checked.keys.admin_login}
    checked.sql(damage.format(**names))
    (found,) = checked.check()
    assert all(word.format(**names) in found for word in words), found


def test_a_revoked_connect_privilege_is_named_and_init_db_grants_it(checked, speech_server):
    database = checked.engine.url.database
    checked.sql(f'REVOKE CONNECT ON DATABASE "{database}" FROM PUBLIC')
    found = checked.check()
    assert len(found) == 2
    assert all("cannot serve sessions" in sentence and "CONNECT" in sentence for sentence in found)
    with checked.engine.begin() as connection:
        provide_logins(connection, checked.key_file, *speech_server.logins)
    assert checked.check() == []


def test_a_key_of_another_database_is_one_finding(checked):
    checked.sql("UPDATE actor_keys SET retired_at = now()")
    (found,) = checked.check()
    assert "the key file does not belong to this database" in found


def test_the_storage_is_tried_too(checked, tmp_path):
    (found,) = checked.check(audio_storage_root=tmp_path / "nowhere")
    assert "nowhere, is missing" in found
    assert not (tmp_path / "nowhere").exists()
    checked.claim(tmp_path / "audio")
    (tmp_path / "audio" / "cases").write_text("a file")
    (found,) = checked.check(audio_storage_root=tmp_path / "audio")
    assert found.startswith(f"the storage: The storage at {tmp_path}/audio cannot be used (Not a directory)")
    (found,) = checked.check(audio_storage_type="s3")
    assert found.startswith("the storage: S3_BUCKET is not set")


def test_a_storage_of_another_database_is_named_and_not_tried(checked, tmp_path):
    other = LocalStorage(tmp_path / "other")
    other.write_marker(Marker(uuid4(), uuid4(), 0, "another").to_bytes(), replaces=None)
    before = sorted(path.name for path in (tmp_path / "other").iterdir())
    (found,) = checked.check(audio_storage_root=tmp_path / "other")
    assert "of database" in found
    assert "another" in found
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == before


def test_a_database_without_an_identity_is_named_and_works_where_no_marker_is(checked, tmp_path):
    assert not any("no identity" in note for note in initialisation.optional(checked.engine))
    checked.sql("DELETE FROM storages; DELETE FROM database_identities")
    (found,) = checked.check()
    assert "has no identity" in found
    (tmp_path / "new").mkdir()
    assert checked.check(audio_storage_root=tmp_path / "new") == []
    assert any("no identity" in note for note in initialisation.optional(checked.engine))


@pytest.fixture(scope="module")
def own_server(tmp_path_factory):
    """A server of its own, whose pg_hba.conf the tests change."""
    folder = Path(tempfile.mkdtemp(prefix="sti-check-"))
    # As root, the server runs as another account, which needs access to the folder.
    folder.chmod(0o711)
    binaries = os.environ.get("TEST_SERVER_BINARIES")
    settings = {**FAST, "listen_addresses": OWN_ADDRESS}
    with EmbeddedServer(
        folder / "postgres", binaries=Path(binaries) if binaries else None, settings=settings
    ) as server:
        server.ensure_database("checked")
        yield server
    shutil.rmtree(folder)


class Entrance:
    """The database of a server, its pg_hba.conf, and engines that reach it by socket or by network."""

    def __init__(self, server, folder):
        self._hba = server.folder / "data" / "pg_hba.conf"
        self._original = self._hba.read_text()
        self.socket_url = server.url("checked")
        self.network_url = self.socket_url.set(host=OWN_ADDRESS, port=server.port, query={"sslmode": "disable"})
        self._folder = folder
        settings = Settings(_env_file=None, key_file=folder / "keys.json", audio_storage_root=folder)
        self.engine = make_engine(self.socket_url, PoolOptions(size=1))
        initialisation.initialise(self.engine, settings, lambda _: None, storage=LocalStorage(folder))

    def check(self, url, **options):
        engine = make_engine(url, PoolOptions(size=1))
        settings = Settings(
            _env_file=None, key_file=self._folder / "keys.json", audio_storage_root=self._folder, **options
        )
        try:
            return initialisation.check(engine, settings, lambda _: None)
        finally:
            engine.dispose()

    def allow_first(self, *lines):
        """Put these lines at the beginning of pg_hba.conf, and wait until new connections obey them."""
        before = self.sql("SELECT pg_conf_load_time()")
        self._hba.write_text("".join(f"{line}\n" for line in lines) + self._original)
        self.sql("SELECT pg_reload_conf()")
        while self.sql("SELECT pg_conf_load_time()") == before:
            pass

    def enable_tls(self):
        """Enable TLS; return False where the programs of the server were built without it."""
        data = self._hba.parent
        subprocess.run(
            ["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=localhost", "-newkey", "ec",
             "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", data / "server.key", "-out", data / "server.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
        for name in ("server.key", "server.crt"):
            (data / name).chmod(0o600)
            shutil.chown(data / name, data.stat().st_uid, data.stat().st_gid)
        try:
            self.sql("ALTER SYSTEM SET ssl = on")
        except DBAPIError as error:
            if "SSL is not supported by this build" in str(error):
                return False
            raise
        return True

    def sql(self, statement):
        self.engine.dispose()  # a new connection has the new configuration
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None


@pytest.fixture(scope="module")
def entrance(own_server, tmp_path_factory):
    entrance = Entrance(own_server, tmp_path_factory.mktemp("operator"))
    yield entrance
    entrance.engine.dispose()


@pytest.mark.parametrize(
    ("line", "count", "words"),
    [
        ("local checked checked_app peer", 1, ("checked_app by the user of the operating system", "scram-sha-256")),
        ("local checked checked_app,checked_admin reject", 2, ("pg_hba.conf", "Ask its administrator for an entry")),
    ],
)
def test_what_pg_hba_conf_refuses_is_named(entrance, line, count, words):
    entrance.allow_first(line)
    found = entrance.check(entrance.socket_url)
    assert len(found) == count
    assert [word for word in words for sentence in found if word not in sentence] == [], found
    entrance.allow_first()
    assert entrance.check(entrance.socket_url) == []


def test_a_server_that_wants_tls_is_named_and_the_remedy_works(entrance):
    has_tls = entrance.enable_tls()
    entrance.allow_first(
        "hostssl checked checked_app,checked_admin 127.0.0.0/8 scram-sha-256",
        "hostnossl checked checked_app,checked_admin 127.0.0.0/8 reject",
        "host all all 127.0.0.0/8 scram-sha-256",
    )
    found = entrance.check(entrance.network_url)
    assert len(found) == 2
    assert all("POSTGRES_SSLMODE=require" in sentence for sentence in found)
    remedied = entrance.network_url.update_query_dict({"sslmode": "require"})
    if has_tls:
        assert entrance.check(remedied) == []
    else:
        with pytest.raises(ConfigurationError, match="does not offer TLS"):
            entrance.check(remedied)
