"""The memory backend raises faults at the requested step only."""

import hashlib
import io
from datetime import timedelta

import pytest

from src.errors import IntegrityFailure, InvalidInput, NoSpace, ObjectExists, ObjectNotFound, StorageUnavailable
from src.storage import MemoryStorage, archive_key, case_key
from src.storage.memory import FAULT_STEPS

DOWN = StorageUnavailable("down for the test")


def _call(storage, operation, key, target):
    calls = {
        "put": lambda: storage.put(target, b"new"),
        "get": lambda: storage.get(key).read(),
        "head": lambda: storage.head(key),
        "list": lambda: list(storage.list()),
        "copy": lambda: storage.copy(key, target),
        "delete": lambda: storage.delete(key),
        "url": lambda: storage.url(key, expires_in=timedelta(1)),
        "usage": storage.usage,
        "sweep_incomplete": lambda: storage.sweep_incomplete(timedelta(0)),
        "probe": storage.probe,
    }
    return calls[operation]()


@pytest.mark.parametrize("step", sorted(FAULT_STEPS))
def test_a_fault_at_each_step_leaves_the_state_of_that_step(step):
    operation, moment = step.split(".")
    key, target = case_key(1, "wav"), archive_key(1, "wav")
    storage = MemoryStorage()
    storage.put(key, b"old")
    storage.fail(step, DOWN)
    with pytest.raises(StorageUnavailable, match="down for the test"):
        _call(storage, operation, key, target)
    stored = {info.key for info in storage.list()} if operation != "list" else {key}
    done = {"put": {key, target}, "copy": {key, target}, "delete": set()}.get(operation, {key})
    assert stored == (done if moment == "after" else {key})


def test_a_fault_is_raised_as_often_as_requested():
    storage = MemoryStorage(faults={"usage.before": DOWN})
    for times in (1, 2):
        for _ in range(times):
            with pytest.raises(StorageUnavailable):
                storage.usage()
        storage.usage()
        storage.fail("usage.before", DOWN, times=2)
    storage.fail("usage.before", DOWN, times=None)
    for _ in range(5):
        with pytest.raises(StorageUnavailable):
            storage.usage()
    storage.clear_faults()
    storage.usage()


def test_an_unknown_step_is_rejected_with_the_choices():
    with pytest.raises(InvalidInput, match=r"put\.after_bytes"):
        MemoryStorage(faults={"put.during": DOWN})


def test_a_kill_can_be_simulated():
    storage = MemoryStorage(faults={"put.after": KeyboardInterrupt()})
    key = case_key(1, "wav")
    with pytest.raises(KeyboardInterrupt):
        storage.put(key, b"stored, but reported as an error")
    with pytest.raises(ObjectExists):
        storage.put(key, b"again")


def test_a_known_size_beyond_the_capacity_is_rejected_before_the_first_read():
    storage = MemoryStorage(capacity_bytes=10)
    storage.put(case_key(1, "wav"), b"123456")
    source = io.BytesIO(b"12345")
    with pytest.raises(NoSpace):
        storage.put(case_key(1, "wav"), source, size=5)
    assert source.tell() == 0
    with pytest.raises(NoSpace):
        storage.put(case_key(1, "wav"), source)
    assert storage.usage().free_bytes == 4
    assert len(list(storage.list())) == 1


def test_corruption_keeps_the_size_and_changes_the_hash():
    storage = MemoryStorage()
    key = case_key(1, "wav")
    stored = storage.put(key, b"speech")
    storage.corrupt(key)
    with storage.get(key) as stream:
        data = stream.read()
    assert len(data) == stored.size == storage.head(key).size
    assert hashlib.sha256(data).hexdigest() != stored.sha256
    with pytest.raises(IntegrityFailure):
        storage.copy(key, archive_key(1, "wav"))
    with pytest.raises(ObjectNotFound):
        storage.corrupt(case_key(1, "wav"))
