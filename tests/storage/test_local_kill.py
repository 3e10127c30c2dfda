"""kill -9 at random moments: every key has all of its bytes or none, and acknowledged objects exist."""

import hashlib
import os
import random
import select
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from src.storage import LocalStorage
from src.storage.atomic_file import INCOMPLETE

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = 25

WRITER = """
import hashlib, io, random, sys
from src.storage import LocalStorage, archive_key, case_key
root, use_tmpfile, seed = sys.argv[1], sys.argv[2] == 'True', int(sys.argv[3])
storage, rng = LocalStorage(root, use_tmpfile=use_tmpfile), random.Random(seed)
while True:
    key = case_key(rng.randint(1, 5), 'wav')
    data = hashlib.shake_256(key.encode()).digest(rng.choice([0, 1000, 300_000, 3_000_000]))
    print('begin', key, len(data), flush=True)
    storage.put(key, io.BytesIO(data), size=rng.choice([None, len(data)]))
    print('stored', key, flush=True)
    if rng.random() < 0.3:
        copy = archive_key(1, 'wav')
        print('begin', copy, len(data), key, flush=True)
        storage.copy(key, copy)
        print('stored', copy, flush=True)
    if rng.random() < 0.3:
        print('delete', key, flush=True)
        storage.delete(key)
        print('deleted', key, flush=True)
"""


@pytest.mark.parametrize("use_tmpfile", [True, False], ids=["tmpfile", "named"])
def test_a_killed_writer_leaves_complete_objects_or_none(tmp_path, use_tmpfile):
    rng = random.Random(20)
    root = tmp_path / "audio"
    begun, stored, deleting, deleted = {}, set(), set(), set()
    for _ in range(KILLS):
        for line in _run_and_kill(root, use_tmpfile, rng):
            event, key, *rest = line.split()
            if event == "begin":
                # The content is derived from the key of the original.
                begun[key] = (int(rest[0]), rest[1] if len(rest) > 1 else key)
            else:
                {"stored": stored, "delete": deleting, "deleted": deleted}[event].add(key)
    storage = LocalStorage(root, use_tmpfile=use_tmpfile)
    found = {info.key: info.size for info in storage.list()}
    assert len(stored) > KILLS, "the writers were killed before they stored anything"
    assert stored - deleting <= set(found) <= set(begun)
    assert not deleted & set(found)
    for key, found_size in found.items():
        size, origin = begun[key]
        assert found_size == size
        with storage.get(key) as stream:
            expected = hashlib.shake_256(origin.encode()).digest(size)
            assert hashlib.sha256(stream.read()).digest() == hashlib.sha256(expected).digest()

    storage.sweep_incomplete(timedelta(0))
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert left == set(found)
    assert not (root / INCOMPLETE).exists() or list((root / INCOMPLETE).iterdir()) == []


def _run_and_kill(root, use_tmpfile, rng):
    arguments = [sys.executable, "-c", WRITER, root, str(use_tmpfile), str(rng.randrange(10**9))]
    with subprocess.Popen(arguments, cwd=REPOSITORY, stdout=subprocess.PIPE, env=dict(os.environ)) as writer:
        first = writer.stdout.readline()
        select.select([], [], [], rng.uniform(0, 0.06))  # the moment of the kill is what is tested
        writer.kill()
        lines = (first + writer.stdout.read()).decode().splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]
