"""The embedded server: create, start, find and stop it."""

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
LARGEST_LOG = 10_000_000  # bytes: a larger log is renamed at the next start, replacing the log renamed before

# Errors on start that are temporary: another server is starting, or one is still shutting down.
TEMPORARY_ERROR = re.compile(r'lock file ".*" already exists|pre-existing shared memory block')
ERROR_LINE = re.compile(r"\b(?:FATAL|PANIC|ERROR|error):\s+(.+)")


class EmbeddedServer:
    """A PostgreSQL server in a folder, shared by all processes that use the same folder.

    It runs from `start` (or entering the `with` block) until `stop`, or the end of the block or of the process; the
    last process that uses it stops it. A killed process may leave it running: the next process finds it. It listens on
    a unix socket only and has one random password. Committed transactions survive a power failure, unless `settings`
    (server parameters for this start) change that; they have no effect if the server is already running.
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
        # An argument that identifies the server of this folder; it is also part of the titles of its processes.
        self._mark = f"cluster_name=speech-{digest(self.folder)}"
        self._socket_directory = self._choose_socket_directory()
        self._lock: int | None = None
        self._user = 0  # the pid of the process that took the lock, to detect forked children

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
        """The folder of the socket."""
        return self._socket_directory

    @property
    def password(self) -> str:
        """The password of the superuser. Raises ServerUnreachable before the first start."""
        try:
            return (self.folder / "password").read_text()
        except FileNotFoundError as error:
            raise ServerUnreachable(f"{self.folder} contains no password; start the embedded server first.") from error

    def url(self, database: str = "postgres") -> URL:
        """Return the URL of a database for the superuser; it contains the password, but its repr does not."""
        query = {"host": str(self.socket_directory), "port": str(self.port)}
        return URL.create("postgresql+psycopg2", self.superuser, self.password, database=database, query=query)

    def ensure_database(self, name: str) -> bool:
        """Create a missing database; return whether it was created. Safe for concurrent processes.

        Raises InvalidInput for an invalid name, ServerUnreachable when the server does not answer.
        """
        if not name or "\0" in name or len(name.encode()) > 63:
            raise InvalidInput(f"database name {name!r}: use 1 to 63 bytes without NUL.")
        engine = create_engine(self.url(), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        quoted = engine.dialect.identifier_preparer.quote_identifier(name)
        try:
            with engine.connect() as connection:
                exists = "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = %(name)s)"
                if connection.exec_driver_sql(exists, {"name": name}).scalar_one():
                    return False
                # template0 allows no connections; a connection to template1 would make the copy fail.
                connection.exec_driver_sql(f"CREATE DATABASE {quoted} TEMPLATE template0")
                return True
        except DBAPIError as error:
            # duplicate_database, or a violation of its unique index when two processes commit at the same time
            if getattr(error.orig, "pgcode", None) in ("42P04", "23505"):
                return False
            if isinstance(error, OperationalError):
                raise ServerUnreachable(f"The embedded server does not answer; see {self.log}.") from error
            raise

    def start(self) -> None:
        """Create the cluster if it does not exist, start the server if none runs, and wait for connections.

        Raises ConfigurationError for a folder or programs that cannot be used, PackageMissing without programs,
        ServerUnreachable, with the error in the log, when the server is not ready in time.
        """
        try:
            with ExitStack() as undo:
                if self._lock is None or self._user != os.getpid():
                    self._take_lock()
                    undo.callback(self._release_lock)
                if not self._ready():
                    with exclusive(self.folder / "start.lock") as lock:
                        self._start_server(lock)
                atexit.unregister(self.stop)
                atexit.register(self.stop)
                undo.pop_all()
        except OSError as error:
            raise ConfigurationError(
                f"The embedded server cannot use {self.folder} ({error.strerror}: {error.filename}). Set "
                "EMBEDDED_POSTGRES_DIR to a folder that you own, or POSTGRES_HOST to a running server, in .env."
            ) from error

    def stop(self) -> None:
        """Stop the server if no other process uses it; open transactions are rolled back.

        Does nothing when not started, and in a forked child. Raises ServerUnreachable after 60 s.
        """
        if self._lock is None or self._user != os.getpid():
            return
        atexit.unregister(self.stop)
        try:
            if try_exclusive(self._lock):
                found = postmaster.read_pid_file(self._data / "postmaster.pid")
                # SIGINT is PostgreSQL's fast shutdown; the server completes it even if this process is killed.
                if found and not postmaster.stop_process(found.pid, self._mark, signal.SIGINT, patience=PATIENCE):
                    raise ServerUnreachable(f"The embedded server (process {found.pid}) does not stop; see {self.log}.")
        finally:
            self._release_lock()

    def _take_lock(self) -> None:
        if self._lock is not None:
            # Inherited by a fork: close it without unlocking, since the parent still holds the lock.
            os.close(self._lock)
            self._lock = None
        make_folder(self.folder, self._account)
        self._lock, self._user = lock_shared(self.folder / "users.lock"), os.getpid()

    def _release_lock(self) -> None:
        if self._lock is not None:
            unlock(self._lock)
            self._lock = None

    def _choose_socket_directory(self) -> Path:
        # PostgreSQL and libpq interpret some characters in this path as separators of a list.
        plain = re.fullmatch(r"[\w./+-]+", str(self.folder), re.ASCII)
        if plain and len(os.fsencode(self.folder / postmaster.SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
            return self.folder
        return Path(tempfile.gettempdir()).resolve() / f"speech-{digest(self.folder)}"

    def _status(self) -> str | None:
        # The status in the pid file of the running server: starting, ready, stopping; None without a running server.
        found = postmaster.read_pid_file(self._data / "postmaster.pid")
        if found is None:
            return None
        # The process that started it may have another TMPDIR than this one.
        directory = found.socket_directory or self._socket_directory
        listens = postmaster.listens(directory)
        if not listens and not postmaster.has_argument(found.pid, self._mark):
            return None
        self._socket_directory = directory
        return found.status if listens else "starting"

    def _ready(self) -> bool:
        return self._status() == "ready"

    def _start_server(self, lock: int) -> None:
        deadline = time.monotonic() + PATIENCE
        with self._open_log() as log:
            log_start = os.fstat(log).st_size
            binaries: Path | None = None
            while (status := self._status()) != "ready":
                if status is None:
                    binaries = binaries or self._prepare(log, lock)
                    log_start = os.fstat(log).st_size
                    if not self._launch(binaries, log) and not TEMPORARY_ERROR.search(self._log_since(log_start)):
                        raise ServerUnreachable(self._error_message("does not start", log_start))
                if time.monotonic() > deadline:
                    raise ServerUnreachable(self._error_message(f"is not ready after {PATIENCE:.0f} s", log_start))
                time.sleep(0.02)

    def _prepare(self, log: int, lock: int) -> Path:
        # Returns programs that the account of the server can run, after creating a missing cluster with them.
        if not self._account.can_write(self.folder):
            raise ConfigurationError(
                f"The user {self._account.name} of the embedded server cannot write to {self.folder}: "
                "use a folder that does not exist yet, below folders that this user may enter."
            )
        version = self._data / "PG_VERSION"
        cluster_major = int(version.read_text()) if version.exists() else None
        binaries = self._binaries or find_binaries(cluster_major)
        major = major_version(binaries)
        if cluster_major not in (None, major):
            raise ConfigurationError(
                f"{self._data} was created by PostgreSQL {cluster_major}, but {binaries} is PostgreSQL {major}: "
                f"install PostgreSQL {cluster_major}, or move the folder away and restore a backup."
            )
        if not self._account.can_run(*(binaries / program for program in PROGRAMS)):
            binaries = copy_installation(binaries, self.folder)
            if not self._account.can_run(*(binaries / program for program in PROGRAMS)):
                raise ConfigurationError(
                    f"The user {self._account.name} of the embedded server cannot run the programs of PostgreSQL, nor "
                    f"their copy {binaries}: install the PostgreSQL server package of your system."
                )
        if cluster_major is None:
            # A server whose data was deleted runs for up to a minute, and would remove the new socket when it stops.
            for pid in postmaster.processes_with(self._mark):
                postmaster.stop_process(pid, self._mark, signal.SIGQUIT, patience=PATIENCE)
            log_start = os.fstat(log).st_size
            sync = self._settings.get("fsync") != "off"
            if initialise(self.folder, self._account, binaries, major, log=log, lock=lock, sync=sync) != 0:
                raise ServerUnreachable(self._error_message("cannot be created", log_start))
        return binaries

    def _launch(self, binaries: Path, log: int) -> bool:
        for stale in (self._data / "postmaster.pid", self._socket_directory / f"{postmaster.SOCKET_NAME}.lock"):
            found = postmaster.read_pid_file(stale)
            if found and postmaster.belongs_to_another(found.pid, self._mark):
                # After a crash PostgreSQL would refuse to start if the pid is in use again, which is common in
                # containers. It still detects an old server that uses the data by its shared memory.
                stale.unlink()
        if self._socket_directory != self.folder:
            make_folder(self._socket_directory, self._account)
            refuse_strangers(self._socket_directory, self._account)
        # pg_stat_statements must be preloaded; the server does not start with a missing library.
        has_statements = (binaries.parent / "lib" / "pg_stat_statements.so").exists()
        parameters = {
            "shared_preload_libraries": "pg_stat_statements" if has_statements else "",
            "listen_addresses": "",
            "port": str(self.port),
            "unix_socket_directories": str(self._socket_directory),
            "unix_socket_permissions": "0700",
            **self._settings,
        }
        options = [part for name, value in parameters.items() for part in ("-c", f"{name}={value}")]
        options += ["-c", self._mark]
        # pg_ctl passes the data folder to a shell without quoting it, so a relative path is used.
        command = ["start", "--pgdata=data", "--silent", "--wait", f"--timeout={PATIENCE:.0f}"]
        command += ["-o", shlex.join(options)]
        return self._account.run([binaries / "pg_ctl", *command], folder=self.folder, output=log) == 0

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

    def _error_message(self, problem: str, start: int) -> str:
        lines = [line.strip() for line in self._log_since(start).splitlines() if line.strip()]
        reported = [match[1] for match in map(ERROR_LINE.search, lines) if match]
        reason = (reported or lines or ["no message in the log"])[-1].rstrip(".")
        return f"The embedded server {problem}: {reason}. For details see {self.log}."
