"""A bucket and the way to it: one client for each process, every failure an error of the tree."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from src.errors import ConfigurationError
from src.storage.s3_client import open_client
from src.storage.s3_errors import failures, status_of, storage_error

if TYPE_CHECKING:
    from pydantic import SecretStr

_PREFIX = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}/)*")


class Bucket:
    """The objects below `prefix` of one bucket, named by their keys; the constructor asks nobody.

    Raises ConfigurationError for settings that cannot be right.
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
        """Ask for one operation, on the object `key` if it concerns one, and return boto3's answer."""
        client = self.client
        if key is not None:
            parameters["Key"] = self.prefix + key
        with self.failures(key):
            return getattr(client, operation)(Bucket=self.name, **parameters)

    def head(self, key: str) -> Any:
        """What the server knows about the object. Raises ObjectNotFound, and ConfigurationError without bucket."""
        client = self.client
        try:
            return client.head_object(Bucket=self.name, Key=self.prefix + key)
        except failures() as error:
            if status_of(error) in {403, 404}:
                # The answer to HEAD has no body: "no such bucket" looks like "no such object" and would read like a
                # loss, a wrong secret looks like a missing right. Listing tells them apart.
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
        raise ConfigurationError("S3_ENDPOINT_URL is no address of a server; write https://host:port.")
    if "@" in parts.netloc:
        raise ConfigurationError("S3_ENDPOINT_URL must not hold credentials; set AWS_ACCESS_KEY_ID and its secret.")
    return parts.netloc
