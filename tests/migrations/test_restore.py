"""Restores as people do them: by the documentation, carelessly, and interrupted."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from sqlalchemy import text

from src.database import Base, Database
from src.database.connection.key_file import KeyFile
from src.database.provisioning.comparison import compare
from src.database.provisioning.migrate import upgrade
from src.database.provisioning.restored import require_whole
from src.database.schema import sql_files
from src.database.schema.creation import execute
from src.errors import SchemaMismatch
from src.services import cases
from tests.migrations.conftest import contents, engine_of, finish, outside, programs_for, start

CHANGED_BY_INIT_DB = {"database_identities", "storages", "activity_logs"}


def restored(command, text, target, folder):
    """Run a program of PostgreSQL with a script on standard input; return its errors."""
    done = subprocess.run(
        command, input=text, env=outside(target), cwd=folder, text=True, capture_output=True, check=False
    )
    return done.stderr


def rows(url):
    with engine_of(url) as engine, engine.connect() as connection:
        return {table: found for table, found in contents(connection).items() if table not in CHANGED_BY_INIT_DB}


def init_db(target, folder, *arguments):
    command = [sys.executable, "-m", "src.database.scripts.init_db", *arguments]
    environment = outside(target, KEY_FILE=str(folder / "keys.json"))
    return subprocess.run(command, env=environment, cwd=folder, text=True, capture_output=True, check=False)


def serves(target, folder):
    keys = KeyFile.load(folder / "keys.json")
    with engine_of(target) as engine, engine.connect() as connection:
        assert compare(connection, keys.roles_of_logins) == []
    serving = target.set(username=keys.login, password=keys.password)
    with Database(serving, signing_key=keys.signing_key) as db, db.session(actor="alice") as session:
        assert cases.open_case(session, title="After the restore").case_code == "C-000002"


def test_dumps_restore_on_another_server(filled_url, server_of_our_own, tmp_path):
    """Carelessly, without the roles and as another owner, and then as docs/operations.md says.

    Which database owns the storages is asked after that: tests/services/recordings/test_storage_identity.py.
    """
    with engine_of(filled_url) as engine, engine.begin() as connection:
        execute(connection, "DELETE FROM public.database_identities")
    binaries = programs_for(filled_url)
    before = rows(filled_url)
    plain = tmp_path / "plain.sql"
    finish(start(binaries / "pg_dump", "-f", plain, environment=outside(filled_url), folder=tmp_path))
    # As a dump of the embedded server: of a login that does not exist on the target.
    script = plain.read_text().replace("OWNER TO sti_test_owner", "OWNER TO another_owner")
    with engine_of(server_of_our_own) as engine:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with connection:
            for name in ("careless", "documented"):
                connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0")

    careless, folder = server_of_our_own.set(database="careless"), tmp_path / "careless"
    folder.mkdir()
    errors = restored([binaries / "psql", "-X", "-q"], script, careless, folder)
    assert errors.count("ERROR:") > 600
    done = init_db(careless, folder)
    assert done.returncode == 0, done.stderr
    summaries = [line for line in done.stderr.splitlines() if line.startswith("repaired: ")]
    assert len(summaries) <= 3, "repairs are counted by kind"
    assert re.search(r"repaired: \d{3,} differences: \d+ × \w+", summaries[0])
    assert rows(careless) == before
    serves(careless, folder)

    documented, folder = server_of_our_own.set(database="documented"), tmp_path / "documented"
    folder.mkdir()
    with engine_of(documented) as engine, engine.begin() as connection:
        execute(connection, sql_files.roles())
    dump = [sys.executable, "-m", "src.database.scripts.dump", "backup.dump"]
    said = finish(start(*dump, environment=outside(filled_url), folder=folder))
    assert said == f"backup.dump: {(folder / 'backup.dump').stat().st_size} bytes\n"
    assert (folder / "backup.dump").stat().st_mode & 0o777 == 0o600
    with engine_of(filled_url) as engine, engine.connect() as connection:
        logged = text("SELECT new ->> 'name' FROM activity_logs WHERE entity IS NULL AND new ->> 'format' = 'pg_dump'")
        assert connection.scalars(logged).all() == ["a dump of the database"]
    again = start(*dump, environment=outside(filled_url), folder=folder)
    assert "backup.dump exists already" in again.communicate(timeout=60)[1]
    contents_of_dump = finish(start(binaries / "pg_restore", "-l", "backup.dump", environment=outside(documented),
                                    folder=folder))  # fmt: skip
    assert "EXTENSION" not in contents_of_dump
    (folder / "contents").write_text("".join(
        line for line in contents_of_dump.splitlines(keepends=True) if "_trgm_idx" not in line
    ))  # fmt: skip
    restore = [binaries / "pg_restore", "--no-owner", "--no-acl", "--exit-on-error", "--single-transaction", "-L",
               "contents", "-d", "documented", "backup.dump"]  # fmt: skip
    finish(start(*restore, environment=outside(documented), folder=folder))
    assert rows(documented) == before
    with engine_of(documented) as engine, engine.connect() as connection:
        broken = [str(one) for one in compare(connection)]
    assert len(broken) > 200
    assert any("PUBLIC may execute the function mint_actor" in one for one in broken)
    done = init_db(documented, folder, "--verbose")
    assert done.returncode == 0
    assert len([line for line in done.stderr.splitlines() if line.startswith("repaired: ")]) > 200
    serves(documented, folder)


# Where psql stopped.
STOPS = {
    "CREATE TABLE public.activity_archives": "it has functions of this layer and 0 of its",
    "CREATE TABLE public.cases ": "tables, but no revision is recorded",
    "COPY public.activity_archives ": "29 of its 29 tables, but no revision is recorded",
}


def test_a_restore_that_stopped_early_is_refused(owner_url, speech_server, tmp_path):
    script = _plain(owner_url, tmp_path)
    for stop, sentence in STOPS.items():
        with speech_server.empty() as target:
            part = script[: script.index(f"\n{stop}")]
            restored([programs_for(owner_url) / "psql", "-X", "-q"], part, target, tmp_path)
            with pytest.raises(SchemaMismatch) as refused:
                upgrade(target)
            assert sentence.replace("29", str(len(Base.metadata.tables))) in str(refused.value)
            with engine_of(target) as engine, engine.connect() as connection, pytest.raises(SchemaMismatch):
                require_whole(connection)


def test_a_restore_that_stopped_late_is_named_first(owner_url, empty_url, tmp_path):
    script = _plain(owner_url, tmp_path)
    end = script.index("ADD CONSTRAINT cases_pkey")
    restored([programs_for(owner_url) / "psql", "-X", "-q"], script[:end], empty_url, tmp_path)
    done = init_db(empty_url, tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    left = [line for line in done.stderr.splitlines() if not line.startswith("repaired: ")]
    assert any(line.startswith("the database is incomplete, as after a restore that stopped: ") for line in left), left
    assert any("the constraint cases_pkey on cases is missing" in line for line in left)


def _plain(url, folder) -> str:
    file = folder / "plain.sql"
    finish(start(programs_for(url) / "pg_dump", "-f", file, environment=outside(url), folder=folder))
    return file.read_text()
