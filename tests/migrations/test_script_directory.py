"""The revision files: one head, names, length; and the SQL of `--sql`."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import text

from src.database.schema import head, migrations_folder
from src.database.schema.revisions import BASELINE
from src.database.schema.sql_files import FOLDER
from tests.migrations import catalog
from tests.migrations.conftest import (
    ROOT,
    alembic_config,
    engine_of,
    finish,
    outside,
    picture_of,
    programs_for,
    revisions,
    start,
)

VERSIONS = ROOT / "alembic" / "versions"
STEPS = list(zip([None, *revisions()], revisions(), strict=False))

# Excluded rules of squawk, each with its reason.
EXCLUDED = {
    "prefer-text-field": "the table alembic_version of Alembic has a varchar column",
    "ban-drop-constraint": "an interrupted revision that runs again recreates its CHECKs",
    "prefer-bigint-over-int": "cases.id and its foreign keys are integer, so that policies have no cost",
}

UNSAFE = {
    "adding-required-field": "ALTER TABLE cases ADD COLUMN nickname text NOT NULL;",
    "require-concurrent-index-creation": "CREATE INDEX cases_description_idx ON cases (description);",
    "constraint-missing-not-valid": "ALTER TABLE cases ADD CONSTRAINT c CHECK (title <> '');",
}


def offline_sql(before: str | None, revision: str) -> str:
    printed = io.StringIO()
    span = revision if before is None else f"{before}:{revision}"
    command.upgrade(alembic_config(output_buffer=printed), span, sql=True)
    return printed.getvalue()


def squawk(path: Path) -> list[str]:
    program = Path(sys.executable).with_name("squawk")
    if not program.is_file():
        pytest.skip("squawk-cli is not installed in this environment")
    options = ["--pg-version", "15", "--reporter", "gcc", f"--exclude={','.join(EXCLUDED)}"]
    found = subprocess.run([program, *options, path], capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode in {0, 1}, found.stderr
    return found.stdout.splitlines()


def test_code_and_database_have_the_same_single_head(owner):
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [head()]
    with owner.connect() as connection:
        assert connection.scalar(text("SELECT public.schema_revision()")) == head()
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == head()


def test_revisions_are_linear_and_numbered_consecutively():
    scripts = list(ScriptDirectory.from_config(alembic_config()).walk_revisions())[::-1]

    # `require_revision` compares the numbers as text.
    assert [script.revision for script in scripts] == [str(int(BASELINE) + number) for number in range(len(scripts))]
    assert [script.down_revision for script in scripts] == [before for before, _ in STEPS]


@pytest.mark.parametrize("path", sorted(VERSIONS.glob("*.py")), ids=lambda path: path.stem)
def test_names_of_revision_files_contain_date_number_and_subject(path):
    named = re.fullmatch(r"20\d\d_(0[1-9]|1[0-2])_(0[1-9]|[12]\d|3[01])_(\d{4})_[a-z0-9_]+", path.stem)

    assert named is not None, path.name
    assert f'revision = "{named[3]}"' in path.read_text(encoding="utf-8")


def test_revision_files_sort_in_the_order_of_revisions():
    numbers = [path.stem.split("_")[3] for path in sorted(VERSIONS.glob("*.py"))]

    assert numbers == revisions()


def test_revisions_are_short():
    lengths = {
        path.stem.split("_")[3]: len(path.read_text(encoding="utf-8").splitlines()) for path in VERSIONS.glob("*.*")
    }

    assert {path.suffix for path in VERSIONS.glob("*.*")} == {".py"}
    assert lengths.pop(BASELINE) < 1200
    assert all(length < 150 for length in lengths.values())
    assert migrations_folder() == VERSIONS.parent


def test_the_alembic_folder_has_no_init_file():
    assert not (ROOT / "alembic" / "__init__.py").exists()


@pytest.mark.parametrize(("before", "revision"), STEPS)
def test_squawk_accepts_the_sql_of_a_revision(tmp_path, before, revision):
    path = tmp_path / f"{revision}.sql"
    path.write_text(offline_sql(before, revision), encoding="utf-8")

    assert squawk(path) == []


@pytest.mark.parametrize("rule", UNSAFE)
def test_squawk_rejects_an_unsafe_statement(tmp_path, rule):
    path = tmp_path / "unsafe.sql"
    path.write_text(f"SET lock_timeout = '5s'; SET statement_timeout = '5s'; {UNSAFE[rule]}", encoding="utf-8")

    assert any(rule in line for line in squawk(path))


def test_offline_sql_creates_the_same_database_as_the_migrations(owner_url, empty_url, tmp_path):
    binaries = programs_for(empty_url)
    path = tmp_path / "offline.sql"
    path.write_text(offline_sql(None, "head"), encoding="utf-8")
    command_line = [binaries / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", path]
    finish(start(*command_line, environment=outside(empty_url), folder=tmp_path))

    assert catalog.differences(picture_of(owner_url), picture_of(empty_url)) == []
    with engine_of(empty_url) as engine, engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == head()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.sql")), ids=lambda path: path.stem)
def test_psql_runs_a_file_of_functions_without_changing_anything(owner_url, tmp_path, path):
    before = picture_of(owner_url)
    psql = [programs_for(owner_url) / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", path]
    finish(start(*psql, environment=outside(owner_url), folder=tmp_path))

    assert catalog.differences(before, picture_of(owner_url)) == []
