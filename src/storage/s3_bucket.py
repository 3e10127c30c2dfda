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
FIRST_BYTES = 256 * 1024
MOST_BYTES = 32 * 1024 * 1024
_ATTEMPTS = 5  # in a row that bring no byte


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
            raise ConfigurationError("Set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or none of them.")
        if any(isinstance(secret, str) for secret in (secret_access_key, session_token)):
            raise ConfigurationError("Give secrets as pydantic.SecretStr, so that no log ever shows them.")
        self.name = name
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        if not _PREFIX.fullmatch(self.prefix):
            raise ConfigurationError("S3_PREFIX may hold letters, digits, '.', '_' and '-', and slashes between.")
        self.place = f"Bucket {name!a}" + (f" at {_host(endpoint_url)}" if endpoint_url else "")
        self._options: dict[str, Any] = {
            "endpoint_url": endpoint_url,
            "region": region,
            "access_key_id": access_key_id,
            "secret_access_key": secret_access_key,
            "session_token": session_token,
        }
        self._clients: dict[int, Any] = {}

    @property
    def client(self) -> Any:
        """boto3's client of this process. Raises ConfigurationError, PackageMissing."""
        process = os.getpid()
        client = self._clients.get(process)
        if client is None:
            client = open_client(**self._options)
            # On a connection that a fork inherited, parent and child would read each other's answers.
            self._clients = {process: client}
        return client

    def call(self, operation: str, key: str | None = None, **parameters: Any) -> Any:
        """Send one request, about the object `key` if given, and return boto3's answer."""
        client = self.client
        if key is not None:
            parameters["Key"] = self.prefix + key
        with self.failures(key):
            return getattr(client, operation)(Bucket=self.name, **parameters)

    def head(self, key: str) -> Any:
        """Return the server's metadata of the object. Raises ObjectNotFound, and ConfigurationError without bucket."""
        client = self.client
        try:
            return client.head_object(Bucket=self.name, Key=self.prefix + key)
        except failures() as error:
            if status_of(error) in {403, 404}:
                # The answer to HEAD has no body: a missing bucket looks like a missing object, a wrong secret like a
                # missing right. Listing distinguishes them.
                self.call("list_objects_v2", Prefix=self.prefix + key, MaxKeys=1)
            raise storage_error(error, self.place, key) from error

    @contextmanager
    def failures(self, key: str | None) -> Iterator[None]:
        """Turn boto3's errors of the body into those of the tree."""
        try:
            yield
        except failures() as error:
            raise storage_error(error, self.place, key) from error


def _host(endpoint_url: str) -> str:
    try:
        parts = urlsplit(endpoint_url)
        known = parts.scheme in {"http", "https"} and parts.hostname
    except ValueError:
        known = None
    if not known:
        raise ConfigurationError("S3_ENDPOINT_URL is not the address of a server; write https://host:port.")
    if "@" in parts.netloc:
        raise ConfigurationError("S3_ENDPOINT_URL must not hold credentials; set AWS_ACCESS_KEY_ID and its secret.")
    return parts.netloc


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
        # The connection of a parent process stays open.
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
        except ObjectExists as error:  # the translation of a failed condition, which is about writing
            raise IntegrityFailure(
                f"{self._key} was replaced by another object; find out which program did it."
            ) from error
        if answer["ContentLength"] != until - position:
            answer["Body"].close()
            raise StorageUnavailable(f"{self._bucket.place} ignores range requests; use a server that supports them.")
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
