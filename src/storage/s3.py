"""Storage in a bucket of Amazon S3 or of an S3-compatible server.

Guards that the server ignores are replaced by additional requests; where no server offers one, the docstring says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, get_args

from src.errors import (
    ConfigurationError,
    IntegrityFailure,
    InvalidInput,
    ObjectExists,
    ObjectNotFound,
    UnsupportedOperation,
)
from src.storage import keys, s3_marker
from src.storage.arguments import checked_choice, checked_content_type, checked_size, checked_window
from src.storage.content_disposition import content_disposition
from src.storage.contract import URL_METHODS, Capabilities, ObjectInfo, SweepReport, UrlMethod, Usage
from src.storage.s3_bucket import Bucket, StoredObject
from src.storage.s3_guards import PROBES, WriteGuards, observe
from src.storage.s3_listing import objects, uploaded_parts, uploads
from src.storage.s3_probe import encryption_headers, probe
from src.storage.s3_reader import ObjectReader
from src.storage.s3_upload import Uploader
from src.storage.streams import CHUNK_BYTES, Window, buffered

if TYPE_CHECKING:
    from pydantic import SecretStr

Encryption = Literal["AES256", "aws:kms", "aws:kms:dsse"]
"""The server-side encryption of new objects."""
_MAX_EXPIRES_IN = timedelta(days=7)  # the limit of signature version 4
_SHA256 = re.compile("[0-9a-f]{64}")
_AMAZON = WriteGuards(conditional_put=True, conditional_complete=True, checksums=True, metadata=True, server_copy=True)


class S3Storage:
    """A `StorageBackend` on S3; the constructor connects to nothing and does not import boto3 yet.

    `endpoint_url` names a compatible server, whose guards are observed before the first write. Without credentials
    boto3 searches as usual (environment, profile, role of the machine). Objects are encrypted by the rules of the
    bucket, or by `server_side_encryption` (`AES256`, `aws:kms`, `aws:kms:dsse`) and `kms_key_id`. The object of a key
    is stored at `prefix` + key. Directory buckets, which do not list in order, are not supported.

    Raises ConfigurationError for invalid settings; so does every operation for credentials or a bucket that the server
    rejects. In a bucket with versioning `delete` hides the object; the lifecycle rules or the object lock of the bucket
    determine when its bytes are removed.
    """

    def __init__(
        self,
        bucket: str,
        *,
        name: str = "s3",
        prefix: str = "",
        endpoint_url: str | None = None,
        region: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: SecretStr | None = None,
        session_token: SecretStr | None = None,
        server_side_encryption: Encryption | None = None,
        kms_key_id: str | None = None,
    ) -> None:
        self.name = name
        self._bucket = Bucket(
            bucket,
            prefix=prefix,
            endpoint_url=endpoint_url,
            region=region,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
        )
        self._encryption = _encryption(server_side_encryption, kms_key_id)
        self._guards = _AMAZON if endpoint_url is None else None
        self._url_refusal: str | None = None  # why the server rejects presigned addresses, if a probe found that
        self._uploader = Uploader(
            self._bucket,
            encryption=self._encryption,
            guards=self._known_guards,
            read_back=self._read_back,
        )

    def __repr__(self) -> str:
        return f"S3Storage({self._bucket.place}, prefix={self._bucket.prefix!r})"

    @property
    def location(self) -> dict[str, Any]:
        """See `MarkedBackend.location`."""
        return self._bucket.location

    def read_marker(self) -> bytes | None:
        """See `MarkedBackend.read_marker`; one request."""
        return s3_marker.read(self._bucket)

    def write_marker(self, content: bytes, *, replaces: bytes | None) -> None:
        """See `MarkedBackend.write_marker`; where the server ignores conditions, the later of two writers wins."""
        s3_marker.write(self._bucket, content, encryption=self._encryption, replaces=replaces)

    def put(
        self, key: str, source: BinaryIO | bytes, *, size: int | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        """See `StorageBackend.put`; one request up to 8 MiB, then parts of 8 MiB, three at a time.

        Without `size` the parts grow, up to 5 TiB in total; above 8 GiB pass `size`, or memory grows with the parts.
        `modified` is the time of this machine.
        """
        keys.validate(key)
        stored, sha256 = self._uploader.put(
            key, source, size=checked_size(size), content_type=checked_content_type(content_type)
        )
        return ObjectInfo(key, stored, sha256, datetime.now(UTC))

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See `StorageBackend.get`; requests 256 KiB after each seek, and more while reading is sequential."""
        keys.validate(key)
        offset, length = checked_window(offset, length)
        return self._open(self._bucket.head(key), key, offset, length)

    def head(self, key: str) -> ObjectInfo:
        """See `StorageBackend.head`; `sha256` is known for objects of one part and for copies."""
        keys.validate(key)
        found = self._bucket.head(key)
        return ObjectInfo(key, found.size, _recorded_sha256(found), found.modified)

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        """See `StorageBackend.list`; one request for each 1,000 objects, `sha256` is None."""
        bare = keys.validate_prefix(prefix)
        start = "" if after is None else keys.validate(after)
        return self._listed([bare] if bare else keys.AREAS, start)

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """See `StorageBackend.copy`; the server copies the bytes, which are then read once to compare them, or twice if
        they were put in parts. A copy that differs is visible until it is removed.
        """
        keys.validate(source_key)
        keys.validate(target_key)
        found = self._bucket.head(source_key)
        size = found.size
        sha256 = _recorded_sha256(found) or self._digest(found, source_key)[1]
        if self._known_guards().server_copy:
            self._uploader.copy(source_key, target_key, found, sha256)
        else:
            with self._open(found, source_key, 0, None) as source:
                self._uploader.put(target_key, source, size=size, content_type=found.content_type)
        if self._read_back(target_key) != (size, sha256):
            self._bucket.call("delete_object", target_key)
            raise IntegrityFailure(
                f"The copy of {source_key} differs from the original when read back; nothing was copied. Check "
                "whether the original still has the SHA-256 of its recording."
            )
        return ObjectInfo(target_key, size, sha256, datetime.now(UTC))

    def delete(self, key: str) -> bool:
        """See `StorageBackend.delete`; two concurrent calls for the same key may both return True."""
        keys.validate(key)
        try:
            self._bucket.head(key)
        except ObjectNotFound:
            return False
        self._bucket.call("delete_object", key)
        return True

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
        """See `StorageBackend.url`; works for at most 7 days, and no longer than the credentials that sign it.

        The response to a GET is always a download. A PUT must send `upload_headers(…)`: without `If-None-Match` the
        server rejects it, so that the address never replaces an object where the server applies conditions.
        """
        keys.validate(key)
        checked_choice("method", method, URL_METHODS)
        if not timedelta(seconds=1) <= expires_in <= _MAX_EXPIRES_IN:
            raise InvalidInput(
                f"expires_in: {expires_in}; at least 1 second, at most 7 days.",
                field="expires_in",
                value=expires_in,
                limit=1,
            )
        if self._url_refusal is not None:
            raise UnsupportedOperation(
                f"{self._bucket.place} rejects presigned addresses ({self._url_refusal}); use get() and put()."
            )
        if method == "GET":
            return self._sign("get_object", key, expires_in, ResponseContentDisposition=content_disposition(filename))
        parameters: dict[str, Any] = {"IfNoneMatch": "*", **self._encryption}
        parameters |= {} if content_type is None else {"ContentType": checked_content_type(content_type)}
        parameters |= {} if size is None else {"ContentLength": checked_size(size)}
        return self._sign("put_object", key, expires_in, **parameters)

    def upload_headers(self, *, size: int | None = None, content_type: str | None = None) -> dict[str, str]:
        """See `StorageBackend.upload_headers`; `If-None-Match` always, encryption where it is configured."""
        headers = {
            "If-None-Match": "*",
            "Content-Type": content_type,
            "Content-Length": None if size is None else str(size),
            **encryption_headers(self._encryption),
        }
        return {header: value for header, value in headers.items() if value is not None}

    def usage(self) -> Usage:
        """See `StorageBackend.usage`; None, since S3 does not report it and counting would list all objects."""
        return Usage(total_bytes=None, free_bytes=None)

    def sweep_incomplete(self, older_than: timedelta, *, dry_run: bool = False) -> SweepReport:
        """See `StorageBackend.sweep_incomplete`; aborts uploads without a new part for `older_than`.

        S3 cannot detect live writers. Uploads of this instance are kept, and of other processes those that sent a part
        within `older_than`: pass hours.
        """
        newest = datetime.now(UTC) - older_than
        found = removed = found_bytes = 0
        for key, upload, started in uploads(self._bucket):
            if not (keys.is_valid(key) or key.startswith(PROBES)):
                continue
            last, size = uploaded_parts(self._bucket, key, upload)
            if upload in self._uploader.in_progress or (last or started) > newest:
                continue
            found += 1
            found_bytes += size
            if not dry_run:
                self._abort_upload(key, upload)
                removed += 1
        return SweepReport(found=found, removed=removed, found_bytes=found_bytes)

    def probe(self) -> Capabilities:
        """See `StorageBackend.probe`; about fifty requests and 8 MiB, also to Amazon S3."""
        findings = probe(self._bucket, self._encryption, self._sign)
        self._guards = findings.guards
        self._url_refusal = findings.url_refusal
        return findings.capabilities

    def _known_guards(self) -> WriteGuards:
        if self._guards is None:
            self._guards = observe(self._bucket, self._encryption)
        return self._guards

    def _sign(self, operation: str, key: str, expires_in: timedelta, **parameters: Any) -> str:
        with self._bucket.failures(key):
            signed = self._bucket.client.generate_presigned_url(
                operation,
                Params={"Bucket": self._bucket.name, "Key": self._bucket.prefix + key, **parameters},
                ExpiresIn=int(expires_in.total_seconds()),
            )
        return str(signed)

    def _open(self, found: StoredObject, key: str, offset: int, length: int | None) -> BinaryIO:
        rest = max(found.size - offset, 0)
        window = rest if length is None else min(rest, length)
        reader = ObjectReader(self._bucket, key, found, end=offset + window)
        return buffered(Window(offset, window, reader.read_at, reader.close))

    def _read_back(self, key: str) -> tuple[int, str]:
        return self._digest(self._bucket.head(key), key)

    def _digest(self, found: StoredObject, key: str) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        with self._open(found, key, 0, None) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        return size, digest.hexdigest()

    def _listed(self, prefixes: Iterable[str], start: str) -> Iterator[ObjectInfo]:
        for prefix in prefixes:
            yield from (found for found in objects(self._bucket, f"{prefix}/", start) if keys.is_valid(found.key))

    def _abort_upload(self, key: str, upload: str) -> None:
        try:
            self._bucket.call("abort_multipart_upload", key, UploadId=upload)
        except (ObjectNotFound, ObjectExists):  # completed by its writer, or aborted by another sweep
            return


def _encryption(algorithm: Encryption | None, kms_key_id: str | None) -> dict[str, str]:
    if algorithm is not None and algorithm not in get_args(Encryption):
        raise ConfigurationError(
            f"S3_SERVER_SIDE_ENCRYPTION must be one of {', '.join(get_args(Encryption))}, or not set."
        )
    if kms_key_id is not None and (algorithm is None or algorithm == "AES256"):
        raise ConfigurationError("S3_KMS_KEY_ID needs S3_SERVER_SIDE_ENCRYPTION=aws:kms or aws:kms:dsse.")
    chosen = {"ServerSideEncryption": algorithm, "SSEKMSKeyId": kms_key_id}
    return {option: value for option, value in chosen.items() if value is not None}


def _recorded_sha256(found: StoredObject) -> str | None:
    sha256 = found.metadata.get("sha256", "")
    return sha256 if _SHA256.fullmatch(sha256) else None
