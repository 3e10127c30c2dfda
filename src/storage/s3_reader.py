"""Reading an object of S3 in ranges, with retries, and never a mixture of two objects."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from src.errors import IntegrityFailure, ObjectExists, StorageUnavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from src.storage.s3_bucket import Bucket, StoredObject

# Requested at first and after every seek; doubled while reading is sequential.
_FIRST_REQUEST_BYTES = 256 * 1024
_MAX_REQUEST_BYTES = 32 * 1024 * 1024
_ATTEMPTS = 5  # without a byte, before reading fails


class ObjectReader:
    """Reads the object that HEAD found, up to `end`, by range requests; holds at most one connection.

    After a broken connection, reading continues at the same position on a new one. On servers without ETags the size
    and the time of the object show whether it was replaced meanwhile.
    """

    def __init__(self, bucket: Bucket, key: str, found: StoredObject, *, end: int) -> None:
        self._bucket = bucket
        self._key = key
        self._end = end
        self._found = found
        self._body: Any = None
        self._position = -1  # of the next byte of the body
        self._until = -1
        self._ahead = _FIRST_REQUEST_BYTES
        self._process = os.getpid()

    def read_at(self, buffer: WriteableBuffer, position: int) -> int:
        """Fill the buffer from that position on and return the number of bytes, at least 1 before the end.

        Raises ObjectNotFound when the object was removed, IntegrityFailure when it was replaced, StorageUnavailable.
        """
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        last_error: StorageUnavailable | None = None
        for _ in range(_ATTEMPTS):
            if self._body is None or self._position != position or self._process != os.getpid():
                self._request(position, len(view))
            try:
                return self._read_body(view)
            except StorageUnavailable as error:
                last_error = error
                self.close()
        raise StorageUnavailable(
            f"{self._bucket.place} closed the connection {_ATTEMPTS} times while {self._key} was read; try again."
        ) from last_error

    def close(self) -> None:
        """Close the connection."""
        # The connection of a parent process stays open.
        if self._body is not None and self._process == os.getpid():
            self._body.close()
        self._body = None

    def _request(self, position: int, size: int) -> None:
        self._ahead = min(self._ahead * 2, _MAX_REQUEST_BYTES) if position == self._until else _FIRST_REQUEST_BYTES
        self.close()
        until = min(position + max(size, self._ahead), self._end)
        found = self._found
        condition = {"IfMatch": found.etag} if found.etag else {}
        try:
            response = self._bucket.call("get_object", self._key, Range=f"bytes={position}-{until - 1}", **condition)
        except ObjectExists as error:  # how `storage_error` translates a failed condition
            raise self._replaced() from error
        try:
            self._check(response, position, until)
        except BaseException:
            response["Body"].close()
            raise
        self._body, self._position, self._until, self._process = response["Body"], position, until, os.getpid()

    def _check(self, response: Any, position: int, until: int) -> None:
        """Raise unless the response has those bytes of the object that HEAD found."""
        etag, total = self._bucket.etag(response), str(response.get("ContentRange", "")).rpartition("/")[2]
        if (
            # Some servers ignore conditions.
            (self._found.etag and etag and etag != self._found.etag)
            or (total.isdigit() and int(total) != self._found.size)
            or (not self._found.etag and response.get("LastModified", self._found.modified) != self._found.modified)
        ):
            raise self._replaced()
        if self._bucket.field(response, "GET", "ContentLength") != until - position:
            raise StorageUnavailable(f"{self._bucket.place} ignores range requests; use a server that supports them.")

    def _replaced(self) -> IntegrityFailure:
        return IntegrityFailure(f"{self._key} was replaced while it was read; find out which program replaced it.")

    def _read_body(self, view: memoryview) -> int:
        with self._bucket.failures(self._key):
            count = int(self._body.readinto(view[: self._until - self._position]))
            if count == 0:
                raise StorageUnavailable(
                    f"{self._bucket.place} sent fewer bytes of {self._key} than announced; try again."
                )
            self._position += count
            if self._position == self._until:
                self._body.read()  # no bytes are left; reading the end returns the connection to the pool
                self._body = None
        return count
