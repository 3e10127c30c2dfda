"""Restoring a dump of pg_dump, which sets an empty search_path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sqlalchemy import URL

from src.database import Case, Database
from src.database.connection.key_file import KeyFile
from src.database.provisioning.comparison import compare
from src.database.schema import sql_files
from src.database.schema.creation import execute
from src.services import cases, search
from tests.migrations import catalog
from tests.migrations.conftest import contents, engine_of, finish, outside, picture_of, programs_for, start

# The repairs are logged.
CHANGED_BY_INIT_DB = {"activity_logs"}


def restore_text(binaries: Path, source: URL, target: URL, folder: Path) -> None:
    """pg_dump > file, psql < file; stops at the first error."""
    file = folder / "backup.sql"
    finish(start(binaries / "pg_dump", "-f", file, environment=outside(source), folder=folder))
    restore = [binaries / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file]
    finish(start(*restore, environment=outside(target), folder=folder))


def restore_archive(binaries: Path, source: URL, target: URL, folder: Path) -> None:
    file = folder / "backup.dump"
    finish(start(binaries / "pg_dump", "-Fc", "-f", file, environment=outside(source), folder=folder))
    restore = [binaries / "pg_restore", "--exit-on-error", "--dbname", str(target.database), file]
    finish(start(*restore, environment=outside(target), folder=folder))


@pytest.mark.parametrize("restore", [restore_text, restore_archive])
def test_a_dump_restores_schema_rows_and_protection(filled_url, empty_url, speech_server, tmp_path, restore):
    restore(programs_for(filled_url), filled_url, empty_url, tmp_path)

    assert catalog.differences(picture_of(filled_url), picture_of(empty_url)) == []
    with engine_of(filled_url) as engine, engine.connect() as connection:
        rows = contents(connection)
    with engine_of(empty_url) as engine, engine.connect() as connection:
        assert contents(connection) == rows
        assert compare(connection, speech_server.keys.roles_of_logins) == []

    with speech_server.database(empty_url) as restored:
        with restored.session(actor="alice") as session:
            hits = search.transcripts(session, "countries", include_flagged=True)
            assert [hit.snippet for hit in hits] == ["your [country]"]
            assert cases.open_case(session, title="After the restore").case_code == "C-000002"
        with restored.session() as session:
            assert session.query(Case).count() == 0


def test_init_db_completes_a_dump_without_owners_and_privileges(filled_url, server_of_our_own, tmp_path):
    """With another owner, on another server: `init_db` restores all protection that the dump does not contain."""
    binaries = programs_for(filled_url)
    file = tmp_path / "backup.dump"
    finish(start(binaries / "pg_dump", "-Fc", "-f", file, environment=outside(filled_url), folder=tmp_path))
    target = server_of_our_own.set(database="restored")
    with engine_of(server_of_our_own) as engine:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with connection:
            connection.exec_driver_sql("CREATE DATABASE restored TEMPLATE template0")
            # Policies reference the roles: without them the restore fails.
            execute(connection, sql_files.roles())
    restore = [binaries / "pg_restore", "--no-owner", "--no-acl", "--exit-on-error", "--dbname", "restored", file]
    finish(start(*restore, environment=outside(target), folder=tmp_path))
    with engine_of(target) as engine, engine.connect() as connection:
        broken = compare(connection)
        rows = contents(connection)
    assert len(broken) > 200
    assert any("PUBLIC may execute the function mint_actor" in str(one) for one in broken)

    keys = tmp_path / "keys.json"
    command = [sys.executable, "-m", "src.database.scripts.init_db"]
    finish(start(*command, environment=outside(target, KEY_FILE=str(keys)), folder=tmp_path))

    loaded = KeyFile.load(keys)
    with engine_of(target) as engine, engine.connect() as connection:
        assert compare(connection, loaded.roles_of_logins) == []
        after = contents(connection)
        assert {name: rows[name] for name in rows if name not in CHANGED_BY_INIT_DB} == {
            name: after[name] for name in after if name not in CHANGED_BY_INIT_DB
        }
        assert set(rows["activity_logs"]) <= set(after["activity_logs"])
    serving = target.set(username=loaded.login, password=loaded.password)
    with Database(serving, signing_key=loaded.signing_key) as db, db.session(actor="alice") as session:
        assert cases.open_case(session, title="After the restore").case_code == "C-000002"
