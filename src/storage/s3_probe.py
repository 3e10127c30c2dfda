"""Which guards an S3 server applies, tested with temporary objects."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from src.errors import (
    IntegrityFailure,
    ObjectExists,
    ObjectNotFound,
    SpeechError,
    StorageError,
    StorageUnavailable,
    UnsupportedOperation,
)
from src.storage.contract import Capabilities

if TYPE_CHECKING:
    from src.storage.s3_bucket import Bucket

PROBES = ".probe/"  # below the prefix, next to `cases` and `archive`; not the beginning of any key
_DATA = b"0123456789"
_WRONG_SHA256 = base64.b64encode(hashlib.sha256(b"something else").digest()).decode()

_NO_CONDITIONS = (
    "The server ignores the condition not to replace objects ({where}). Every write checks first whether its key is "
    "free; of two writers that check at the same moment the later one wins, so never write one key twice."
)
_NO_CHECKSUMS = (
    "The server accepts bytes that do not match their SHA-256. Every write compares the ETag of the server instead, "
    "or reads the object back where the ETag is not an MD5."
)
_VERSIONS = (
    "The bucket keeps versions: delete() hides an object; its bytes remain, and cost, until a lifecycle rule for "
    "noncurrent versions removes them."
)
_LOCK = "The bucket has object lock: versions under retention or legal hold cannot be removed before their time."
_NO_RANGES = "The server ignores range requests, which get() needs."


@dataclass(frozen=True, slots=True)
class WriteGuards:
    """Which guards of a write the server applies; a server without them ignores the header and writes."""

    conditional_put: bool
    conditional_complete: bool
    checksums: bool


@dataclass(frozen=True, slots=True)
class Findings:
    """The results of a probe. `versions` and `lock` are None where the credentials may not read them."""

    guards: WriteGuards
    ranges: bool
    versions: bool | None
    lock: bool | None
    unclean: bool

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
            _NO_RANGES: not self.ranges,
            _VERSIONS: self.versions,
            _LOCK: self.lock,
            "The credentials may not read whether the bucket keeps versions (s3:GetBucketVersioning).": self.versions
            is None,
            "The credentials may not read object lock (s3:GetBucketObjectLockConfiguration).": self.lock is None,
            f"Objects of the probe below {PROBES} could not be removed; a lifecycle rule can.": self.unclean,
        }
        return Capabilities(
            conditional_create=not ignored,
            verified_checksums=guards.checksums,
            presigned_urls=True,
            object_versions=bool(self.versions),
            object_lock=bool(self.lock),
            notes=tuple(note for note, holds in notes.items() if holds),
        )


def probe(bucket: Bucket) -> Findings:
    """Test the bucket with a dozen requests. Raises StorageUnavailable or ConfigurationError when it is unusable."""
    one, two = f"{PROBES}{uuid4()}", f"{PROBES}{uuid4()}"
    unclean = True
    try:
        written = bucket.call("put_object", one, Body=_DATA, IfNoneMatch="*")
        guards = WriteGuards(
            conditional_put=_rejects_replacing(bucket, one),
            conditional_complete=_rejects_completing(bucket, one),
            checksums=_rejects_wrong_checksum(bucket, two) and _rejects_wrong_part(bucket, two),
        )
        ranges = _supports_ranges(bucket, one)
        versions, lock = _keeps_versions(bucket), _has_lock(bucket)
    finally:
        with suppress(SpeechError):  # reported in the findings, unless another error is being raised
            unclean = not _removed(bucket, one, two)
    if "VersionId" in written:
        versions = True
    return Findings(guards, ranges, versions, lock, unclean)


def _rejects_replacing(bucket: Bucket, key: str) -> bool:
    try:
        bucket.call("put_object", key, Body=_DATA, IfNoneMatch="*")
    except ObjectExists:
        return True
    return False


def _rejects_completing(bucket: Bucket, key: str) -> bool:
    upload = bucket.call("create_multipart_upload", key)["UploadId"]
    try:
        part = bucket.call("upload_part", key, UploadId=upload, PartNumber=1, Body=_DATA)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        bucket.call("complete_multipart_upload", key, UploadId=upload, MultipartUpload=parts, IfNoneMatch="*")
    except ObjectExists:
        return True
    finally:
        _abort(bucket, key, upload)
    return False


def _rejects_wrong_checksum(bucket: Bucket, key: str) -> bool:
    return _is_rejected(bucket, "put_object", key, Body=_DATA, ChecksumSHA256=_WRONG_SHA256)


def _rejects_wrong_part(bucket: Bucket, key: str) -> bool:
    upload = bucket.call("create_multipart_upload", key, ChecksumAlgorithm="SHA256")["UploadId"]
    try:
        return _is_rejected(
            bucket, "upload_part", key, UploadId=upload, PartNumber=1, Body=_DATA, ChecksumSHA256=_WRONG_SHA256
        )
    finally:
        _abort(bucket, key, upload)


def _is_rejected(bucket: Bucket, operation: str, key: str, **parameters: Any) -> bool:
    try:
        bucket.call(operation, key, **parameters)
    except IntegrityFailure:
        return True
    return False


def _abort(bucket: Bucket, key: str, upload: str) -> None:
    with suppress(ObjectNotFound):  # completed, by a server that ignores conditions
        bucket.call("abort_multipart_upload", key, UploadId=upload)


def _supports_ranges(bucket: Bucket, key: str) -> bool:
    response = bucket.call("get_object", key, Range="bytes=3-6")
    with response["Body"] as body, bucket.failures(key):
        return bool(body.read() == _DATA[3:7])


def _keeps_versions(bucket: Bucket) -> bool | None:
    try:
        # "Suspended" too: earlier versions still exist.
        return "Status" in bucket.call("get_bucket_versioning")
    except UnsupportedOperation:
        return False
    except StorageUnavailable:
        return None


def _has_lock(bucket: Bucket) -> bool | None:
    try:
        found = bucket.call("get_object_lock_configuration").get("ObjectLockConfiguration", {})
    except (ObjectNotFound, UnsupportedOperation):
        return False
    except StorageError:
        return None
    return bool(found.get("ObjectLockEnabled") == "Enabled")


def _removed(bucket: Bucket, *keys: str) -> bool:
    """Remove the objects and, where the bucket keeps them, all their versions; True when none is left."""
    for key in keys:
        if "VersionId" in bucket.call("delete_object", key):
            found = bucket.call("list_object_versions", Prefix=bucket.prefix + key)
            for version in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]:
                bucket.call("delete_object", key, VersionId=version["VersionId"])
    return True
