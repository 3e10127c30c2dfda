"""Objects in the memory of this process, with fault injection: for tests of services that store recordings.

It gives every guarantee of the contract except durability and constant memory. Faults are raised at named steps:

    storage = MemoryStorage()
    storage.fail("put.after", StorageUnavailable("the response was lost"))   # stored, but the caller gets an error
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Literal, get_args

from src.errors import (
    IntegrityFailure,
    InvalidInput,
    NoSpace,
    ObjectExists,
    ObjectNotFound,
    UnsupportedOperation,
)
from src.storage import keys
from src.storage.arguments import checked_choice, checked_size, checked_window, size_mismatch
from src.storage.contract import URL_METHODS, Capabilities, ObjectInfo, SweepReport, UrlMethod, Usage
from src.storage.streams import Window, buffered, chunks

FaultStep = Literal[
    "put.before", "put.after_bytes", "put.after",
    "get.before", "get.after",
    "head.before", "head.after",
    "list.before", "list.after",
    "copy.before", "copy.after_bytes", "copy.after",
    "delete.before", "delete.after",
    "url.before",
    "usage.before", "usage.after",
    "sweep_incomplete.before", "sweep_incomplete.after",
    "probe.before", "probe.after",
]  # fmt: skip
"""Where a fault can be raised: `OPERATION.before`, `.after`, and of put and copy `.after_bytes`."""
FAULT_STEPS: tuple[FaultStep, ...] = get_args(FaultStep)


@dataclass(slots=True)
class _Fault:
    error: BaseException
    remaining: int | None


class MemoryStorage:
    """A `StorageBackend` whose objects are gone when the process ends.

    `capacity_bytes` limits the bytes of all objects. `faults` maps steps to the error that each raises once, as `fail`.
    """

    def __init__(
        self,
        *,
        name: str = "memory",
        capacity_bytes: int | None = None,
        faults: Mapping[FaultStep, BaseException] | None = None,
    ) -> None:
        self.name = name
        self._capacity_bytes = capacity_bytes
        self._objects: dict[str, tuple[ObjectInfo, bytes]] = {}
        self._faults: dict[str, _Fault] = {}
        self._marker: bytes | None = None
        self._lock = threading.RLock()
        for step, error in (faults or {}).items():
            self.fail(step, error)

    def fail(self, step: FaultStep, error: BaseException, *, times: int | None = 1) -> None:
        """Raise `error` the next `times` times that the step is reached; every time with None.

        Steps are `OPERATION.before` (nothing is done), `OPERATION.after` (all is done, but the caller gets the error)
        and, of put and copy, `OPERATION.after_bytes` (every byte is read, none is visible). Raises InvalidInput for
        another step.
        """
        checked_choice("step", step, FAULT_STEPS)
        with self._lock:
            self._faults[step] = _Fault(error, times)

    def clear_faults(self) -> None:
        """Remove all faults, also those that were not raised yet."""
        with self._lock:
            self._faults.clear()

    def corrupt(self, key: str) -> None:
        """Flip one bit of an object, as a failing disk would; size and time stay the same. Raises ObjectNotFound."""
        with self._lock:
            info, data = self._find(key)
            if not data:
                raise InvalidInput(
                    f"key: {key} is empty; only objects of at least 1 byte can be corrupted.",
                    field="key",
                    value=key,
                    limit=1,
                )
            self._objects[key] = (info, bytes([data[0] ^ 1]) + data[1:])

    @property
    def location(self) -> dict[str, Any]:
        """See `MarkedBackend.location`; empty, since no other program can open this memory."""
        return {}

    def read_marker(self) -> bytes | None:
        """See `MarkedBackend.read_marker`."""
        return self._marker

    def write_marker(self, content: bytes, *, replaces: bytes | None) -> None:
        """See `MarkedBackend.write_marker`."""
        with self._lock:
            if self._marker != replaces:
                raise ObjectExists("Another marker was written meanwhile; markers are never replaced unread.")
            self._marker = content

    def put(
        self, key: str, source: BinaryIO | bytes, *, size: int | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        """See `StorageBackend.put`."""
        del content_type  # not stored: no presigned addresses
        keys.validate(key)
        self._reach("put.before")
        self._check_free(key, checked_size(size))
        received = bytearray()
        for chunk in chunks(source):
            received += chunk
            if size is not None and len(received) > size:
                break
        if size is not None and len(received) != size:
            raise size_mismatch(key, len(received), size)
        return self._publish("put", key, bytes(received))

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See `StorageBackend.get`."""
        keys.validate(key)
        offset, length = checked_window(offset, length)
        self._reach("get.before")
        with self._lock:
            data = self._find(key)[1]
        rest = max(len(data) - offset, 0)

        def read_at(buffer: object, position: int) -> int:
            view = memoryview(buffer)  # type: ignore[arg-type]  # Window passes writable views only
            view[:] = data[position : position + len(view)]
            return len(view)

        self._reach("get.after")
        return buffered(Window(offset, rest if length is None else min(rest, length), read_at, _do_nothing))

    def head(self, key: str) -> ObjectInfo:
        """See `StorageBackend.head`."""
        keys.validate(key)
        self._reach("head.before")
        with self._lock:
            info = self._find(key)[0]
        self._reach("head.after")
        return info

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        """See `StorageBackend.list`."""
        bare = keys.validate_prefix(prefix)
        start = "" if after is None else keys.validate(after)
        self._reach("list.before")
        with self._lock:
            found = [self._objects[key][0] for key in sorted(self._objects) if key > start]
        self._reach("list.after")
        return iter([info for info in found if not bare or info.key.startswith(f"{bare}/")])

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """See `StorageBackend.copy`."""
        keys.validate(source_key)
        keys.validate(target_key)
        self._reach("copy.before")
        with self._lock:
            info, data = self._find(source_key)
        self._check_free(target_key, len(data))
        if hashlib.sha256(data).hexdigest() != info.sha256:
            raise IntegrityFailure(
                f"{source_key} differs from the stored SHA-256; nothing was copied. Restore it from a backup."
            )
        return self._publish("copy", target_key, data)

    def delete(self, key: str) -> bool:
        """See `StorageBackend.delete`."""
        keys.validate(key)
        self._reach("delete.before")
        with self._lock:
            existed = self._objects.pop(key, None) is not None
        self._reach("delete.after")
        return existed

    def url(
        self,
        key: str,
        *,
        expires_in: timedelta,
        filename: str | None = None,
        method: UrlMethod = "GET",
        size: int | None = None,
        content_type: str | None = None,
    ) -> str:
        """See `StorageBackend.url`; always raises UnsupportedOperation."""
        del expires_in, filename, size, content_type
        keys.validate(key)
        checked_choice("method", method, URL_METHODS)
        self._reach("url.before")
        raise UnsupportedOperation("Memory storage has no presigned addresses; read objects with get().")

    def upload_headers(self, *, size: int | None = None, content_type: str | None = None) -> dict[str, str]:
        """See `StorageBackend.upload_headers`; always raises UnsupportedOperation."""
        del size, content_type
        raise UnsupportedOperation("Memory storage has no presigned addresses; store bytes with put().")

    def usage(self) -> Usage:
        """See `StorageBackend.usage`."""
        self._reach("usage.before")
        free = None if self._capacity_bytes is None else max(self._capacity_bytes - self._used_bytes(), 0)
        self._reach("usage.after")
        return Usage(total_bytes=self._capacity_bytes, free_bytes=free)

    def sweep_incomplete(self, older_than: timedelta, *, dry_run: bool = False) -> SweepReport:
        """See `StorageBackend.sweep_incomplete`; interrupted writes leave nothing in memory."""
        del older_than, dry_run
        self._reach("sweep_incomplete.before")
        self._reach("sweep_incomplete.after")
        return SweepReport(found=0, removed=0, found_bytes=0)

    def probe(self) -> Capabilities:
        """See `StorageBackend.probe`."""
        self._reach("probe.before")
        self._reach("probe.after")
        return Capabilities(
            conditional_create=True,
            verified_checksums=True,
            presigned_urls=False,
            notes=("Objects are lost when the process ends.",),
        )

    def _reach(self, step: str) -> None:
        with self._lock:
            fault = self._faults.get(step)
            if fault is None:
                return
            if fault.remaining is not None:
                fault.remaining -= 1
                if fault.remaining <= 0:
                    del self._faults[step]
        raise fault.error

    def _find(self, key: str) -> tuple[ObjectInfo, bytes]:
        try:
            return self._objects[key]
        except KeyError as error:
            raise ObjectNotFound(f"No object is stored under {key}.") from error

    def _used_bytes(self) -> int:
        with self._lock:
            return sum(info.size for info, _ in self._objects.values())

    def _check_free(self, key: str, size: int | None) -> None:
        if key in self._objects:
            raise ObjectExists(f"{key} is stored already; use a new key, objects are never replaced.")
        if self._capacity_bytes is not None and size is not None and self._used_bytes() + size > self._capacity_bytes:
            raise NoSpace(
                f"size: {size:,} bytes; {self._capacity_bytes - self._used_bytes():,} are free in the memory storage. "
                "Delete objects or raise capacity_bytes."
            )

    def _publish(self, verb: Literal["put", "copy"], key: str, data: bytes) -> ObjectInfo:
        self._reach(f"{verb}.after_bytes")
        info = ObjectInfo(key, len(data), hashlib.sha256(data).hexdigest(), datetime.now(UTC))
        with self._lock:
            self._check_free(key, len(data))
            self._objects[key] = (info, data)
        self._reach(f"{verb}.after")
        return info


def _do_nothing() -> None:
    """`on_close` of a window into memory."""
