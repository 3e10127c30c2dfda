"""The server itself: made, started, found, stopped."""

from __future__ import annotations

import atexit
import os
import re
import shlex
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from src.database.embedded import postmaster
from src.database.embedded.account import PATIENCE, digest, make_folder, refuse_strangers, server_account
from src.database.embedded.cluster import SUPERUSER, initialise
from src.database.embedded.locks import exclusive, lock_shared, try_exclusive, unlock
from src.database.embedded.programs import PROGRAMS, copy_installation, find_binaries, major_version
from src.errors import ConfigurationError, InvalidInput, ServerUnreachable

LONGEST_SOCKET_PATH = 107  # bytes: sun_path of Linux without its NUL
LARGEST_LOG = 10_000_000  # bytes: a longer one is set aside at the next start, and the one set aside before is lost

# Complaints of a starting server that time cures: another one is just starting, or one has not quite ended.
PASSING = re.compile(r'lock file ".*" already exists|pre-existing shared memory block')
TELLING = re.compile(r"\b(?:FATAL|PANIC|ERROR|error):\s+(.+)")


class EmbeddedServer:
    """A PostgreSQL server in a folder, shared by all processes that name the same folder.

    It runs from `start` (or entering the `with` block) until `stop`, the end of the block or of the process; the last
    process that stops using it stops it. A killed process may leave it running: the next one finds it. It serves a unix
    socket only and knows one random password. What was committed survives a power failure, unless `settings`, server
    parameters for this start, say otherwise; they do nothing when the server runs already.
    """

    superuser = SUPERUSER
    port = postmaster.PORT

    def __init__(
        self, folder: Path, *, binaries: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "server.log"
        self._binaries = binaries
        self._settings = dict(settings or {})
        self._data = self.folder / "data"
        self._account = server_account(self.folder)
        # An argument of the server that no other folder's has; it also shows in the titles of its processes.
        self._mark = f"cluster_name=speech-{digest(self.folder)}"
        self._socket_directory = self._choose_socket_directory()
        self._lock: int | None = None
        self._user = 0  # the process that took the lock: not the children it forks

    def __repr__(self) -> str:
        return f"EmbeddedServer({str(self.folder)!r})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def socket_directory(self) -> Path:
        """The folder that holds the server's socket."""
        return self._socket_directory

    @property
    def password(self) -> str:
        """The superuser's password; ServerUnreachable before the first start."""
        try:
            return (self.folder / "password").read_text()
        except FileNotFoundError as error:
            raise ServerUnreachable(
                f"There is no password in {self.folder}: start the embedded server first."
            ) from error

    def url(self, database: str = "postgres") -> URL:
        """The address of a database for the superuser; it carries the password and hides it in its repr."""
        query = {"host": str(self.socket_directory), "port": str(self.port)}
        return URL.create("postgresql+psycopg2", self.superuser, self.password, database=database, query=query)

    def ensure_database(self, name: str) -> bool:
        """Creates the database when it is missing and says whether it did; two processes may ask at once.

        Raises InvalidInput for a name that PostgreSQL would not keep, ServerUnreachable when there is no answer.
        """
        if not name or "\0" in name or len(name.encode()) > 63:
            raise InvalidInput(f"A database cannot be named {name!r}: use 1 to 63 bytes.")
        engine = create_engine(self.url(), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        quoted = engine.dialect.identifier_preparer.quote_identifier(name)
        try:
            with engine.connect() as connection:
                exists = "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = %(name)s)"
                if connection.exec_driver_sql(exists, {"name": name}).scalar_one():
                    return False
                # Nobody can be connected to template0; a connection to template1 would refuse the copy.
                connection.exec_driver_sql(f"CREATE DATABASE {quoted} TEMPLATE template0")
                return True
        except DBAPIError as error:
            # duplicate_database, or its unique index when the other process commits in the same moment
            if getattr(error.orig, "pgcode", None) in ("42P04", "23505"):
                return False
            if isinstance(error, OperationalError):
                raise ServerUnreachable(f"The embedded server does not answer: see {self.log}.") from error
            raise

    def start(self) -> None:
        """Makes the cluster when there is none, starts the server when none runs, returns when it accepts connections.

        Raises ConfigurationError for a folder or programs that cannot be used, PackageMissing without programs,
        ServerUnreachable, with what the log says, when the server does not come up in time.
        """
        try:
            with ExitStack() as undo:
                if self._lock is None or self._user != os.getpid():
                    self._take_lock()
                    undo.callback(self._give_up)
                if not self._ready():
                    with exclusive(self.folder / "start.lock") as lock:
                        self._bring_up(lock)
                atexit.unregister(self.stop)
                atexit.register(self.stop)
                undo.pop_all()
        except OSError as error:
            raise ConfigurationError(
                f"The embedded server cannot use {self.folder} ({error.strerror}: {error.filename}): "
                "name a folder that is yours, or a running server with POSTGRES_HOST in .env."
            ) from error

    def stop(self) -> None:
        """Stops using the server, and stops it when nobody else uses it: transactions still open are rolled back.

        Does nothing when not started, and in a forked child. Raises ServerUnreachable when it has not ended after 60 s.
        """
        if self._lock is None or self._user != os.getpid():
            return
        atexit.unregister(self.stop)
        try:
            if try_exclusive(self._lock):
                found = postmaster.read_pid_file(self._data / "postmaster.pid")
                # SIGINT is PostgreSQL's fast shutdown; the server completes it even when we are killed meanwhile.
                if found and not postmaster.stop_process(found.pid, self._mark, signal.SIGINT, patience=PATIENCE):
                    raise ServerUnreachable(f"The embedded server (process {found.pid}) does not end: see {self.log}.")
        finally:
            self._give_up()

    def _take_lock(self) -> None:
        if self._lock is not None:
            # Inherited by a fork. Closed, not unlocked: the lock is still the parent's.
            os.close(self._lock)
            self._lock = None
        make_folder(self.folder, self._account)
        self._lock, self._user = lock_shared(self.folder / "users.lock"), os.getpid()

    def _give_up(self) -> None:
        if self._lock is not None:
            unlock(self._lock)
            self._lock = None

    def _choose_socket_directory(self) -> Path:
        # PostgreSQL and libpq read some characters of this path as a list of several.
        plain = re.fullmatch(r"[\w./+-]+", str(self.folder), re.ASCII)
        if plain and len(os.fsencode(self.folder / postmaster.SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
            return self.folder
        return Path(tempfile.gettempdir()).resolve() / f"speech-{digest(self.folder)}"

    def _status(self) -> str | None:
        # What the running server says of itself: starting, ready, stopping; None when none runs.
        found = postmaster.read_pid_file(self._data / "postmaster.pid")
        if found is None:
            return None
        # The process that started it may have another TMPDIR than ours.
        directory = found.socket_directory or self._socket_directory
        listens = postmaster.listens(directory)
        if not listens and not postmaster.has_argument(found.pid, self._mark):
            return None
        self._socket_directory = directory
        return found.status if listens else "starting"

    def _ready(self) -> bool:
        return self._status() == "ready"

    def _bring_up(self, lock: int) -> None:
        deadline = time.monotonic() + PATIENCE
        with self._open_log() as log:
            said = os.fstat(log).st_size
            binaries: Path | None = None
            while (status := self._status()) != "ready":
                if status is None:
                    binaries = binaries or self._prepare(log, lock)
                    said = os.fstat(log).st_size
                    if not self._launch(binaries, log) and not PASSING.search(self._log_since(said)):
                        raise ServerUnreachable(self._complaint("does not start", said))
                if time.monotonic() > deadline:
                    raise ServerUnreachable(self._complaint(f"is not ready after {PATIENCE:.0f} s", said))
                time.sleep(0.02)

    def _prepare(self, log: int, lock: int) -> Path:
        # The programs that the server's account can run, and a cluster that they can serve.
        if not self._account.can_write(self.folder):
            raise ConfigurationError(
                f"The embedded server's user {self._account.name} cannot write {self.folder}: "
                "name a folder that does not exist yet, below folders that this user may enter."
            )
        version = self._data / "PG_VERSION"
        made_by = int(version.read_text()) if version.exists() else None
        binaries = self._binaries or find_binaries(made_by)
        major = major_version(binaries)
        if made_by not in (None, major):
            raise ConfigurationError(
                f"{self._data} was made by PostgreSQL {made_by} and {binaries} is PostgreSQL {major}: "
                f"install PostgreSQL {made_by}, or move the folder away and restore a backup."
            )
        if not self._account.can_run(*(binaries / program for program in PROGRAMS)):
            binaries = copy_installation(binaries, self.folder)
            if not self._account.can_run(*(binaries / program for program in PROGRAMS)):
                raise ConfigurationError(
                    f"The embedded server's user {self._account.name} cannot run PostgreSQL's programs, not even their "
                    f"copy {binaries}: install your system's PostgreSQL server package."
                )
        if made_by is None:
            # A server whose data somebody deleted runs on for up to a minute, and its end would remove our socket.
            for pid in postmaster.processes_with(self._mark):
                postmaster.stop_process(pid, self._mark, signal.SIGQUIT, patience=PATIENCE)
            said = os.fstat(log).st_size
            sync = self._settings.get("fsync") != "off"
            if initialise(self.folder, self._account, binaries, major, log=log, lock=lock, sync=sync) != 0:
                raise ServerUnreachable(self._complaint("cannot be made", said))
        return binaries

    def _launch(self, binaries: Path, log: int) -> bool:
        for left in (self._data / "postmaster.pid", self._socket_directory / f"{postmaster.SOCKET_NAME}.lock"):
            found = postmaster.read_pid_file(left)
            if found and postmaster.belongs_to_another(found.pid, self._mark):
                # After a crash, and common in containers, which give the same low numbers again: PostgreSQL would
                # refuse. Whether an old server still uses the data, shared memory tells it as well.
                left.unlink()
        if self._socket_directory != self.folder:
            make_folder(self._socket_directory, self._account)
            refuse_strangers(self._socket_directory, self._account)
        # It counts only when loaded from the start; the server does not start with a library that is not there.
        counted = (binaries.parent / "lib" / "pg_stat_statements.so").exists()
        parameters = {
            "shared_preload_libraries": "pg_stat_statements" if counted else "",
            "listen_addresses": "",
            "port": str(self.port),
            "unix_socket_directories": str(self._socket_directory),
            "unix_socket_permissions": "0700",
            **self._settings,
        }
        options = [part for name, value in parameters.items() for part in ("-c", f"{name}={value}")]
        options += ["-c", self._mark]
        # pg_ctl hands the data folder to a shell without quoting it, so it is named from within its parent.
        how = ["start", "--pgdata=data", "--silent", "--wait", f"--timeout={PATIENCE:.0f}", "-o", shlex.join(options)]
        return self._account.run([binaries / "pg_ctl", *how], folder=self.folder, output=log) == 0

    @contextmanager
    def _open_log(self) -> Iterator[int]:
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG and self._status() is None:
            self.log.rename(self.log.with_suffix(".log.1"))
        log = os.open(self.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            yield log
        finally:
            os.close(log)

    def _log_since(self, start: int) -> str:
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _complaint(self, what: str, start: int) -> str:
        lines = [line.strip() for line in self._log_since(start).splitlines() if line.strip()]
        telling = [match[1] for match in map(TELLING.search, lines) if match]
        reason = (telling or lines or ["it said nothing"])[-1].rstrip(".")
        return f"The embedded server {what}: {reason}. The whole story is in {self.log}."
