"""Shared fixtures and helpers: pictures of databases, programs as processes, a database with rows."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine, func, insert, text

from src.database import ActivityArchive, ActivitySeal, Base, Database, TranscriptionSource
from src.database.connection.engine import PoolOptions, make_engine
from src.database.embedded import EmbeddedServer, find_binaries
from src.database.models import DatabaseIdentity, LoginThrottle, ProtectedTable
from src.database.schema import SESSION_ROLES
from src.database.testing import FAST, SpeechServer, ordinary_owner
from src.errors import PackageMissing
from src.services import analyses, cases, transcripts, work
from src.services.transcripts import Segment
from tests.declared import any_row
from tests.migrations import catalog

ROOT = Path(__file__).resolve().parents[2]


def alembic_config(url: URL | None = None, **options) -> Config:
    """Return the configuration of the project for `url`, without logging."""
    config = Config(os.fspath(ROOT / "alembic.ini"), stdout=io.StringIO(), **options)
    config.attributes["configure_logging"] = False
    if url is not None:
        config.attributes["url"] = url
    return config


def revisions() -> list[str]:
    """Every revision, oldest first."""
    return [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()][::-1]


@contextmanager
def engine_of(url: URL, name: str = "tests") -> Iterator[Engine]:
    engine = make_engine(url, PoolOptions(size=1, application_name=name))
    try:
        yield engine
    finally:
        engine.dispose()


def picture_of(url: URL) -> catalog.Picture:
    with engine_of(url) as engine, engine.connect() as connection:
        return catalog.read(connection)


def roles_of(url: URL) -> set[str]:
    """Return the group roles that exist on the server of `url`."""
    with engine_of(url) as engine, engine.connect() as connection:
        query = text("SELECT rolname FROM pg_roles WHERE rolname = ANY (:names)")
        return set(connection.scalars(query, {"names": list(SESSION_ROLES)}))


def server_major(url: URL) -> int:
    with engine_of(url) as engine, engine.connect() as connection:
        return int(connection.scalar(text("SHOW server_version_num"))) // 10_000


def programs_for(url: URL) -> Path:
    """Return the folder of pg_dump and psql of the server's major version; skip the test without them."""
    major = server_major(url)
    try:
        binaries = find_binaries(major)
    except PackageMissing:
        pytest.skip(f"the programs of PostgreSQL {major}, the version of the server, are not installed")
    for program in ("pg_dump", "pg_restore", "psql"):
        if not (binaries / program).is_file():
            pytest.skip(f"{binaries} does not contain {program}")
    return binaries


def outside(url: URL, **variables: str) -> dict[str, str]:
    """Return the environment of a program whose only settings are those of the database of `url`."""
    own = ("POSTGRES_", "DATABASE_URL", "KEY_FILE", "EMBEDDED_", "AUDIO_STORAGE_", "ADMIN_PASSWORD", "BCRYPT_", "PG")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {
        **environment,
        "PYTHONPATH": os.fspath(ROOT),
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "PGHOST": str(url.host or url.query.get("host", "")),
        "PGPORT": str(url.port or url.query.get("port", 5432)),
        "PGUSER": str(url.username),
        "PGPASSWORD": str(url.password),
        "PGDATABASE": str(url.database),
        **variables,
    }


def start(*command: str | Path, environment: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, env=environment, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def start_alembic(url: URL, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "alembic", "-c", os.fspath(ROOT / "alembic.ini"), *arguments]
    return start(*command, environment=outside(url), folder=folder)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a program, which must exit with 0; return its output."""
    try:
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return output


@pytest.fixture
def server_of_our_own(speech_server: SpeechServer) -> Iterator[URL]:
    """An owner without superuser on a second server of the same version, where no database uses the group roles."""
    binaries = programs_for(speech_server.maintenance)
    folder = Path(tempfile.mkdtemp(prefix="sti-roles-"))
    # As root, the server runs as another account, which needs access to the folder.
    folder.chmod(0o711)
    try:
        with EmbeddedServer(folder / "postgres", binaries=binaries, settings=FAST) as server:
            yield ordinary_owner(server.url("postgres"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def filled_url(db: Database, owner_url: URL, owner: Engine, make_audio: Callable) -> URL:
    """The URL of the owner, for a migrated database with at least one row in every table."""
    with db.session(actor="alice", reason="to have something to lose") as session:
        case = cases.open_case(session, title="Hafen Ω 漢字", description="50 % done \\ 'quoted'")
        cases.add_participant(session, case, "bob")
        cases.add_note(session, case, "line\nline\ttab")
        cases.place_hold(session, case, reason="court order 12")
        audio = make_audio(session, case)
        spoken = [Segment("your country", 0, 900, words=[], flags=["no_speech"]), Segment("100 %", speaker="S1")]
        transcription = transcripts.add(session, audio, spoken, language="en")
        analyses.add(session, audio, summary="about a country", sentiment="neutral", transcription=transcription)
        session.execute(
            insert(TranscriptionSource).values(
                case_id=case.id,
                transcription_id=transcription.id,
                dialect="whisper",
                sha256="0" * 64,
                content=bytes(range(256)),
            )
        )
        work.enqueue(session, audio, "transcribe", payload={"model": "small"})
    with owner.begin() as connection:
        connection.execute(
            insert(ActivityArchive).values(
                month=text("date_trunc('month', now())::date"), storage_key="history/202601/x", storage_type="local",
                size_bytes=1, sha256="0" * 64, entry_count=1,
            )
        )  # fmt: skip
        connection.execute(
            insert(ActivitySeal).values(
                month=text("date_trunc('month', now())::date"),
                epoch=1,
                low_xid=text("'1'::xid8"),
                high_xid=text("'2'::xid8"),
                entry_count=1,
                root=b"r",
                seal_hash=b"s",
            )
        )
        connection.execute(
            insert(LoginThrottle).values(user_id=case.opened_by_id, failures=1, last_failed_at=func.now())
        )
        connection.execute(insert(ProtectedTable).values(name="tags", declaration={"columns": ["id"]}))
        # A made-up one would be that of another database, and this one in quarantine.
        here = "SELECT system_identifier, oid FROM pg_control_system(), pg_database WHERE datname = current_database()"
        system_identifier, oid = connection.execute(text(here)).one()
        connection.execute(
            insert(DatabaseIdentity).values(
                identity=uuid4(), system_identifier=system_identifier, database_oid=oid, confirmed_at=func.now()
            )
        )
        for table, rows in contents(connection).items():
            if not rows:
                new = Base.metadata.tables[table]
                signed = {column.name: case.opened_by_id for column in new.columns if column.info.get("signed")}
                row = any_row(new, case_id=case.id, audio_files=audio.id, users=case.opened_by_id, **signed)
                connection.execute(insert(new).values(row))
        empty = [table for table, rows in contents(connection).items() if not rows]
    assert empty == []
    db.close()
    owner.dispose()
    return owner_url


def contents(connection) -> dict[str, list[str]]:
    """Return all rows of the tables of this layer in PostgreSQL's text form, by table."""
    return {
        name: sorted(connection.execute(text(f"SELECT row_to_json(t)::text FROM public.{name} t")).scalars())
        for name in Base.metadata.tables
    }
