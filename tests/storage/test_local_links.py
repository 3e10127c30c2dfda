"""Links and special files in the path of a key, also swapped concurrently: no byte leaves the root."""

import ctypes
import os
import threading

import pytest

from src.errors import IntegrityFailure, ObjectExists, StorageUnavailable
from src.storage import LocalStorage, archive_key, case_key


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


def _put_link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("component", ["cases", "cases/7"])
def test_a_folder_that_is_a_link_is_rejected(local, outside, component):
    key = case_key(7, "wav")
    (outside / "7").mkdir()
    for folder in (outside, outside / "7"):
        (folder / key.rpartition("/")[2]).write_bytes(b"outside")
    _put_link(local.root / component, outside)
    before = sorted(outside.rglob("*"))
    attempts = (
        lambda: local.put(key, b"x"),
        lambda: local.put(case_key(7, "wav"), b"x"),
        lambda: local.get(key),
        lambda: local.head(key),
        lambda: local.delete(key),
        lambda: list(local.list()),
    )
    for attempt in attempts:
        with pytest.raises(StorageUnavailable, match="link"):
            attempt()
    assert sorted(outside.rglob("*")) == before


def test_a_link_in_place_of_an_object_is_neither_read_nor_replaced(local, outside):
    secret = outside / "secret"
    secret.write_bytes(b"secret")
    key = case_key(7, "wav")
    _put_link(local.root / key, secret)
    for operation in (local.get, local.head):
        with pytest.raises(IntegrityFailure, match="not a regular file"):
            operation(key)
    with pytest.raises(IntegrityFailure):
        local.copy(key, archive_key(1, "wav"))
    with pytest.raises(ObjectExists):
        local.put(key, b"x")
    assert list(local.list()) == []
    assert local.delete(key) is True
    assert secret.read_bytes() == b"secret"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
def test_special_files_do_not_block_a_reader(local, make):
    key = case_key(7, "wav")
    (local.root / key).parent.mkdir(parents=True)
    make(local.root / key)
    for operation in (local.get, local.head):
        with pytest.raises(IntegrityFailure):
            operation(key)
    with pytest.raises(ObjectExists):
        local.put(key, b"x")
    assert list(local.list()) == []


def test_a_hard_link_at_the_target_is_not_written_to(local, outside):
    planted = outside / "planted"
    planted.write_bytes(b"planted")
    key = case_key(7, "wav")
    (local.root / key).parent.mkdir(parents=True)
    os.link(planted, local.root / key)
    with pytest.raises(ObjectExists):
        local.put(key, b"overwritten")
    assert planted.read_bytes() == b"planted"


def test_the_root_may_be_a_link_at_first_use_but_not_become_one(tmp_path, outside):
    link = tmp_path / "audio"
    link.symlink_to(outside)
    storage = LocalStorage(link)
    key = case_key(1, "wav")
    storage.put(key, b"x")
    assert storage.root == outside
    assert (outside / key).exists()

    elsewhere = tmp_path / "elsewhere"
    outside.rename(elsewhere)
    outside.symlink_to(elsewhere)
    for attempt in (lambda: storage.put(case_key(1, "wav"), b"x"), lambda: storage.get(key)):
        with pytest.raises(StorageUnavailable, match="link"):
            attempt()


def test_a_folder_replaced_by_a_link_during_writes(local, outside):
    """A thread exchanges cases/7 and a link continuously; every put stores inside the root or fails."""
    local.put(case_key(7, "wav"), b"first")
    folder, link = local.root / "cases" / "7", local.root / "cases" / "link"
    link.symlink_to(outside)
    stop = threading.Event()

    def flip():
        while not stop.is_set():
            _exchange(folder, link)

    thread = threading.Thread(target=flip)
    thread.start()
    stored, rejected = [], 0
    try:
        while len(stored) < 30 or rejected < 30:
            try:
                stored.append(local.put(case_key(7, "wav"), b"inside").key)
            except StorageUnavailable:
                rejected += 1
            assert len(stored) + rejected < 20_000, "no put ran during an exchange"
    finally:
        stop.set()
        thread.join()
    if folder.is_symlink():
        _exchange(folder, link)
    assert list(outside.iterdir()) == []
    for key in stored:
        with local.get(key) as stream:
            assert stream.read() == b"inside"


def _exchange(one, other):
    """renameat2(RENAME_EXCHANGE), not available in Python: both names exist at every moment."""
    at_cwd, exchange = -100, 2
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange):
        raise OSError(ctypes.get_errno(), "renameat2")
