"""The embedded server: create, start, find and stop it."""

from __future__ import annotations

import atexit
import os
import re
import shlex
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from src.database.embedded import postmaster
from src.database.embedded.account import (
    PATIENCE,
    digest,
    make_folder,
    refuse_strangers,
    require_name,
    require_usable_path,
    server_account,
)
from src.database.embedded.cluster import SUPERUSER, initialise
from src.database.embedded.locks import exclusive, is_alone, lock_data, lock_shared, try_exclusive, unlock
from src.database.embedded.programs import PROGRAMS, copy_installation, find_binaries, major_version
from src.database.embedded.server_log import error_message, open_log, read_since
from src.database.embedded.socket_path import socket_directory
from src.errors import ConfigurationError, InvalidInput, ServerUnreachable

ELSEWHERE_PATIENCE = 15.0  # seconds for a server to exit that this process cannot see
HELD_ELSEWHERE = (
    "The data in {folder} is open in a server that this process cannot reach, probably in another container. End it"
    " there, or use a path of at most 90 plain characters, so that its socket lies beside the data."
)

# Errors on start that are temporary: another server is starting, or one is still shutting down.
TEMPORARY_ERROR = re.compile(r'lock file ".*" already exists|pre-existing shared memory block')


class EmbeddedServer:
    """A PostgreSQL server in a folder, shared by all processes that use the same folder.

    It runs from `start` (or entering the `with` block) until `stop`, or the end of the block or of the process; the
    last process that uses it stops it. A killed process may leave it running: the next process finds it. It listens on
    a unix socket only and has one random password. Committed transactions survive a power failure, unless `settings`
    (server parameters for this start) change that; they have no effect if the server is already running. `locale` is
    that of a new cluster: one of the C library, or of ICU if the programs support it.
    """

    superuser = SUPERUSER
    port = postmaster.PORT

    def __init__(
        self,
        folder: Path,
        *,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        locale: str | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "server.log"
        self._binaries = binaries
        self._locale = locale
        self._settings = dict(settings or {})
        self._data = self.folder / "data"
        self._account = server_account(self.folder)
        # An argument that identifies the server of this folder; it is also part of the titles of its processes.
        self._mark = f"cluster_name=speech-{digest(self.folder)}"
        self._socket_directory = socket_directory(self.folder)
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
        require_usable_path(self.folder)
        make_folder(self.folder, self._account)
        self._lock, self._user = lock_shared(self.folder / "users.lock"), os.getpid()

    def _release_lock(self) -> None:
        if self._lock is not None:
            unlock(self._lock)
            self._lock = None

    def _status(self) -> str | None:
        # The status in the pid file of the running server: starting, ready, stopping; None without a running server.
        found = postmaster.read_pid_file(self._data / "postmaster.pid")
        if found is None:
            return None
        # The process that started it may have another TMPDIR than this one, or see the folder by another path.
        directories = [each for each in (found.socket_directory, socket_directory(self.folder)) if each is not None]
        listening = next(filter(postmaster.listens, directories), None)
        if listening is None:
            if not postmaster.has_argument(found.pid, self._mark):
                return None
            return "unreachable" if found.status == "ready" else "starting"
        self._socket_directory = listening
        return found.status

    def _ready(self) -> bool:
        return self._status() == "ready"

    def _start_server(self, lock: int) -> None:
        deadline = time.monotonic() + PATIENCE
        with open_log(self.log, rotate=self._status() is None) as log:
            log_start = os.fstat(log).st_size
            binaries: Path | None = None
            elsewhere: float | None = None  # since when another server holds the data and cannot be reached
            while (status := self._status()) != "ready":
                if status == "unreachable":
                    self._stop_unreachable()
                elif status is None:
                    binaries = binaries or self._prepare(log, lock)
                    log_start = os.fstat(log).st_size
                    started = self._launch(binaries, log)
                    if started is False and not TEMPORARY_ERROR.search(read_since(self.log, log_start)):
                        raise ServerUnreachable(error_message(self.log, "does not start", log_start))
                    elsewhere = None if started is not None else elsewhere or time.monotonic()
                if elsewhere is not None and time.monotonic() > elsewhere + ELSEWHERE_PATIENCE:
                    raise ServerUnreachable(HELD_ELSEWHERE.format(folder=self.folder))
                if time.monotonic() > deadline:
                    raise ServerUnreachable(error_message(self.log, f"is not ready after {PATIENCE:.0f} s", log_start))
                time.sleep(0.02)

    def _stop_unreachable(self) -> None:
        """Stop a running server whose socket was removed, so that it can be started again with a new one."""
        found = postmaster.read_pid_file(self._data / "postmaster.pid")
        if self._status() != "unreachable" or found is None:
            return
        if self._lock is None or not is_alone(self._lock):
            raise ServerUnreachable(
                f"The socket of the embedded server in {self.folder} was removed while other processes use the server:"
                " end them (the last one stops it), then start again."
            )
        if not postmaster.stop_process(found.pid, self._mark, signal.SIGINT, patience=PATIENCE):
            raise ServerUnreachable(f"The embedded server (process {found.pid}) does not stop; see {self.log}.")

    def _prepare(self, log: int, lock: int) -> Path:
        # Returns programs that the account of the server can run, after creating a missing cluster with them.
        if not self._account.can_write(self.folder):
            raise ConfigurationError(
                f"The user {self._account.name} of the embedded server cannot write to {self.folder}: "
                "use a folder that does not exist yet, below folders that this user may enter."
            )
        version = self._data / "PG_VERSION"
        created_by = version.read_text(errors="replace").strip() if version.exists() else None
        if created_by is not None and not created_by.isdecimal():
            raise ConfigurationError(f"{version} does not contain a version; restore {self._data} from a backup.")
        cluster_major = None if created_by is None else int(created_by)
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
            require_name(self._account)
            sync = self._settings.get("fsync") != "off"
            code = initialise(
                self.folder, self._account, binaries, major, log=log, lock=lock, sync=sync, locale=self._locale
            )
            if code != 0:
                raise ServerUnreachable(error_message(self.log, "cannot be created", log_start))
        return binaries

    def _launch(self, binaries: Path, log: int) -> bool | None:
        """Start the server; return whether it is running, and None when another one holds the data."""
        held = lock_data(self._data)
        if held is None:
            return None
        try:
            return self._launch_holding(held, binaries, log)
        finally:
            # Not unlocked: the server has inherited the lock.
            os.close(held)

    def _launch_holding(self, held: int, binaries: Path, log: int) -> bool:
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
        code = self._account.run([binaries / "pg_ctl", *command], folder=self.folder, output=log, pass_fds=[held])
        return code == 0
