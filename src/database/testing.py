"""Pytest fixtures with a database and a storage, for services that use this layer and for its own test suite.

In the `conftest.py` of a service that imports this layer:

    from src.database.testing import speech_database, speech_server

    def test_my_service(speech_database):
        with speech_database.session(actor="alice") as session:
            ...

Each test gets a separate database, copied from a template that is built once per run, with the users `root` (an
administrator), `alice`, `bob` and `transcriber` (a service), and a storage in memory. The server is an embedded one, or
that of `TEST_DATABASE_URL` (several URLs, separated by spaces: one for each worker of pytest-xdist), whose login must
have the right to create databases and roles. Only this module and the recordings service import both storage and
database.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Engine, insert, select
from sqlalchemy.exc import OperationalError

from src.database.connection.actor_tokens import SigningKey
from src.database.connection.engine import PoolOptions, make_engine, normalise_url
from src.database.connection.key_file import KeyFile
from src.database.connection.session import Database
from src.database.embedded import EmbeddedServer
from src.database.models import User, UserRole
from src.database.provisioning.extensions import create_extensions
from src.database.provisioning.logins import Login, provide_logins
from src.database.provisioning.migrate import upgrade
from src.database.provisioning.seeding import apply_seeds
from src.database.schema import ADMIN_ROLE, SESSION_ROLES
from src.database.schema.objects import MEMBER_ROLES
from src.storage import MemoryStorage

USERS = {"root": "admin", "alice": "user", "bob": "user", "transcriber": "service"}
# The data of a test server is not needed after a crash, so durability would only cost time.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
LEAST_ROOM = 4 << 30


class SpeechServer:
    """A PostgreSQL server with a template database, which `copy` copies."""

    def __init__(self, maintenance: URL, owner: URL, folder: Path) -> None:
        self.maintenance = maintenance
        self.owner = owner
        self._folder = folder
        self._prefix = f"sti_test_{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self._maintenance_engine: Engine | None = None
        self._strategy = ""
        self._released: str | None = None
        self.template = f"{self._prefix}_template"
        self.keys: KeyFile

    @property
    def logins(self) -> tuple[Login, Login]:
        """The logins of this server with their passwords, as the arguments of `provide_logins`."""
        keys = self.keys
        return (
            Login(keys.login, keys.password, MEMBER_ROLES),
            Login(str(keys.admin_login), keys.admin_password, (ADMIN_ROLE,)),
        )

    def build_template(self) -> None:
        """Create the template: migrations, extensions, seeds, the login and users."""
        self._strategy = self._cheapest_strategy()
        self.create(self.template)
        url = self.owner.set(database=self.template)
        upgrade(url)
        with self._engine(url) as engine, engine.begin() as connection:
            create_extensions(connection, "")
            apply_seeds(connection)
            self.keys = provide_logins(connection, self._folder / "keys.json", *logins(self._prefix))
            for name, role in USERS.items():
                role_id = select(UserRole.id).where(UserRole.code == role).scalar_subquery()
                connection.execute(insert(User).values(username=name, role_id=role_id))

    def create(self, name: str, template: str = "template0") -> None:
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}{self._strategy}")

    def drop(self, name: str) -> None:
        try:
            # Without FORCE, which fails for an owner without superuser while autovacuum is connected.
            self._run(f"DROP DATABASE IF EXISTS {name}")
        except OperationalError:
            self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # a connection was left open

    def _cheapest_strategy(self) -> str:
        """Return the STRATEGY for copying the template: FILE_COPY without fsync, else the default of the server.

        FILE_COPY bypasses WAL and shared buffers, but needs two checkpoints, which are slow on a server with fsync.
        """
        with self._engine(self.owner.set(database=self.maintenance.database)) as engine, engine.connect() as connection:
            synced = connection.exec_driver_sql("SHOW fsync").scalar_one() == "on"
        return "" if synced else " STRATEGY FILE_COPY"

    def _release(self, name: str) -> None:
        """Drop the previously released database.

        Backends of the current one may still be exiting, and DROP DATABASE retries only after 100 ms.
        """
        previous, self._released = self._released, name
        if previous is not None:
            self.drop(previous)

    @contextmanager
    def empty(self) -> Iterator[URL]:
        """Create a database without a schema, for the block; yield the URL of its owner."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self.create(name)
        try:
            yield self.owner.set(database=name)
        finally:
            self._release(name)

    @contextmanager
    def copy(self) -> Iterator[URL]:
        """Create a copy of the template, for the block; yield the URL of its owner."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self.create(name, self.template)
        try:
            yield self.owner.set(database=name)
        finally:
            self._release(name)

    def serving_url(self, owner: URL) -> URL:
        """Return the URL of the login that serves sessions of members in the database of `owner`."""
        return owner.set(username=self.keys.login, password=self.keys.password)

    def admin_url(self, owner: URL) -> URL:
        """Return the URL of the login that serves sessions of administrators in the database of `owner`."""
        return owner.set(username=self.keys.admin_login, password=self.keys.admin_password)

    def database(self, owner: URL, **options: Any) -> Database:
        """Return a Database with both logins; `options` are passed to it."""
        return Database(
            self.serving_url(owner), signing_key=self.signing_key, admin_url=self.admin_url(owner), **options
        )

    @property
    def signing_key(self) -> SigningKey:
        return self.keys.signing_key

    def close(self) -> None:
        """Remove the databases and the login of this run from the server."""
        if self._released is not None:
            self.drop(self._released)
        self.drop(self.template)
        if self._maintenance_engine is not None:
            self._maintenance_engine.dispose()
        with self._engine(self.owner.set(database=self.maintenance.database)) as engine, engine.begin() as connection:
            # Serialises runs that end at the same time on one server, since a role can be dropped only once.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7311860221)")
            connection.exec_driver_sql(f"DROP ROLE IF EXISTS {self._prefix}_app, {self._prefix}_admin")
            for role in SESSION_ROLES:
                # Kept if another database of the server uses it.
                connection.exec_driver_sql(
                    f"DO $$ BEGIN DROP ROLE IF EXISTS {role}; EXCEPTION WHEN dependent_objects_still_exist"
                    " OR insufficient_privilege THEN NULL; END $$"
                )

    def _run(self, statement: str) -> None:
        if self._maintenance_engine is None:
            # Reused: a new connection for each database takes half as long as copying it.
            url = self.owner.set(database=self.maintenance.database)
            self._maintenance_engine = make_engine(url, PoolOptions(size=1, application_name="testing"))
        connection = self._maintenance_engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with connection:
            connection.exec_driver_sql(statement)

    @contextmanager
    def _engine(self, url: URL) -> Iterator[Engine]:
        engine = make_engine(url, PoolOptions(size=1, application_name="testing"))
        try:
            yield engine
        finally:
            engine.dispose()


def logins(prefix: str, password: str | None = None) -> tuple[Login, Login]:
    """Return the two logins of a test database, as the arguments of `provide_logins`."""
    return Login(f"{prefix}_app", password, MEMBER_ROLES), Login(f"{prefix}_admin", password, (ADMIN_ROLE,))


@contextmanager
def running_server(room: int = LEAST_ROOM) -> Iterator[SpeechServer]:
    """Yield a server with a template: that of TEST_DATABASE_URL, or an embedded one for this run.

    The folder of an embedded server is in memory if `room` bytes are free there.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="sti-test-", dir=roomy_memory(room)))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        named = named_server()
        if named:
            owner = maintenance = normalise_url(named)
        else:
            # As root, the server runs as another account, which needs access to the folder.
            folder.chmod(0o711)
            embedded = stack.enter_context(EmbeddedServer(folder / "postgres", settings=FAST))
            maintenance = embedded.url("postgres")
            owner = ordinary_owner(maintenance)
        server = SpeechServer(maintenance, owner, folder)
        server.build_template()
        stack.callback(server.close)
        yield server


