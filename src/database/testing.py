"""A ready database and storage for the tests of pipeline authors, in one pytest fixture; our own suite uses it too.

In the `conftest.py` of a service that imports this layer:

    from src.database.testing import speech_database, speech_server

    def test_my_service(speech_database):
        with speech_database.session(actor="alice") as session:
            ...

Each test gets a database of its own, copied from a template that is built once per run, with the users `root` (an
administrator), `alice`, `bob` and `transcriber` (a service), and a storage in memory. The server is an embedded one, or
that of `TEST_DATABASE_URL` (several, separated by spaces: one for each worker of pytest-xdist), whose login must be
allowed to create databases and roles. This module is the one place beside the recordings service that knows storage and
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
from src.database.provisioning.logins import provide_login
from src.database.provisioning.migrate import upgrade
from src.database.provisioning.seeding import apply_seeds
from src.database.schema import SESSION_ROLES
from src.storage import MemoryStorage

USERS = {"root": "admin", "alice": "user", "bob": "user", "transcriber": "service"}
# A crash of the test server loses nothing that anybody wants back, so durability would only cost time here.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
LEAST_ROOM = 4 << 30


class SpeechServer:
    """A PostgreSQL server with a finished template database, of which `copy` makes databases."""

    def __init__(self, maintenance: URL, owner: URL, folder: Path) -> None:
        self.maintenance = maintenance
        self.owner = owner
        self._folder = folder
        self._prefix = f"sti_test_{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self._maker: Engine | None = None
        self._strategy = ""
        self._given_back: str | None = None
        self.template = f"{self._prefix}_template"
        self.keys: KeyFile

    def build_template(self) -> None:
        """Migrate, seed and equip the template."""
        self._strategy = self._cheapest_strategy()
        self.create(self.template)
        url = self.owner.set(database=self.template)
        upgrade(url)
        with self._engine(url) as engine, engine.begin() as connection:
            create_extensions(connection, "")
            apply_seeds(connection)
            login = f"{self._prefix}_app"
            self.keys = provide_login(connection, self._folder / "keys.json", login=login)
            for name, role in USERS.items():
                role_id = select(UserRole.id).where(UserRole.code == role).scalar_subquery()
                connection.execute(insert(User).values(username=name, role_id=role_id))

    def create(self, name: str, template: str = "template0") -> None:
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}{self._strategy}")

    def drop(self, name: str) -> None:
        try:
            # Without FORCE, which an owner who is no superuser is refused whenever autovacuum happens to be inside.
            self._run(f"DROP DATABASE IF EXISTS {name}")
        except OperationalError:
            self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # somebody left a connection open

    def _cheapest_strategy(self) -> str:
        """Return how a template is copied: file by file where nothing is synced, else as the server has it.

        Copying files spares the log and the buffers a whole database, but asks for two checkpoints, which are dear on a
        server that waits for its disk.
        """
        with self._engine(self.owner.set(database=self.maintenance.database)) as engine, engine.connect() as connection:
            synced = connection.exec_driver_sql("SHOW fsync").scalar_one() == "on"
        return "" if synced else " STRATEGY FILE_COPY"

    def _give_back(self, name: str) -> None:
        """Drop the database that was given back before this one.

        The backends of this one may still be ending, and a drop that meets one looks again only after 100 ms.
        """
        before, self._given_back = self._given_back, name
        if before is not None:
            self.drop(before)

    @contextmanager
    def empty(self) -> Iterator[URL]:
        """Lend a database without any schema; yields the URL of its owner."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self.create(name)
        try:
            yield self.owner.set(database=name)
        finally:
            self._give_back(name)

    @contextmanager
    def copy(self) -> Iterator[URL]:
        """Lend a copy of the template; yields the URL of its owner."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self.create(name, self.template)
        try:
            yield self.owner.set(database=name)
        finally:
            self._give_back(name)

    def serving_url(self, owner: URL) -> URL:
        """Return the URL by which sessions are served in the database of `owner`."""
        return owner.set(username=self.keys.login, password=self.keys.password)

    @property
    def signing_key(self) -> SigningKey:
        return self.keys.signing_key

    def close(self) -> None:
        """Remove what this run put on the server: its databases and its login."""
        if self._given_back is not None:
            self.drop(self._given_back)
        self.drop(self.template)
        if self._maker is not None:
            self._maker.dispose()
        with self._engine(self.owner.set(database=self.maintenance.database)) as engine, engine.begin() as connection:
            # Runs that end together on one server take turns: a role is dropped once.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7311860221)")
            connection.exec_driver_sql(f"DROP ROLE IF EXISTS {self._prefix}_app")
            for role in SESSION_ROLES:
                # Kept when another database of the server uses it.
                connection.exec_driver_sql(
                    f"DO $$ BEGIN DROP ROLE IF EXISTS {role}; EXCEPTION WHEN dependent_objects_still_exist"
                    " OR insufficient_privilege THEN NULL; END $$"
                )

    def _run(self, statement: str) -> None:
        if self._maker is None:
            # Kept: to sign in anew for each database takes half as long as copying it.
            url = self.owner.set(database=self.maintenance.database)
            self._maker = make_engine(url, PoolOptions(size=1, application_name="testing"))
        connection = self._maker.connect().execution_options(isolation_level="AUTOCOMMIT")
        with connection:
            connection.exec_driver_sql(statement)

    @contextmanager
    def _engine(self, url: URL) -> Iterator[Engine]:
        engine = make_engine(url, PoolOptions(size=1, application_name="testing"))
        try:
            yield engine
        finally:
            engine.dispose()


@contextmanager
def running_server(room: int = LEAST_ROOM) -> Iterator[SpeechServer]:
    """Yield a server with its template built: that of TEST_DATABASE_URL, or an embedded one for this run.

    An embedded one lies in memory where `room` bytes are free there.
    """
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="sti-test-", dir=roomy_memory(room)))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        named = named_server()
        if named:
            owner = maintenance = normalise_url(named)
        else:
            # As root the server runs under another account, which has to reach the folder.
            folder.chmod(0o711)
            embedded = stack.enter_context(EmbeddedServer(folder / "postgres", settings=FAST))
            maintenance = embedded.url("postgres")
            owner = ordinary_owner(maintenance)
        server = SpeechServer(maintenance, owner, folder)
        server.build_template()
        stack.callback(server.close)
        yield server


def roomy_memory(room: int = LEAST_ROOM) -> str | None:
    """Return a folder in memory with `room` bytes for a test server, None where there is none.

    A test costs a copy of the template, some 300 files: a disk takes 100 to 400 ms for it, memory 15.
    """
    memory = "/dev/shm"  # noqa: S108 - mkdtemp makes a folder of its own in it
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= room
    return memory if roomy else None


def named_server() -> str | None:
    """Return the URL in TEST_DATABASE_URL; of several, separated by spaces, that of this worker of pytest-xdist."""
    named = os.environ.get("TEST_DATABASE_URL", "").split()
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return named[int(worker) % len(named)] if named else None


def has_server_alone() -> bool:
    """Tell whether no other worker of pytest-xdist uses this one's server.

    Sealing waits for every transaction of a server, whatever its database: tests of it need a server to themselves.
    """
    named = os.environ.get("TEST_DATABASE_URL", "").split()
    return not named or len(named) >= int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def ordinary_owner(superuser: URL) -> URL:
    """Make an owner who is no superuser, as on most servers: what only a superuser may do must fail in a test."""
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
    """A PostgreSQL server with a migrated and seeded template database, for the whole run."""
    with running_server() as server:
        yield server


@pytest.fixture
def speech_database(speech_server: SpeechServer) -> Iterator[Database]:
    """A `Database` of its own for one test, with users, seeds, and a storage in memory."""
    with speech_server.copy() as owner:
        url = speech_server.serving_url(owner)
        with Database(url, signing_key=speech_server.signing_key, storage=MemoryStorage()) as database:
            yield database
