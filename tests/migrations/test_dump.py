"""Restoring a dump of pg_dump, which sets an empty search_path."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import URL

from src.database import Case
from src.database.provisioning.apply import apply
from src.database.provisioning.comparison import compare
from src.services import cases, search
from tests.migrations import catalog
from tests.migrations.conftest import contents, engine_of, finish, outside, picture_of, programs_for, start


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
    with engine_of(filled_url) as engine, engine.connect() as connection:
        rows = contents(connection)
    with engine_of(empty_url) as engine:
        with engine.connect() as connection:
            assert contents(connection) == rows
            differing = [str(one) for one in compare(connection, speech_server.keys.roles_of_logins)]
        # pg_dump leaves out the statistics targets of the indexes of constraints; `init_db` sets them.
        assert differing == ["ANALYZE samples text of cases: cases_case_code_excl.first expression"]
        assert apply(engine, speech_server.keys.roles_of_logins) == []

    assert catalog.differences(picture_of(filled_url), picture_of(empty_url)) == []
    with engine_of(empty_url) as engine, engine.connect() as connection:
        assert compare(connection, speech_server.keys.roles_of_logins) == []

    with speech_server.database(empty_url) as restored:
        with restored.session(actor="alice") as session:
            hits = search.transcripts(session, "countries", include_flagged=True)
            assert [hit.snippet for hit in hits] == ["your [country]"]
            assert cases.open_case(session, title="After the restore").case_code == "C-000002"
        with restored.session() as session:
            assert session.query(Case).count() == 0
