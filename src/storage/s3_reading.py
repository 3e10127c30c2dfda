"""Reading an object of S3 in pieces that are asked for one after the other, so that a seek wastes next to nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from src.errors import IntegrityFailure, ObjectExists, StorageUnavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from src.storage.s3_bucket import Bucket

# Asked for at first and after every jump; doubled while the reader goes straight on.
FIRST_BYTES = 256 * 1024
MOST_BYTES = 32 * 1024 * 1024
_ATTEMPTS = 5  # in a row that bring no byte


class ObjectReader:
    """Fills buffers from the object that has that ETag, up to `end`; holds one connection while it has to.

    A connection that breaks on the way is replaced and reading goes on where it stopped.
    """

    def __init__(self, bucket: Bucket, key: str, *, end: int, etag: str) -> None:
        self._bucket = bucket
        self._key = key
        self._end = end
        self._etag = etag
        self._body: Any = None
        self._position = -1  # of the next byte of the body
        self._until = -1
        self._ahead = FIRST_BYTES
        self._process = os.getpid()

    def read_at(self, buffer: WriteableBuffer, position: int) -> int:
        """Fill the buffer from that position on and return the count, at least 1 before the end.

        Raises ObjectNotFound or IntegrityFailure when the object is gone or another one, StorageUnavailable.
        """
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        broken: StorageUnavailable | None = None
        for _ in range(_ATTEMPTS):
            if self._body is None or self._position != position or self._process != os.getpid():
                self._ask(position, len(view))
            try:
                return self._take(view)
            except StorageUnavailable as error:
                broken = error
                self.close()
        raise StorageUnavailable(
            f"{self._bucket.place} broke off {_ATTEMPTS} times while {self._key} was read; try again."
        ) from broken

    def close(self) -> None:
        """Give the connection up."""
        # The connection of a parent process is not ours to end.
        if self._body is not None and self._process == os.getpid():
            self._body.close()
        self._body = None

    def _ask(self, position: int, wanted: int) -> None:
        self._ahead = min(self._ahead * 2, MOST_BYTES) if position == self._until else FIRST_BYTES
        self.close()
        until = min(position + max(wanted, self._ahead), self._end)
        try:
            answer = self._bucket.call(
                "get_object", self._key, Range=f"bytes={position}-{until - 1}", IfMatch=self._etag
            )
        except ObjectExists as error:  # what a condition that does not hold means when writing
            raise IntegrityFailure(f"{self._key} is another object by now; look who replaced it.") from error
        if answer["ContentLength"] != until - position:
            answer["Body"].close()
            raise StorageUnavailable(f"{self._bucket.place} ignores ranges; use a server that honours them.")
        self._body, self._position, self._until, self._process = answer["Body"], position, until, os.getpid()

    def _take(self, view: memoryview) -> int:
        with self._bucket.failures(self._key):
            count = int(self._body.readinto(view[: self._until - self._position]))
            if count == 0:
                raise StorageUnavailable(f"{self._bucket.place} sent less of {self._key} than it announced; try again.")
            self._position += count
            if self._position == self._until:
                self._body.read()  # nothing is left, but only now does the connection go back to the pool
                self._body = None
        return count