def roomy_memory(room: int = LEAST_ROOM) -> str | None:
    """Return a folder in memory with `room` free bytes for a test server; None without one.

    Each test copies the template, about 300 files: 100 to 400 ms on a disk, 15 ms in memory.
    """
    memory = "/dev/shm"  # noqa: S108 - mkdtemp creates a private folder in it
    fits = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= room
    return memory if fits else None


def named_server() -> str | None:
    """Return the URL in TEST_DATABASE_URL; of several, separated by spaces, that of this worker of pytest-xdist."""
    named = os.environ.get("TEST_DATABASE_URL", "").split()
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return named[int(worker) % len(named)] if named else None


def has_server_alone() -> bool:
    """Return whether no other worker of pytest-xdist uses the server of this worker.

    Sealing waits for every transaction of a server in all its databases: tests of it need an exclusive server.
    """
    named = os.environ.get("TEST_DATABASE_URL", "").split()
    return not named or len(named) >= int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def ordinary_owner(superuser: URL) -> URL:
    """Create an owner without superuser, as on most servers, so that operations that need a superuser fail in tests."""
    password = secrets.token_urlsafe(16)
    engine = make_engine(superuser, PoolOptions(size=1))
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE ROLE sti_test_owner LOGIN CREATEDB CREATEROLE PASSWORD '{password}'")
    finally:
        engine.dispose()
    return superuser.set(username="sti_test_owner", password=password)


@pytest.fixture(scope="session")
def speech_server() -> Iterator[SpeechServer]:
    """A PostgreSQL server with a migrated and seeded template database, once per run."""
    with running_server() as server:
        yield server


@pytest.fixture
def speech_database(speech_server: SpeechServer) -> Iterator[Database]:
    """A separate `Database` for each test, with users, seeds, and a storage in memory."""
    with speech_server.copy() as owner, speech_server.database(owner, storage=MemoryStorage()) as database:
        yield database
