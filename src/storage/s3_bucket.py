"""A bucket: one client for each process, and requests with translated errors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from src.errors import ConfigurationError, SpeechError, StorageUnavailable
from src.storage.s3_client import open_client
from src.storage.s3_errors import failures, lacks_reason, missing_field, status_of, storage_error

if TYPE_CHECKING:
    from pydantic import SecretStr

_PREFIX = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}/)*")
# HEAD answers these without a reason: the body of the same GET has it. A failed condition needs none.
_UNEXPLAINED = set(range(300, 500)) - {HTTPStatus.PRECONDITION_FAILED}


@dataclass(frozen=True, slots=True)
class StoredObject:
    """The response to HEAD. `etag` is None on servers that send none."""

    size: int
    modified: datetime
    etag: str | None
    content_type: str | None
    metadata: dict[str, str]


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
        if key is not None:
            parameters["Key"] = self.prefix + key
        with self.failures(key):
            return self._send(operation, parameters)

    def field(self, response: Any, operation: str, name: str) -> Any:
        """Return that field of a response. Raises StorageUnavailable when the server did not send it."""
        value = response.get(name)
        if value is None:
            raise missing_field(self.place, operation, name)
        return value

    def etag(self, response: Any) -> str | None:
        """Return the ETag of a response; None when the server sent none, or an empty one."""
        value = str(response.get("ETag") or "")
        return value if value.strip('"') else None

    def head(self, key: str) -> StoredObject:
        """Return size, time and metadata. Raises ObjectNotFound; ConfigurationError when the bucket does not exist."""
        client = self.client
        try:
            found = client.head_object(Bucket=self.name, Key=self.prefix + key)
        except failures() as error:
            if status_of(error) in _UNEXPLAINED:
                self._ask_for_the_reason(key)
            raise storage_error(error, self.place, key, bodiless=True) from error
        return StoredObject(
            self.field(found, "HEAD", "ContentLength"),
            self.field(found, "HEAD", "LastModified"),
            self.etag(found),
            found.get("ContentType"),
            found.get("Metadata", {}),
        )

    def request(self, method: str, address: str, headers: dict[str, str] | None = None, data: bytes = b"") -> bytes:
        """Send a request to a presigned address, without credentials, and return the body of the response."""
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - an optional package, slow to load

        with self.failures(None):
            prepared = AWSRequest(method, address, headers or {}, data or None).prepare()
            # The session of the client, so that certificates and proxies are those of all other requests.
            response = self.client._endpoint.http_session.send(prepared)  # noqa: SLF001 - boto3 has no public name
            content = bytes(response.content)
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            code = re.search(rb"<Code>([A-Za-z0-9]{1,60})</Code>", content)
            raise StorageUnavailable(
                f"{self.place} answers a presigned {method} with {response.status_code}"
                f" {code[1].decode() if code else 'and no code of S3'}."
            )
        return content

    def _ask_for_the_reason(self, key: str) -> None:
        """Raise the error of a GET: a response to HEAD has no body.

        Without it a missing bucket looks like a missing object, and an expired token like an invalid request.
        """
        try:
            found = self._send("get_object", {"Key": self.prefix + key, "Range": "bytes=0-0"})
            found["Body"].close()
        except failures() as error:
            if status_of(error) != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # an empty object
                raise storage_error(error, self.place, key) from error

    def _send(self, operation: str, parameters: dict[str, Any]) -> Any:
        send = getattr(self.client, operation)
        try:
            return send(Bucket=self.name, **parameters)
        except failures() as error:
            if not lacks_reason(error):
                raise
            # Where the connection broke within the document of an error, the second response has it.
            return send(Bucket=self.name, **parameters)

    @contextmanager
    def failures(self, key: str | None) -> Iterator[None]:
        """Translate errors of boto3 in the body into those of `src.errors`."""
        try:
            yield
        except SpeechError:  # some are also a ValueError
            raise
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
