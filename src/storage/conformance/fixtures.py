"""Shared by the conformance tests: the fixture and options to override, a slow source, assertions."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

import pytest

from src.errors import ObjectNotFound
from src.storage.contract import StorageBackend

MIB = 1024 * 1024


class _SlowSource(io.RawIOBase):
    def __init__(self, total: int, max_read: int, breaks_at: int | None) -> None:
        self._remaining = total
        self._max_read = max_read
        self._breaks_at = breaks_at
        self._sent = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._breaks_at is not None and self._sent >= self._breaks_at:
            raise ConnectionResetError("the connection was lost")
        count = min(self._remaining, self._max_read, size if size >= 0 else self._remaining)
        self._remaining -= count
        self._sent += count
        return bytes(count)


def slow_source(total: int, *, max_read: int = 1000, breaks_at: int | None = None) -> BinaryIO:
    """`total` zero bytes, not seekable, at most `max_read` per read; ConnectionResetError after `breaks_at` bytes."""
    return cast("BinaryIO", _SlowSource(total, max_read, breaks_at))


def content_of(backend: StorageBackend, key: str) -> bytes:
    with backend.get(key) as stream:
        return stream.read()


def assert_absent(backend: StorageBackend, key: str) -> None:
    for operation in (backend.head, backend.get):
        with pytest.raises(ObjectNotFound):
            operation(key)
    assert key not in [info.key for info in backend.list()]


class BackendTests:
    """Derive a class whose name begins with `Test`; override the fixture `backend`, and options where needed."""

    many = 1050
    """Objects that one test lists: more than a page of the server."""
    large_bytes = 20 * MIB
    """More than the backend sends in one request."""
    bounded_memory = True
    """False for a backend that keeps objects in the memory of this process."""
    atomic_create = True
    """False for a server that ignores conditions: several racing writers may succeed."""

    @pytest.fixture
    def backend(self) -> StorageBackend:
        """A new, empty backend for each test."""
        raise NotImplementedError("Override the fixture `backend`.")
