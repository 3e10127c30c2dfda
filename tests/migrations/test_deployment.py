"""Two versions of the code at the same time: migrate first, deploy second; older code never reverts newer code."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import URL, text

from src.database import Case, Database
from src.database.provisioning.comparison import compare
from src.errors import SchemaMismatch
from src.services import cases
from tests.migrations import catalog
from tests.migrations.conftest import ROOT, engine_of, outside, picture_of, start
from tests.migrations.scratch import NEXT, NOW, Copy

SERVES = """
from sqlalchemy import make_url
import sys, json
from src.database import Database
from src.database.connection.actor_tokens import SigningKey
from src.services import cases
url, key_id, key = sys.argv[1:]
with Database(make_url(url), signing_key=SigningKey.decode(int(key_id), key)) as db, db.session(actor="alice") as s:
    print(cases.open_case(s, title="By another version").case_code)
"""
OLD_WAIT = "least(lease_seconds, 86400)"
NEW_WAIT = "least(lease_seconds, 3600)"
JOBS = "src/database/sql/jobs.sql"
ADD_COLUMN = "op.add_column('case_notes', sa.Column('language', sa.Text))"
DROP_COLUMN = "op.drop_column('case_notes', 'language')"


@pytest.fixture
def newer(tmp_path) -> Copy:
    """Newer code with a changed function."""
    copy = Copy(tmp_path / "newer")
    copy.edit(JOBS, OLD_WAIT, NEW_WAIT)
    return copy


@pytest.fixture
def older_key_file(tmp_path, speech_server) -> str:
    speech_server.keys.save(tmp_path / "keys.json")
    return os.fspath(tmp_path / "keys.json")


def opens_a_case(copy: Copy, speech_server, owner_url: URL) -> str:
    key = speech_server.signing_key
    url = speech_server.serving_url(owner_url).render_as_string(hide_password=False)
    done = copy.run(owner_url, "-c", SERVES, url, str(key.id), key.encode())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def older_init_db(url: URL, key_file: str, tmp_path, *arguments: str):
    command = [os.sys.executable, "-m", "src.database.scripts.init_db", *arguments]
    environment = {**outside(url), "KEY_FILE": key_file, "PYTHONPATH": os.fspath(ROOT)}
    process = start(*command, environment=environment, folder=tmp_path)
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def lease_end(url: URL) -> str:
    with engine_of(url) as engine, engine.connect() as connection:
        return connection.scalar(text("SELECT pg_get_functiondef('lease_end(integer)'::regprocedure)"))


@pytest.fixture
def old_service(speech_server, owner_url) -> Iterator[Database]:
    """A service with the current code, which stays running."""
    with speech_server.database(owner_url) as db:
        with db.session(actor="alice") as session:
            cases.open_case(session, title="Before the upgrade")
        yield db


def test_old_and_new_code_serve_at_the_same_time(newer, old_service, speech_server, owner_url):
    newer.add_revision(ADD_COLUMN, DROP_COLUMN)
    with old_service.session(actor="alice") as session:
        case = session.query(Case).one()
        # Upgrade during an open session of the old code.
        printed = newer.alembic(owner_url, "upgrade", "head")
        assert f"{NOW} -> {NEXT}" in printed
        cases.add_note(session, case, "during the upgrade")
    assert "3600" in lease_end(owner_url)

    old_service.close()  # forces new connections
    with old_service.session(actor="alice") as session:
        cases.add_note(session, session.query(Case).one(), "by the old code after the upgrade")
    assert opens_a_case(newer, speech_server, owner_url) == "C-000002"
    with old_service.session(actor="alice") as session:
        assert session.query(Case).count() == 2


def test_a_revision_can_exclude_older_code(newer, old_service, owner_url):
    newer.add_revision(ADD_COLUMN, DROP_COLUMN, oldest=NEXT)
    newer.alembic(owner_url, "upgrade", "head")

    old_service.close()
    refused = pytest.raises(SchemaMismatch, match=rf"newer than this code.*{NEXT}.*Install the newer version")
    with refused, old_service.session(actor="alice"):
        pass


def test_new_code_needs_its_upgrade(newer, owner_url, speech_server):
    newer.add_revision(ADD_COLUMN, DROP_COLUMN)
    key = speech_server.signing_key
    url = speech_server.serving_url(owner_url).render_as_string(hide_password=False)
    done = newer.run(owner_url, "-c", SERVES, url, str(key.id), key.encode())

    assert done.returncode == 1
    assert f"older than this code: it is at revision {NOW}, the code expects {NEXT}" in done.stderr


@pytest.mark.parametrize("with_revision", [False, True], ids=["function only", "revision too"])
def test_older_code_never_applies_over_newer(newer, owner_url, older_key_file, tmp_path, with_revision):
    if with_revision:
        newer.add_revision(ADD_COLUMN, DROP_COLUMN)
    newer.alembic(owner_url, "upgrade", "head")
    fixed = picture_of(owner_url)
    assert "3600" in lease_end(owner_url)

    code, output, errors = older_init_db(owner_url, older_key_file, tmp_path)
    assert code == 0, errors
    assert "the functions were applied by newer code" in output
    assert catalog.differences(fixed, picture_of(owner_url)) == []
    code, output, _ = older_init_db(owner_url, older_key_file, tmp_path, "--check")
    assert code == 1
    assert "check with the newer version" in output


def test_a_downgrade_with_the_newer_code_lets_older_code_revert_functions(newer, owner_url, older_key_file, tmp_path):
    assert older_init_db(owner_url, older_key_file, tmp_path)[0] == 0
    before = picture_of(owner_url)
    newer.add_revision(ADD_COLUMN, DROP_COLUMN)
    newer.alembic(owner_url, "upgrade", "head")
    newer.alembic(owner_url, "downgrade", NOW)
    assert "3600" in lease_end(owner_url), "the newer functions stay until the older code applies its own"

    code, output, errors = older_init_db(owner_url, older_key_file, tmp_path)
    assert code == 0, errors
    assert "newer code" not in output
    assert catalog.differences(before, picture_of(owner_url)) == []
    with engine_of(owner_url) as engine, engine.connect() as connection:
        assert compare(connection) == []


def test_a_change_of_functions_only_is_reverted_by_a_downgrade(newer, owner_url, older_key_file, tmp_path):
    assert older_init_db(owner_url, older_key_file, tmp_path)[0] == 0
    before = picture_of(owner_url)
    newer.alembic(owner_url, "upgrade", "head")
    assert "3600" in lease_end(owner_url)
    newer.alembic(owner_url, "downgrade", "1001")

    assert older_init_db(owner_url, older_key_file, tmp_path)[0] == 0
    assert "86400" in lease_end(owner_url)
    assert catalog.differences(before, picture_of(owner_url)) == []


def test_functions_are_created_before_columns_that_call_them(newer, owner_url):
    newer.edit(
        "src/database/sql/rows.sql",
        "CREATE OR REPLACE FUNCTION public.touch_row()",
        "CREATE OR REPLACE FUNCTION public.greeting()\n"
        "RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE\n"
        "RETURN 'hello'::text;\n"
        "REVOKE ALL ON FUNCTION public.greeting() FROM PUBLIC;\n\n"
        "CREATE OR REPLACE FUNCTION public.touch_row()",
    )
    newer.add_revision(
        "op.add_column('case_notes', sa.Column('hello', sa.Text, server_default=sa.text('public.greeting()')))",
        "op.drop_column('case_notes', 'hello')",
    )  # fmt: skip
    newer.alembic(owner_url, "upgrade", "head")
    with engine_of(owner_url) as engine, engine.connect() as connection:
        assert connection.scalar(text("SELECT greeting()")) == "hello"


def test_an_interrupted_upgrade_is_completed_by_the_next(newer, owner_url):
    newer.add_revision(ADD_COLUMN, DROP_COLUMN)
    newer.alembic(owner_url, "upgrade", "head")
    with engine_of(owner_url) as engine, engine.begin() as connection:
        # The state after a crash between the revision and the following steps.
        connection.execute(text(f"SELECT record_schema('{NOW}', 1, '{NOW}')"))
        connection.execute(text("DROP POLICY case_notes_app_select ON case_notes"))
    newer.alembic(owner_url, "upgrade", "head")
    with engine_of(owner_url) as engine, engine.connect() as connection:
        assert connection.scalar(text("SELECT schema_revision()")) == NEXT
        assert connection.scalar(text("SELECT schema_build()")) == newer.build(owner_url)
        assert [one for one in compare(connection) if one.kind == "policy"] == []
