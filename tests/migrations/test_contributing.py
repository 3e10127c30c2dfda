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
from tests.migrations.scratch import NOW, Copy

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


# The revisions of the page, and those that its examples get when they are carried out one after the other.
PREVIOUS, NEW_ONE = "1001", "1002"
EXAMPLES = {1: "three files", 2: "four files", 3: "two files"}


def example(number: int, newest: str) -> tuple[str, str]:
    """Return an example of the page, with its revision after the newest one, and the revision that is newest then."""
    text = PAGE.split(f"## Example {number}:")[1].split("\n## ")[0]
    if f"_{NEW_ONE}_" not in text:
        return text, newest
    following = str(int(newest) + 1)
    numbers = {PREVIOUS: newest, NEW_ONE: following}
    return re.sub("|".join(numbers), lambda found: numbers[found[0]], text), following


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


def test_the_examples_work_with_the_files_that_they_name(copy, filled_url):
    # One after the other in one checkout: starting the nested run takes longer than its tests.
    own, newest = [], NOW
    for number, claimed in EXAMPLES.items():
        text, newest = example(number, newest)
        touched = carry_out(copy, text)
        assert claimed in text
        assert len(touched) == ["two files", "three files", "four files"].index(claimed) + 2
        if "make golden" in text:
            run(copy, "tests/provisioning/golden.py", "--write")
        if "make stamp" in text:
            run(copy, "tests/conventions/sql_form.py", "--stamp")
            run(copy, "tests/conventions/sql_form.py")
        own += [file for file in sorted(touched) if file.startswith("tests/") and file.endswith(".py")]
    assert newest != NOW
    run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *dict.fromkeys([*own, *RULES]))

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
    copy.alembic(filled_url, "downgrade", NOW)
    copy.alembic(filled_url, "upgrade", "head")
    with engine_of(filled_url) as engine, engine.connect() as connection:
        kept = contents(connection)
    assert kept["cases"] == rows["cases"]
    assert len(kept["audio_files"]) == len(rows["audio_files"])
