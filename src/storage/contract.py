"""The contract of storage backends; `src.storage.conformance` tests it for our own and for third-party backends.

A backend knows keys and bytes only; cases, users, rights and the log belong to the services. There is no rename,
mkdir, append or path: each is a race, missing on object stores, or a way around the guarantees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import BinaryIO, Literal, Protocol, get_args, runtime_checkable

UrlMethod = Literal["GET", "PUT"]
"""The HTTP method of a presigned address: GET downloads, PUT uploads."""
URL_METHODS: tuple[UrlMethod, ...] = get_args(UrlMethod)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object. `sha256` is 64 lowercase hex digits, or None where the backend would have to read every byte
    to compute it; `put` and `copy` always return it. `modified` has a time zone.
    """

    key: str
    size: int
    sha256: str | None
    modified: datetime


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of the whole storage, and bytes that can still be written; None where unknown."""

    total_bytes: int | None
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class SweepReport:
    """Interrupted writes that a sweep found, how many it removed, and their bytes."""

    found: int
    removed: int
    found_bytes: int


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Which guards the server was observed to honour.

    The guarantees of `StorageBackend` hold either way: the backend compensates for missing guards, at a cost.
    """

    conditional_create: bool
    """The server itself refuses to replace an object, also when two writers race."""
    verified_checksums: bool
    """The server compares a digest, or the write is local: written bytes need not be read back."""
    presigned_urls: bool
    object_versions: bool = False
    object_lock: bool = False
    notes: tuple[str, ...] = field(default=())
    """Sentences for the operator of the server: which guards are missing and what that costs."""


@runtime_checkable
class StorageBackend(Protocol):
    """The operations of a backend. All are synchronous and safe to call concurrently, from threads and processes.

    Every operation raises InvalidKey for anything that is not a key of `src.storage.keys`, before it accesses the
    storage; StorageUnavailable when the storage does not answer or may not be written; and ConfigurationError when it
    rejects the settings, where repeating does not help.
    """

    @property
    def name(self) -> str:
        """The name stored in the rows of recordings: it must never change for a storage."""
        ...

    def put(
        self, key: str, source: BinaryIO | bytes, *, size: int | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        """Store the rest of `source` under a key that no object has.

        On return the bytes survive a power failure; before that they are invisible to readers; after an error or a kill
        the key has all of them or none. SHA-256 is computed in the same pass, and memory does not grow with the size.
        With `size` in bytes, a full device is detected before the first read. `content_type` is stored by backends with
        presigned addresses.

        Raises ObjectExists, NoSpace, StorageUnavailable; IntegrityFailure when `source` does not hold exactly `size`
        bytes; InvalidInput when it is not binary; and the exceptions of `source.read`, unchanged.
        """
        ...

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> BinaryIO:
        """A seekable, read-only stream of `length` bytes from `offset` on, both cut at the end of the object.

        Position 0 of the stream is `offset`. Close it, best with `with`. Memory does not grow with the window.
        Raises ObjectNotFound, IntegrityFailure when the key is not a regular object, InvalidInput for negative numbers.
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """Size and time without the bytes. Raises ObjectNotFound."""
        ...

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        """Every object below `prefix`, in ascending order of the bytes of keys, starting after the key `after`.

        `prefix` is empty or whole components (`cases`, `cases/12`, optionally with a final slash). Pass the last key
        as `after` to continue later. Objects added or removed in the meantime may or may not be listed; all others are.
        Files with a name that is not a key are not objects and are not listed.
        """
        ...

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """Store a second copy that shares no bytes with the first; it has been read back and compared on return.

        A copy that differs is removed; where the backend can, it never becomes visible.
        A damaged source is not always detected: compare the returned `sha256` with the recorded one.
        Create-only, atomic and durable like `put`. Raises ObjectNotFound, ObjectExists, NoSpace, IntegrityFailure.
        """
        ...

    def delete(self, key: str) -> bool:
        """Remove the object; return False when it did not exist.

        Permanent on return, unless `probe` reports that versions are kept: lifecycle rules of the bucket remove those.
        """
        ...

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
        """A presigned address that works without credentials until it expires. Raises UnsupportedOperation.

        The response to a GET is a download named `filename`, never a page to display. A PUT stores exactly `size` bytes
        of `content_type` where they are given, and never replaces an object; its client sends the headers of
        `upload_headers`. Raises InvalidInput for another method.
        """
        ...

    def upload_headers(self, *, size: int | None = None, content_type: str | None = None) -> dict[str, str]:
        """The headers of a PUT to the `url` of the same size and type. Raises UnsupportedOperation."""
        ...

    def usage(self) -> Usage:
        """Return how full the storage is; cheap, since no objects are counted."""
        ...

    def sweep_incomplete(self, older_than: timedelta, *, dry_run: bool = False) -> SweepReport:
        """Remove remains of interrupted writes that are idle for `older_than` or longer; never those of a live writer.

        Where the storage cannot detect live writers, a writer of another process counts as dead when it pauses that
        long. Complete objects are never removed.
        """
        ...

    def probe(self) -> Capabilities:
        """Do with temporary objects what real work does: put, read whole and in part, copy, list, delete.

        Raises StorageUnavailable or ConfigurationError, with the reason of the server, when one of these is not
        possible; what the backend compensates for is in the notes.
        """
        ...
