"""The files of a cluster: created under a temporary name with `initdb` and renamed when complete."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

from src.database.embedded.account import Account

SUPERUSER = "postgres"

# Written once to postgresql.conf of the cluster, where the operator may change them.
CONFIGURATION = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Errors quote rows and statements, and psycopg2 interpolates values into statements: keep them out of the log.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_checkpoints": "off",
    # ALTER ROLE … PASSWORD is a utility statement, and would be stored with the password.
    "pg_stat_statements.track_utility": "off",
}


def initialise(folder: Path, account: Account, binaries: Path, major: int, *, log: int, lock: int, sync: bool) -> int:
    """Create `folder/data` with the output in `log`; return the exit code. Only one process may do this at a time.

    `initdb` inherits `lock`: if this process is killed, the lock is held until `initdb` has exited too, so that no
    other process removes its files. Without `sync` the files may be incomplete after a power failure.
    """
    for abandoned in folder.glob("data.partial-*"):
        shutil.rmtree(abandoned)
    _ensure_password(folder, account)
    partial = Path(f"data.partial-{secrets.token_hex(4)}")
    # Case mapping of Unicode, and no indexes that an update of the C library would corrupt.
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
    code = account.run(
        [
            *(binaries / "initdb", "--pgdata", partial, "--username", SUPERUSER, "--pwfile=password"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--lc-messages=C", *builtin),
            *("--text-search-config=simple", "--data-checksums", "--no-instructions", *([] if sync else ["--no-sync"])),
        ],
        folder=folder,
        output=log,
        pass_fds=[lock],
    )
    if code == 0:
        with (folder / partial / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = '{value}'\n" for name, value in CONFIGURATION.items())
            configuration.flush()
            os.fsync(configuration.fileno())
        (folder / partial).rename(folder / "data")
        _sync_folder(folder)
    return code


def _ensure_password(folder: Path, account: Account) -> None:
    # Written before the cluster: after a crash in between, the next start uses the same password.
    path = folder / "password"
    if path.exists():
        return
    descriptor, partial = tempfile.mkstemp(prefix="password.", dir=folder)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32))
        if account.uid != os.geteuid():
            os.fchown(descriptor, account.uid, account.gid)
        file.flush()
        os.fsync(descriptor)
    Path(partial).rename(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
