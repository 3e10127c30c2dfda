"""What a place for bytes promises: every backend, ours or a third party's, passes `src.storage.conformance`.

A backend knows keys and bytes only. Cases, people, rights and the log live in the services above it. There is no
rename, mkdir, append or path here: each is a race, absent on object stores, or a way around these promises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import BinaryIO, Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object. `sha256` is 64 lowercase hex digits, or None where the backend would have to read every byte
    to know it; `put` and `copy` always know it. `modified` carries a time zone.
    """

    key: str
    size: int
    sha256: str | None
    modified: datetime


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes that the storage holds in all, and bytes that this program may still write; None where nobody knows."""

    total_bytes: int | None
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep of interrupted writes found, how much of it is gone now, and the bytes that lay in what it found."""

    found: int
    removed: int
    found_bytes: int


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this very server was seen to honour, which is not always what it was asked for.

    The promises of `StorageBackend` hold either way: what a server ignores, its backend makes up for, slower.
    """

    conditional_create: bool
    """The server itself refuses to replace an object, even when two writers race."""
    verified_checksums: bool
    """What arrives is what was hashed (the server compares, or nothing lies between), so it need not be read back."""
    presigned_urls: bool
    object_versions: bool = False
    object_lock: bool = False
    notes: tuple[str, ...] = field(default=())
    """Sentences for the person who runs the server: what is missing and what it costs."""


@runtime_checkable
class StorageBackend(Protocol):
    """The eleven verbs. All are synchronous and safe to call from several threads and processes at once.

    Every verb raises InvalidKey for anything that is not a key of `src.storage.keys`, before it touches the storage,
    StorageUnavailable when the storage does not answer or may not be written, and ConfigurationError when it refuses
    the settings, which trying again will not mend.
    """

    @property
    def name(self) -> str:
        """What the row of a recording remembers: the same storage must carry the same name for ever."""
        ...

    def put(
        self, key: str, source: BinaryIO | bytes, *, size: int | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        """Store the rest of `source` under a key that no object has.

        When it returns, the bytes survive a power cut; before that, no reader sees any of them; after an error or a
        kill the key holds all of them or nothing. SHA-256 is taken in the same pass and memory does not grow with the
        size. `size` in bytes lets a full device refuse before the first read. `content_type` is kept by backends that
        hand objects out by themselves.

        Raises ObjectExists, NoSpace, StorageUnavailable; IntegrityFailure when `source` does not hold exactly `size`
        bytes; InvalidInput when it is not binary; and whatever `source.read` raises, as it is.
        """
        ...

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> BinaryIO:
        """A seekable, read-only stream of `length` bytes from `offset` on, both cut at the end of the object.

        Position 0 of the stream is `offset`. Close it, best with `with`. Memory does not grow with the window.
        Raises ObjectNotFound, IntegrityFailure when something else lies there, InvalidInput for a negative number.
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """Size and time without the bytes. Raises ObjectNotFound."""
        ...

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        """Every object below `prefix`, in ascending order of the key's bytes, from the first key behind `after` on.

        `prefix` is empty or whole components (`cases`, `cases/12`, one slash at the end allowed). Give the last key
        seen as `after` to go on later. Objects that come or go meanwhile may or may not be seen; all others are.
        What lies there under a name that is no key is not an object and is not listed.
        """
        ...

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """Store a second copy that shares no bytes with the first, read back and compared when this returns.

        What differs is removed; where the backend can, it never becomes visible.
        A source that is damaged is not always noticed: compare the `sha256` returned with the one you remember.
        Create-only, atomic and durable like `put`. Raises ObjectNotFound, ObjectExists, NoSpace, IntegrityFailure.
        """
        ...

    def delete(self, key: str) -> bool:
        """Remove the object; False when there was none, which is no error.

        For good when it returns, unless `probe` says that versions are kept: those go by the rules of their owner.
        """
        ...

    def url(
        self,
        key: str,
        *,
        expires_in: timedelta,
        filename: str | None = None,
        method: Literal["GET", "PUT"] = "GET",
        size: int | None = None,
        content_type: str | None = None,
    ) -> str:
        """A presigned address that works without credentials until it expires. Raises UnsupportedOperation.

        A GET downloads under `filename`, whatever it holds. A PUT stores exactly `size` bytes of `content_type` where
        they are given, and never replaces an object; its client sends the headers of `upload_headers`.
        """
        ...

    def upload_headers(self, *, size: int | None = None, content_type: str | None = None) -> dict[str, str]:
        """What a client sends with a PUT to the `url` of the same size and type. Raises UnsupportedOperation."""
        ...

    def usage(self) -> Usage:
        """How full the storage is; counts no objects, so it is cheap."""
        ...

    def sweep_incomplete(self, older_than: timedelta, *, dry_run: bool = False) -> SweepReport:
        """Remove what interrupted writes left, idle for `older_than` or longer; never what a live writer still fills.

        Where the storage does not know who lives, a writer of another process is taken for dead when it pauses that
        long. Complete objects are never touched.
        """
        ...

    def probe(self) -> Capabilities:
        """Try the storage out: really writes, and leaves nothing behind. Raises StorageUnavailable when it is unfit."""
        ...
