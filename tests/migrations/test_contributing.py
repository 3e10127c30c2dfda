"""The examples of docs/contributing.md, executed in a copy of the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from src.database.provisioning.comparison import compare
from tests.migrations import catalog
from tests.migrations.conftest import ROOT, contents, engine_of, picture_of
from tests.migrations.scratch import NEXT, NOW, Copy

PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
FENCE = r"\n\n```python\n(?P<code>.*?)```"
BELOW = re.compile(r"In `(?P<file>[^`]+)`, below `(?P<anchor>[^`]+)`:" + FENCE, re.DOTALL)
AT_THE_END = re.compile(r"In `(?P<file>[^`]+)`, at the end:" + FENCE, re.DOTALL)
NEW = re.compile(r"New file `(?P<file>[^`]+)`[^:`]*(?:`[^`]+`)?:" + FENCE, re.DOTALL)
BECOMES = re.compile(r"In `(?P<file>[^`]+)`, `(?P<old>[^`]+)` becomes `(?P<new>[^`]+)`")

# The tests for all tables and revisions, which must pass for the new ones.
RULES = ["tests/conventions/test_tables.py", "tests/provisioning/test_golden.py", "tests/migrations/test_stairway.py",
         "tests/migrations/test_parity.py::test_alembic_check_finds_nothing",
         "tests/migrations/test_parity.py::test_migrations_and_models_make_the_same_database",
         "tests/migrations/test_script_directory.py::test_squawk_accepts_the_sql_of_a_revision",
         "tests/security/test_reading.py", "tests/security/test_writing.py"]  # fmt: skip


def example(number: int) -> str:
    """Return an example of the page, with the number after the newest revision."""
    text = PAGE.split(f"## Example {number}:")[1].split("\n## ")[0]
    return text.replace("1002", NEXT).replace("1001", NOW)


@pytest.fixture
def copy(tmp_path) -> Copy:
    copy = Copy(tmp_path / "checkout")
    shutil.copytree(ROOT / "tests", copy.folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, copy.folder)
    return copy


def carry_out(copy: Copy, text: str) -> set[str]:
    """Apply the changes of an example; return the changed files."""
    touched = set()
    for found in BELOW.finditer(text):
        touched.add(found["file"])
        copy.edit(found["file"], f"{found['anchor']}\n", f"{found['anchor']}\n{found['code']}")
    for found in AT_THE_END.finditer(text):
        touched.add(found["file"])
        path = copy.folder / found["file"]
        path.write_text(f"{path.read_text(encoding='utf-8')}\n\n{found['code']}", encoding="utf-8")
    for found in NEW.finditer(text):
        touched.add(found["file"])
        assert not (copy.folder / found["file"]).exists()
        (copy.folder / found["file"]).write_text(found["code"], encoding="utf-8")
    for found in BECOMES.finditer(text):
        touched.add(found["file"])
        copy.edit(found["file"], found["old"], found["new"])
    return touched


def run(copy: Copy, *command: str) -> None:
    # The nested run must not use the servers of this run: it starts its own.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TEST_DATABASE_URL"))}
    binaries = os.environ.get("TEST_SERVER_BINARIES")
    done = subprocess.run(
        [sys.executable, *command], cwd=copy.folder, env={**kept, "PYTHONPATH": os.fspath(copy.folder)}, text=True,
        capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, (binaries, done.stdout[-9000:], done.stderr[-2000:])


@pytest.mark.parametrize(
    ("number", "claimed", "tests"),
    [(1, "three files", RULES), (2, "four files", RULES), (3, "two files", [])],
    ids=["a column with history", "a table below a case", "a function"],
)
def test_an_example_works_with_the_files_that_it_names(copy, filled_url, number, claimed, tests):
    text = example(number)
    touched = carry_out(copy, text)
    assert claimed in text
    assert len(touched) == ["two files", "three files", "four files"].index(claimed) + 2
    if "make golden" in text:
        run(copy, "tests/provisioning/golden.py", "--write")
    if "make stamp" in text:
        run(copy, "tests/conventions/sql_form.py", "--stamp")
        run(copy, "tests/conventions/sql_form.py")

    own = [file for file in touched if file.startswith("tests/")]
    run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *own, *tests)

    # Upgrade, downgrade and upgrade a database with rows of the previous revision.
    before = picture_of(filled_url)
    with engine_of(filled_url) as engine, engine.connect() as connection:
        rows = contents(connection)
        assert compare(connection) == []
    copy.alembic(filled_url, "upgrade", "head")
    after = picture_of(filled_url)
    assert catalog.differences(before, after) != []
    assert copy.run(filled_url, "-m", "src.database.scripts.init_db", KEY_FILE=os.fspath(copy.folder / "k.json"),
                    POSTGRES_APP_USER=f"{filled_url.database}_app").returncode == 0  # fmt: skip
    if tests:
        copy.alembic(filled_url, "downgrade", NOW)
        copy.alembic(filled_url, "upgrade", "head")
    with engine_of(filled_url) as engine, engine.connect() as connection:
        kept = contents(connection)
    assert kept["cases"] == rows["cases"]
    assert len(kept["audio_files"]) == len(rows["audio_files"])
