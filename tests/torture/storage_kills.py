"""`scripts.storage` is killed (SIGKILL) before each commit, and before and after each marker: the next run finishes it.

python tests/torture/storage_kills.py
"""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pytest

pytest_plugins = ("tests.database.conftest",)

from tests.database.test_storage_script import shown, storage, sweep

# Runs the script, and kills its own process at the given point: before the commit of that number, or at a marker.
KILLER = """
import os, runpy, signal, sys
from sqlalchemy import Engine, event
from src.storage.local import LocalStorage

point, number = sys.argv[1], int(sys.argv[2])
commits = 0


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@event.listens_for(Engine, "commit")
def count(connection):
    global commits
    commits += 1
    if point == "commit" and commits == number:
        die()


write = LocalStorage.write_marker


def write_marker(self, content, **options):
    if point == "before":
        die()
    write(self, content, **options)
    if point == "after":
        die()


LocalStorage.write_marker = write_marker
del sys.argv[1:3]
runpy.run_module("src.database.scripts.storage", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def operator(new_operator, speech_server):
    operator = new_operator(f"{speech_server.template}_killed")
    done = operator.init_db()
    assert done.returncode == 0, done.stderr
    return operator


def killed(operator, point, number, *arguments, **variables):
    """Run a command that is killed at a point; return whether it got there."""
    done = operator.run("-c", KILLER, point, str(number), *arguments, **variables)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode != 0


def points(operator, command, *, most=12):
    """Kill the command at each of its points, in turn; `command` prepares and returns arguments and settings."""
    reached = []
    for point in ("before", "after"):
        arguments, variables = command()
        if killed(operator, point, 0, *arguments, **variables):
            reached.append(point)
            yield arguments, variables
    for number in range(1, most):
        arguments, variables = command()
        if not killed(operator, "commit", number, *arguments, **variables):
            break
        reached.append(f"commit {number}")
        yield arguments, variables
    assert "commit 1" in reached
    assert len(reached) < most + 1, "the command ends"


def test_a_claim_that_is_killed_is_finished_by_the_next_run(operator):
    folders = iter(range(100))

    def command():
        return ("register",), {"AUDIO_STORAGE_ROOT": str(operator.folder / f"recordings {next(folders)}")}

    for arguments, variables in points(operator, command):
        done = storage(operator, *arguments, **variables)
        assert done.returncode == 0, done.stderr
        done = storage(operator, "show", **variables)
        assert done.returncode == 0, done.stdout


def test_a_confirmation_that_is_killed_is_finished_by_the_next_run(operator):
    for arguments, variables in points(operator, lambda: (("confirm",), {})):
        done = storage(operator, *arguments, **variables)
        assert done.returncode == 0, done.stderr
        assert re.search(r"storage \S+: owned by this database", done.stdout)
        assert storage(operator, "show").returncode == 0
        assert sweep(operator, "storage").returncode == 0


def test_a_move_that_is_killed_is_finished_by_the_next_run(operator):
    _, [(storage_id, _, _)] = shown(operator)
    root = operator.folder / "storage" / "audio"
    places = iter(range(100))

    def command():
        nonlocal root
        moved = operator.folder / f"moved {next(places)}"
        root.rename(moved)
        root = moved
        return ("move", storage_id, "--root", str(moved)), {"AUDIO_STORAGE_ROOT": str(moved)}

    for arguments, variables in points(operator, command):
        done = storage(operator, *arguments, **variables)
        assert done.returncode == 0, done.stderr
        assert storage(operator, "show", **variables).returncode == 0
        assert sweep(operator, "storage", **variables).returncode == 0


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q", "-p", "no:cacheprovider"]))
