"""The files of a cluster: created under a temporary name with `initdb` and renamed when complete."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
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


def initialise(
    folder: Path, account: Account, binaries: Path, major: int, *, log: int, lock: int, sync: bool, locale: str | None
) -> int:
    """Create `folder/data` with the output in `log`; return the exit code. Only one process may do this at a time.

    `locale` is the name of one of the C library or of ICU; without it, letters are folded and sorted by Unicode.

    `initdb` inherits `lock`: if this process is killed, the lock is held until `initdb` has exited too, so that no
    other process removes its files. Without `sync` the files may be incomplete after a power failure.
    """
    for abandoned in folder.glob("data.partial-*"):
        shutil.rmtree(abandoned)
    _ensure_password(folder, account)
    partial = Path(f"data.partial-{secrets.token_hex(4)}")
    code = account.run(
        [
            *(binaries / "initdb", "--pgdata", partial, "--username", SUPERUSER, "--pwfile=password"),
            *("--auth=scram-sha-256", "--encoding=UTF8", *_locale_options(major, locale), "--lc-messages=C"),
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


def _locale_options(major: int, locale: str | None) -> list[str]:
    of_library = _library_locales()
    # Of the C library, for text search before PostgreSQL 18: letters are folded by any locale for UTF-8.
    unicode = next((name for name in ("C.UTF-8", *of_library) if _plain(name) in map(_plain, of_library)), "C.UTF-8")
    if locale is None:
        # Case mapping of Unicode, and no indexes that an update of the C library would corrupt.
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
        return [f"--locale={unicode}", *builtin]
    if _plain(locale) in map(_plain, of_library):
        return [f"--locale={locale}"]
    return [f"--locale={unicode}", "--locale-provider=icu", f"--icu-locale={locale}"]


def _library_locales() -> list[str]:
    """Return the locales of the C library for UTF-8, Turkic ones excepted, which fold `I` to another letter."""
    try:
        listed = subprocess.run(
            ["locale", "-a"],  # noqa: S607 - where it is depends on the system
            capture_output=True, text=True, errors="replace", check=False, timeout=10,
        ).stdout  # fmt: skip
    except OSError:
        return []
    names = [name for name in listed.splitlines() if _plain(name).endswith("utf8")]
    return [name for name in names if not name.startswith(("tr_", "az_", "crh_", "tt_"))]


def _plain(name: str) -> str:
    return name.lower().replace("-", "")


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
