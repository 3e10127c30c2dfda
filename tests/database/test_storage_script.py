"""`init_db`, `sweep` and `storage` as an operator runs them: a wrong place or a copy stops them in one sentence."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.migrations.conftest import outside, programs_for

MARKER = Path("storage", "audio", ".storage.json")


@pytest.fixture
def operator(new_operator, speech_server):
    """An operator whose database was made by `init_db`, in a folder of its own."""
    operator = new_operator(f"{speech_server.template}_storage")
    done = operator.init_db()
    assert done.returncode == 0, done.stderr
    return operator


def storage(operator, *arguments, **variables):
    return operator.run("-m", "src.database.scripts.storage", *arguments, **variables)


def sweep(operator, *arguments, **variables):
    return operator.run("-m", "src.database.scripts.sweep", *arguments, **variables)


def assert_stops(done, *parts):
    """Exit code 3 and one sentence on stderr."""
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1
    for part in parts:
        assert part in done.stderr


def shown(operator):
    done = storage(operator, "show")
    database = re.search(r"^database (\S+)$", done.stdout, re.MULTILINE)[1]
    return database, re.findall(r"^storage (\S+) (\S+) (.*)$", done.stdout, re.MULTILINE)


def test_every_command_stops_at_an_unmounted_disk(operator):
    _, [(storage_id, _, _)] = shown(operator)
    root = operator.folder / MARKER.parent
    root.rename(operator.folder / "unmounted")
    for mount_point in (False, True):
        if mount_point:
            root.mkdir()
        for done in (
            operator.init_db(), sweep(operator, "storage"), sweep(operator, "verify"), sweep(operator, "unknown"),
            operator.run("-m", "src.database.scripts.history", "seal"),
        ):  # fmt: skip
            assert_stops(done, storage_id, "has no marker")
        check = operator.init_db("--check")
        assert check.returncode == 1
        assert storage_id in check.stdout or not mount_point
        assert not mount_point or list(root.iterdir()) == []
    assert storage(operator, "show").returncode == 1


def test_another_folder_is_registered_by_init_db_and_named_until_then(operator):
    _, [(first, _, _)] = shown(operator)
    other = {"AUDIO_STORAGE_ROOT": str(operator.folder / "other")}
    assert_stops(sweep(operator, "storage", **other), first, "is not registered")
    assert not (operator.folder / "other").exists()
    done = operator.init_db(**other)
    assert (done.returncode, "claimed" in done.stdout) == (0, True)
    assert len(shown(operator)[1]) == 2
    assert sweep(operator, "storage", **other).returncode == 0


def test_the_folder_of_another_database_is_refused(operator, new_operator, speech_server):
    database, [(storage_id, _, _)] = shown(operator)
    other = new_operator(f"{speech_server.template}_second", AUDIO_STORAGE_ROOT=str(operator.folder / MARKER.parent))
    assert_stops(other.init_db(), database, storage_id)
    # Nothing was created: not even the database.
    assert_stops(other.init_db("--check"), "has no database")


def test_a_dump_is_in_quarantine_until_an_operator_confirms_it(operator, speech_server):
    database, [(storage_id, _, _)] = shown(operator)
    binaries, dump = programs_for(operator.url), operator.folder / "backup.dump"
    environment = outside(operator.url)
    subprocess.run([binaries / "pg_dump", "-Fc", "-f", dump], env=environment, check=True)
    speech_server.drop(operator.url.database)
    speech_server.create(operator.url.database)
    restore = [binaries / "pg_restore", "--exit-on-error", "--dbname", operator.url.database, dump]
    subprocess.run(restore, env=environment, check=True)

    done = operator.init_db()
    assert done.returncode == 1
    # The last line, after all that was repaired.
    assert "src.database.scripts.storage confirm" in done.stderr.splitlines()[-1]
    for command in (("storage",), ("verify",), ("remove-unknown",)):
        assert_stops(sweep(operator, *command), "quarantine", "src.database.scripts.storage confirm")
    assert operator.init_db("--check").returncode == 1
    assert "quarantine" in storage(operator, "show").stdout

    done = storage(operator, "confirm")
    assert done.returncode == 0, done.stderr
    assert f"storage {storage_id}: owned by this database" in done.stdout
    assert shown(operator)[0] != database
    for done in (operator.init_db(), sweep(operator, "storage"), sweep(operator, "verify"), storage(operator, "show")):
        assert done.returncode == 0, done.stderr


def test_a_deleted_marker_is_written_again_by_name(operator):
    _, [(storage_id, _, _)] = shown(operator)
    (operator.folder / MARKER).unlink()
    assert_stops(sweep(operator, "storage"), storage_id, "storage mark")
    assert storage(operator, "mark", storage_id).returncode == 0
    assert sweep(operator, "storage").returncode == 0
    assert storage(operator, "mark", storage_id).returncode == 1


def test_backends_of_others_are_served_by_registration(operator):
    repository = Path(__file__).resolve().parents[2]
    (operator.folder / "shelves.py").write_text(
        "from src.storage import register_backend\nfrom tests.storage.shelf import Shelf\n"
        "register_backend('shelf', Shelf)\n"
    )
    known = {"AUDIO_STORAGE_MODULES": "shelves", "PYTHONPATH": f"{repository}:{operator.folder}"}
    location = '{"path": "shelf.sqlite"}'
    assert_stops(storage(operator, "register", "shelf", "--location", location), "Unknown storage backend 'shelf'")
    missing = storage(operator, "register", "shelf", "--location", location, AUDIO_STORAGE_MODULES="no_such_module")
    assert_stops(missing, "no_such_module")
    done = storage(operator, "register", "shelf", "--location", location, **known)
    assert done.returncode == 0, done.stderr
    assert "keeps no marker" in done.stdout
    operator.sql(
        "INSERT INTO storage_objects (case_id, key, backend, storage_id)"
        " SELECT 1, 'cases/1/00000000-0000-4000-8000-000000000000.wav', 'shelf', id FROM storages WHERE name = 'shelf'"
    )
    assert sweep(operator, "storage", "--hours", "0", **known).returncode == 0
    operator.sql(
        "INSERT INTO storage_objects (case_id, key, backend, storage_id)"
        " SELECT 1, 'cases/1/00000000-0000-4000-8000-000000000000.wav', 'shelf', id FROM storages WHERE name = 'shelf'"
    )
    for command in ("storage", "verify"):
        done = sweep(operator, command)
        assert done.returncode == 1
        assert "the storage 'shelf'" in done.stderr
        assert "has 1 objects and is not described here" in done.stderr
