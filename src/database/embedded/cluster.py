"""The files of a cluster: made aside with `initdb` and renamed when complete, so a half-made one is never used."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

from src.database.embedded.account import Account

SUPERUSER = "postgres"

# Written once into the cluster's postgresql.conf, where the operator may change them.
CONFIGURATION = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Errors quote rows and statements, and psycopg2 writes the values into the statement: none of it reaches the log.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_checkpoints": "off",
    # ALTER ROLE … PASSWORD is such a statement, and it would be kept with the password in it.
    "pg_stat_statements.track_utility": "off",
}


def initialise(folder: Path, account: Account, binaries: Path, major: int, *, log: int, lock: int, sync: bool) -> int:
    """Exit code of making `folder/data`, with what was said about it in `log`; only one process may do it at a time.

    `initdb` inherits `lock`: when this process is killed, the lock stays taken until `initdb` has ended too, and nobody
    clears away what it still writes. Without `sync` the files may be incomplete after a power failure.
    """
    for abandoned in folder.glob("data.partial-*"):
        shutil.rmtree(abandoned)
    _ensure_password(folder, account)
    partial = Path(f"data.partial-{secrets.token_hex(4)}")
    # Upper and lower case as Unicode has them, and no index that an update of the C library breaks.
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
    # It comes before the cluster that knows it: killed in between, the next start uses the same one.
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
