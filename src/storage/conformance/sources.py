"""What the conformance tests share: the fixture to override, sources, and checks."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

import pytest

from src.errors import (
    ObjectNotFound,
)
from src.storage.contract import StorageBackend

MIB = 1024 * 1024


class _Drip(io.RawIOBase):
    def __init__(self, total: int, at_most: int, breaks_at: int | None) -> None:
        self._left = total
        self._at_most = at_most
        self._breaks_at = breaks_at
        self._given = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._breaks_at is not None and self._given >= self._breaks_at:
            raise ConnectionResetError("the line went dead")
        count = min(self._left, self._at_most, size if size >= 0 else self._left)
        self._left -= count
        self._given += count
        return bytes(count)


def drip(total: int, *, at_most: int = 1000, breaks_at: int | None = None) -> BinaryIO:
    """A source of zeros that cannot seek, gives few at a time, and may raise ConnectionResetError on the way."""
    return cast("BinaryIO", _Drip(total, at_most, breaks_at))


def content_of(backend: StorageBackend, key: str) -> bytes:
    with backend.get(key) as stream:
        return stream.read()


def assert_absent(backend: StorageBackend, key: str) -> None:
    for verb in (backend.head, backend.get):
        with pytest.raises(ObjectNotFound):
            verb(key)
    assert key not in [info.key for info in backend.list()]


class BackendTests:
    """Derive a class whose name begins with `Test` and override the fixture `backend` with an empty one.

    `many` objects are listed in one test: more than a page of the server. `large_bytes` is more than it takes in one
    request. `bounded_memory = False` excuses a backend that keeps its objects in the memory of this process, and
    `atomic_create = False` one whose server ignores conditions: of racing writers more than one may win.
    """

    many = 1050
    large_bytes = 20 * MIB
    bounded_memory = True
    atomic_create = True

    @pytest.fixture
    def backend(self) -> StorageBackend:
        """An empty backend, fresh for each test."""
        raise NotImplementedError("Override the fixture `backend`.")
