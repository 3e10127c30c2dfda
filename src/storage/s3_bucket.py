"""A bucket: one client for each process, requests with translated errors, and reading objects in ranges."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from src.errors import ConfigurationError, IntegrityFailure, ObjectExists, StorageUnavailable
from src.storage.s3_client import failures, open_client, status_of, storage_error

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from pydantic import SecretStr

_PREFIX = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}/)*")
# Requested at first and after every seek; doubled while reading is sequential.
_FIRST_REQUEST_BYTES = 256 * 1024
_MAX_REQUEST_BYTES = 32 * 1024 * 1024
_ATTEMPTS = 5  # without a byte, before reading fails


class Bucket:
    """The objects below `prefix` of one bucket, addressed by their keys; the constructor sends no request.

    Raises ConfigurationError for invalid settings.
    """

    def __init__(
        self,
        name: str,
        *,
        prefix: str,
        endpoint_url: str | None,
        region: str | None,
        access_key_id: str | None,
        secret_access_key: SecretStr | None,
        session_token: SecretStr | None,
    ) -> None:
        if not name:
            raise ConfigurationError("S3 storage needs a bucket; set S3_BUCKET.")
        if (access_key_id is None) != (secret_access_key is None):
            raise ConfigurationError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: set both or neither.")
        if any(isinstance(secret, str) for secret in (secret_access_key, session_token)):
            raise ConfigurationError(
                "secret_access_key and session_token: pass pydantic.SecretStr, which logs do not show."
            )
        self.name = name
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        if not _PREFIX.fullmatch(self.prefix):
            raise ConfigurationError(
                "S3_PREFIX: use letters, digits, '.', '_' and '-'; at most 100 characters between slashes."
            )
        self.place = f"Bucket {name!a}" + (f" at {_host(endpoint_url)}" if endpoint_url else "")
        self._options: dict[str, Any] = {
            "endpoint_url": endpoint_url,
            "region": region,
            "access_key_id": access_key_id,
            "secret_access_key": secret_access_key,
            "session_token": session_token,
        }
        self.location = {
            "bucket": name,
            "prefix": self.prefix.removesuffix("/"),
            "endpoint_url": endpoint_url,
            "region": region,
        }
        self._clients: dict[int, Any] = {}

    @property
    def client(self) -> Any:
        """The boto3 client of this process. Raises ConfigurationError, PackageMissing."""
        process = os.getpid()
        client = self._clients.get(process)
        if client is None:
            client = open_client(**self._options)
            # On a connection inherited by a fork, parent and child would read each other's responses.
            self._clients = {process: client}
        return client

    def call(self, operation: str, key: str | None = None, **parameters: Any) -> Any:
        """Send one request, about the object `key` if given, and return the response of boto3."""
        client = self.client
        if key is not None:
            parameters["Key"] = self.prefix + key
        with self.failures(key):
            return getattr(client, operation)(Bucket=self.name, **parameters)

    def head(self, key: str) -> Any:
        """Return the response to HEAD. Raises ObjectNotFound; ConfigurationError when the bucket does not exist."""
        client = self.client
        try:
            return client.head_object(Bucket=self.name, Key=self.prefix + key)
        except failures() as error:
            if status_of(error) in {403, 404}:
                # A response to HEAD has no body: a missing bucket looks like a missing object, a wrong secret like a
                # missing permission. Listing distinguishes them.
                self.call("list_objects_v2", Prefix=self.prefix + key, MaxKeys=1)
            raise storage_error(error, self.place, key) from error

    @contextmanager
    def failures(self, key: str | None) -> Iterator[None]:
        """Translate errors of boto3 in the body into those of `src.errors`."""
        try:
            yield
        except failures() as error:
            raise storage_error(error, self.place, key) from error


def _host(endpoint_url: str) -> str:
    try:
        parts = urlsplit(endpoint_url)
        valid = parts.scheme in {"http", "https"} and parts.hostname
    except ValueError:
        valid = None
    if not valid:
        raise ConfigurationError("S3_ENDPOINT_URL is not the address of a server; set it to https://HOST:PORT.")
    if "@" in parts.netloc:
        raise ConfigurationError(
            "S3_ENDPOINT_URL must not contain credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    return parts.netloc


class ObjectReader:
    """Reads the object with that ETag, up to `end`, by range requests; holds at most one connection.

    After a broken connection, reading continues at the same position on a new one.
    """

    def __init__(self, bucket: Bucket, key: str, *, end: int, etag: str) -> None:
        self._bucket = bucket
        self._key = key
        self._end = end
        self._etag = etag
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
        try:
            response = self._bucket.call(
                "get_object", self._key, Range=f"bytes={position}-{until - 1}", IfMatch=self._etag
            )
        except ObjectExists as error:  # how `storage_error` translates a failed condition, here IfMatch
            raise IntegrityFailure(
                f"{self._key} was replaced while it was read; find out which program replaced it."
            ) from error
        if response["ContentLength"] != until - position:
            response["Body"].close()
            raise StorageUnavailable(f"{self._bucket.place} ignores range requests; use a server that supports them.")
        self._body, self._position, self._until, self._process = response["Body"], position, until, os.getpid()

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
