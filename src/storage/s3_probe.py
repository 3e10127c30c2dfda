"""The probe of a bucket: everything that real work does, with temporary objects below `.probe/`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from src.errors import (
    ObjectNotFound,
    SpeechError,
    StorageError,
    StorageUnavailable,
    Unavailable,
    UnsupportedOperation,
)
from src.storage.content_disposition import content_disposition
from src.storage.contract import Capabilities
from src.storage.s3_guards import DATA, PROBES, WriteGuards, observe, remove
from src.storage.s3_listing import objects, uploaded_parts, uploads
from src.storage.s3_parts import PART_BYTES
from src.storage.s3_reader import ObjectReader
from src.storage.s3_upload import Uploader

if TYPE_CHECKING:
    from src.storage.s3_bucket import Bucket, StoredObject

_NO_CONDITIONS = (
    "The server ignores the condition not to replace objects ({where}). Every write checks first whether its key is "
    "free; of two writers that check at the same moment the later one wins, so never write one key twice."
)
_NO_CHECKSUMS = (
    "The server accepts bytes that do not match their SHA-256. Every write compares the ETag of the server instead, "
    "or reads the object back where the ETag is not an MD5."
)
_NO_ETAGS = (
    "The server sends no ETag of stored objects. Size and time of an object show whether it was replaced while it was "
    "read, to the second; configure the server to keep ETags (a JuiceFS gateway: --keep-etag)."
)
_NO_METADATA = (
    "The server does not keep metadata of objects. After a lost response an object is read back to see whether it was "
    "stored, and copies read their source twice."
)
_NO_SERVER_COPY = "The server does not copy parts of objects (UploadPartCopy): copies pass through this machine."
_VERSIONS = (
    "The bucket keeps versions: delete() hides an object; its bytes remain, and cost, until a lifecycle rule for "
    "noncurrent versions removes them."
)
_SUSPENDED = (
    "Versioning of the bucket is suspended: objects written before remain as versions when they are deleted, until a "
    "lifecycle rule for noncurrent versions removes them."
)
_LOCK = "The bucket has object lock: versions under retention or legal hold cannot be removed before their time."
_RETENTION = (
    "The bucket has a default retention ({rule}): delete() hides objects, and their bytes remain for that time. So do "
    "objects of the probe."
)
_NO_UPLOADS = (
    "Unfinished uploads cannot be listed ({reason}), so that sweep_incomplete() fails; let a lifecycle rule of the "
    "bucket abort them (AbortIncompleteMultipartUpload)."
)
_NO_URLS = "Presigned addresses are rejected ({reason}); url() raises UnsupportedOperation."


@dataclass(frozen=True, slots=True)
class Findings:
    """The results of a probe. `versions` and `lock` are None where the credentials may not read them."""

    guards: WriteGuards
    etags: bool
    versions: str | None
    lock: bool | None
    retention: str | None
    url_refusal: str | None
    uploads_refusal: str | None
    left: str | None

    @property
    def capabilities(self) -> Capabilities:
        """The findings as the capabilities of the contract."""
        guards = self.guards
        ignored = [
            name
            for name, applied in (
                ("PutObject", guards.conditional_put),
                ("CompleteMultipartUpload", guards.conditional_complete),
            )
            if not applied
        ]
        notes = {
            _NO_CONDITIONS.format(where=", ".join(ignored)): bool(ignored),
            _NO_CHECKSUMS: not guards.checksums,
            _NO_ETAGS: not self.etags,
            _NO_METADATA: not guards.metadata,
            _NO_SERVER_COPY: not guards.server_copy,
            _VERSIONS: self.versions == "Enabled",
            _SUSPENDED: self.versions == "Suspended",
            _LOCK: self.lock,
            _RETENTION.format(rule=self.retention): self.retention is not None,
            "The credentials may not read whether the bucket keeps versions (s3:GetBucketVersioning).": self.versions
            is None,
            "The credentials may not read object lock (s3:GetBucketObjectLockConfiguration).": self.lock is None,
            _NO_URLS.format(reason=self.url_refusal): self.url_refusal is not None,
            _NO_UPLOADS.format(reason=self.uploads_refusal): self.uploads_refusal is not None,
            f"Objects of the probe below {PROBES} could not be removed ({self.left}); a lifecycle rule can.": self.left
            is not None,
        }
        return Capabilities(
            conditional_create=not ignored,
            verified_checksums=guards.checksums,
            presigned_urls=self.url_refusal is None,
            object_versions=bool(self.versions),
            object_lock=bool(self.lock),
            notes=tuple(note for note, holds in notes.items() if holds),
        )


def probe(bucket: Bucket, encryption: Mapping[str, str], sign: Callable[..., str]) -> Findings:
    """Do everything that real work does, about fifty requests and 8 MiB.

    Raises StorageUnavailable or ConfigurationError, with the reason of the server, when the bucket is unusable.
    """
    folder = f"{PROBES}{uuid4()}/"
    lock, retention = _lock(bucket)
    guards = observe(bucket, encryption)
    work = _Work(bucket, encryption, guards)
    # Ordered by the bytes of the keys; 1/, 10/, 2/ are the folders of cases.
    one, large, copied, sent = (f"{folder}{name}/{uuid4()}" for name in ("1", "10", "2", "3"))
    try:
        found = work.write_and_read(one)
        # Under a retention every object of every probe remains, so it is a small one.
        work.write_in_parts(large, 0 if retention else PART_BYTES)
        work.copy(one, copied, found)
        url_refusal = work.use_addresses(one, sent, sign)
        work.list_in_order(folder, [one, large, copied, *([] if url_refusal else [sent])])
        uploads_refusal = work.find_upload(one)
        work.delete(one)
        etags = found.etag is not None
    finally:
        left = None
        try:
            remove(bucket, one, large, copied, sent)
        except SpeechError as error:  # reported in the findings, unless another error is being raised
            left = str(error).rstrip(".")
    return Findings(guards, etags, _versions(bucket), lock, retention, url_refusal, uploads_refusal, left)


@dataclass(frozen=True, slots=True)
class _Work:
    bucket: Bucket
    encryption: Mapping[str, str]
    guards: WriteGuards

    def write_and_read(self, key: str) -> StoredObject:
        """Put a small object as real work does, and read it back whole and in part."""
        self.uploader.put(key, DATA, size=len(DATA), content_type="audio/wav")
        found = self.bucket.head(key)
        if found.size != len(DATA) or self._read(key, found, 0, found.size) != DATA:
            raise self._differs("a small object")
        if self._read(key, found, 3, 7) != DATA[3:7]:
            raise self._differs("a range of an object")
        return found

    def write_in_parts(self, key: str, part_bytes: int) -> None:
        """Put an object of two parts, the first of real size, and read across their border."""
        data = bytes(part_bytes) + DATA
        self.uploader.put_parts(key, data, content_type="audio/wav")
        found = self.bucket.head(key)
        start = max(part_bytes - 3, 0)
        if found.size != len(data) or self._read(key, found, start, found.size) != data[start:]:
            raise self._differs("an object that was sent in parts")

    def copy(self, source: str, target: str, found: StoredObject) -> None:
        """Copy the small object as real work does."""
        if self.guards.server_copy:
            self.uploader.copy(source, target, found, hashlib.sha256(DATA).hexdigest())
        else:
            self.uploader.put(target, self._read(source, found, 0, found.size), size=found.size, content_type=None)
        copied = self.bucket.head(target)
        if copied.size != found.size or self._read(target, copied, 0, copied.size) != DATA:
            raise self._differs("a copy")

    def use_addresses(self, key: str, target: str, sign: Callable[..., str]) -> str | None:
        """Download and upload with presigned addresses; return why the server rejects them."""
        minute = timedelta(minutes=1)
        try:
            address = sign("get_object", key, minute, ResponseContentDisposition=content_disposition("probe.wav"))
            if self.bucket.request("GET", address) != DATA:
                return "the download has other bytes"
            address = sign("put_object", target, minute, IfNoneMatch="*", ContentLength=len(DATA), **self.encryption)
            headers = {"If-None-Match": "*", "Content-Length": str(len(DATA)), **encryption_headers(self.encryption)}
            self.bucket.request("PUT", address, headers, DATA)
        except (StorageError, Unavailable) as error:
            return str(error).rstrip(".")
        return None

    def list_in_order(self, folder: str, keys: list[str]) -> None:
        """List the objects of the probe, from the start and after the first."""
        for after, expected in (("", keys), (keys[0], keys[1:])):
            listed = [found.key for found in objects(self.bucket, folder, after)]
            if listed != expected:
                raise StorageUnavailable(
                    f"{self.bucket.place} lists {len(listed)} of {len(expected)} objects, or in another order: objects"
                    " would seem to be missing. Use a server that lists what was written."
                )

    def find_upload(self, key: str) -> str | None:
        """List an unfinished upload and its part, as sweeps do; return why that is not possible."""
        created = self.bucket.call("create_multipart_upload", key, **self.encryption)
        upload = self.bucket.field(created, "CreateMultipartUpload", "UploadId")
        try:
            self.bucket.call("upload_part", key, UploadId=upload, PartNumber=1, Body=DATA)
            if upload not in [found for _, found, _ in uploads(self.bucket, key)]:
                return "the server does not list them"
            return None if uploaded_parts(self.bucket, key, upload)[1] else "the server does not list their parts"
        except (StorageError, Unavailable) as error:
            return str(error).rstrip(".")
        finally:
            with suppress(ObjectNotFound):
                self.bucket.call("abort_multipart_upload", key, UploadId=upload)

    def delete(self, key: str) -> None:
        """Delete the small object, which must then be gone."""
        self.bucket.call("delete_object", key)
        with suppress(ObjectNotFound):
            self.bucket.head(key)
            raise StorageUnavailable(
                f"{self.bucket.place} confirms the removal of an object, which then still exists; allow to delete "
                "objects, or use a bucket without a retention that forbids it."
            )

    @property
    def uploader(self) -> Uploader:
        return Uploader(self.bucket, encryption=self.encryption, guards=lambda: self.guards, read_back=self._read_back)

    def _read(self, key: str, found: StoredObject, start: int, end: int) -> bytes:
        reader, data = ObjectReader(self.bucket, key, found, end=end), bytearray(end - start)
        position = start
        while position < end:
            position += reader.read_at(memoryview(data)[position - start :], position)
        reader.close()
        return bytes(data)

    def _read_back(self, key: str) -> tuple[int, str]:
        found = self.bucket.head(key)
        return found.size, hashlib.sha256(self._read(key, found, 0, found.size)).hexdigest()

    def _differs(self, what: str) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self.bucket.place} returns other bytes of {what} than were written; check that S3_ENDPOINT_URL is the "
            "address of an S3 server, and the server."
        )


def encryption_headers(encryption: Mapping[str, str]) -> dict[str, str]:
    """The HTTP headers of these parameters of boto3."""
    names = {
        "ServerSideEncryption": "x-amz-server-side-encryption",
        "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    }
    return {names[parameter]: value for parameter, value in encryption.items()}


def _versions(bucket: Bucket) -> str | None:
    """Enabled, Suspended (earlier versions still exist), or empty; None when the credentials may not read it."""
    try:
        return str(bucket.call("get_bucket_versioning").get("Status", ""))
    except (ObjectNotFound, UnsupportedOperation):
        return ""
    except (StorageError, Unavailable):
        return None


def _lock(bucket: Bucket) -> tuple[bool | None, str | None]:
    """Return whether the bucket has object lock, and its default retention."""
    try:
        found: Any = bucket.call("get_object_lock_configuration").get("ObjectLockConfiguration", {})
    except (ObjectNotFound, UnsupportedOperation):
        return False, None
    except StorageError:
        return None, None
    rule = found.get("Rule", {}).get("DefaultRetention")
    retention = None
    if rule:
        length = f"{rule['Days']} days" if rule.get("Days") else f"{rule.get('Years')} years"
        retention = f"{rule.get('Mode')}, {length}"
    return found.get("ObjectLockEnabled") == "Enabled", retention
