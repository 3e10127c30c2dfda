"""Dump the database so that an ordinary owner of another database can restore it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.orm import Session

from src.database.embedded import find_binaries
from src.errors import ConfigurationError, InvalidInput, PackageMissing, Unavailable
from src.services.recordings.audit import log_as_owner

# Owners, grants and policies are those that init_db gives, and only an administrator of the server may create some
# extensions. With an extension chosen, pg_dump leaves out all others; plpgsql exists everywhere.
_PORTABLE = (
    "--format=custom", "--no-owner", "--no-acl", "--no-publications", "--no-subscriptions", "--no-tablespaces",
    "--no-security-labels", "--extension=plpgsql",
)  # fmt: skip


def dump_database(engine: Engine, file: Path) -> int:
    """Write the database to a new file (mode 0600) with pg_dump; return its size in bytes.

    One snapshot; nothing waits for it except changes of the schema. Raises InvalidInput for an existing file,
    ConfigurationError for a folder that cannot be written, PackageMissing without a pg_dump of the server's version,
    Unavailable with the message of pg_dump. An incomplete file is removed.
    """
    with engine.connect() as connection:
        program = _pg_dump(connection)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise InvalidInput(f"{file} exists already; choose another name.") from error
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written ({error.strerror}); choose another folder.") from error
    complete = False
    try:
        with os.fdopen(descriptor, "wb") as output:
            done = subprocess.run(
                [program, *_PORTABLE], env=_environment(engine.url), stdout=output, stderr=subprocess.PIPE, text=True,
                check=False,
            )  # fmt: skip
            os.fsync(output.fileno())
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise Unavailable(f"pg_dump failed: {lines[0].removeprefix('pg_dump: error: ')}. Nothing was written.")
        complete = True
    finally:
        if not complete:
            file.unlink()
    return file.stat().st_size


def log_dump(session: Session, size: int) -> None:
    """Log a dump, which contains everything, also what is marked as sensitive, in this transaction of the owner."""
    detail = {"name": "a dump of the database", "format": "pg_dump", "size_bytes": size}
    log_as_owner(session, "export.made", detail=detail)


def _pg_dump(connection: Connection) -> Path:
    """Return a pg_dump that can read this server: of its version, or the newer one on PATH."""
    major = connection.connection.dbapi_connection.server_version // 10_000  # type: ignore[union-attr] # psycopg2's
    try:
        program = find_binaries(major) / "pg_dump"
        if program.is_file():
            return program
    except PackageMissing:
        pass
    found = shutil.which("pg_dump")
    if found is None:
        raise PackageMissing(f"No pg_dump of PostgreSQL {major} was found. Install its client programs.")
    return Path(found)


def _environment(url: URL) -> dict[str, str]:
    """Return the environment with the connection, so that no password is an argument."""
    # Other parameters of the URL are those of libpq, and so are their variables.
    query = {f"PG{name.upper()}": str(value) for name, value in url.query.items() if name in _PARAMETERS}
    known = {"PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.username, "PGPASSWORD": url.password,
             "PGDATABASE": url.database}  # fmt: skip
    own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**own, **{name: str(value) for name, value in known.items() if value is not None}, **query}


_PARAMETERS = ("host", "port", "sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl")
