"""What this very S3 server honours, tried out on objects that are thrown away."""

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
from src.storage.s3_upload import Honoured

if TYPE_CHECKING:
    from src.storage.s3_bucket import Bucket

PROBES = ".probe/"  # below the prefix, beside `cases` and `archive`; no key begins like this
_BYTES = b"0123456789"
_WRONG = base64.b64encode(hashlib.sha256(b"something else").digest()).decode()

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
class Findings:
    """The results of a probe. `versions` and `lock` are None where the credentials may not read them."""

    honoured: Honoured
    ranges: bool
    versions: bool | None
    lock: bool | None
    unclean: bool

    @property
    def capabilities(self) -> Capabilities:
        """The findings as the capabilities of the contract."""
        seen = self.honoured
        ignored = [
            name
            for name, kept in (
                ("PutObject", seen.conditional_put),
                ("CompleteMultipartUpload", seen.conditional_complete),
            )
            if not kept
        ]
        notes = {
            _NO_CONDITIONS.format(where=", ".join(ignored)): bool(ignored),
            _NO_CHECKSUMS: not seen.checksums,
            _NO_RANGES: not self.ranges,
            _VERSIONS: self.versions,
            _LOCK: self.lock,
            "The login may not ask whether the bucket keeps versions (s3:GetBucketVersioning).": self.versions is None,
            "The login may not ask for object lock (s3:GetBucketObjectLockConfiguration).": self.lock is None,
            f"Objects of the probe below {PROBES} could not be removed; a lifecycle rule can.": self.unclean,
        }
        return Capabilities(
            conditional_create=not ignored,
            verified_checksums=seen.checksums,
            presigned_urls=True,
            object_versions=bool(self.versions),
            object_lock=bool(self.lock),
            notes=tuple(note for note, holds in notes.items() if holds),
        )


def probe(bucket: Bucket) -> Findings:
    """Try the bucket out with a dozen requests. Raises StorageUnavailable, ConfigurationError when it is unfit."""
    one, two = f"{PROBES}{uuid4()}", f"{PROBES}{uuid4()}"
    unclean = True
    try:
        written = bucket.call("put_object", one, Body=_BYTES, IfNoneMatch="*")
        honoured = Honoured(
            conditional_put=_refuses_replacing(bucket, one),
            conditional_complete=_refuses_completing(bucket, one),
            checksums=_refuses_wrong_checksum(bucket, two) and _refuses_wrong_part(bucket, two),
        )
        ranges = _honours_ranges(bucket, one)
        versions, lock = _keeps_versions(bucket), _has_lock(bucket)
    finally:
        with suppress(SpeechError):  # said in the findings, unless something worse is being raised
            unclean = not _removed(bucket, one, two)
    if "VersionId" in written:
        versions = True
    return Findings(honoured, ranges, versions, lock, unclean)


def _refuses_replacing(bucket: Bucket, key: str) -> bool:
    try:
        bucket.call("put_object", key, Body=_BYTES, IfNoneMatch="*")
    except ObjectExists:
        return True
    return False


def _refuses_completing(bucket: Bucket, key: str) -> bool:
    upload = bucket.call("create_multipart_upload", key)["UploadId"]
    try:
        part = bucket.call("upload_part", key, UploadId=upload, PartNumber=1, Body=_BYTES)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        bucket.call("complete_multipart_upload", key, UploadId=upload, MultipartUpload=parts, IfNoneMatch="*")
    except ObjectExists:
        return True
    finally:
        _end(bucket, key, upload)
    return False


def _refuses_wrong_checksum(bucket: Bucket, key: str) -> bool:
    return _refused(bucket, "put_object", key, Body=_BYTES, ChecksumSHA256=_WRONG)


def _refuses_wrong_part(bucket: Bucket, key: str) -> bool:
    upload = bucket.call("create_multipart_upload", key, ChecksumAlgorithm="SHA256")["UploadId"]
    try:
        return _refused(bucket, "upload_part", key, UploadId=upload, PartNumber=1, Body=_BYTES, ChecksumSHA256=_WRONG)
    finally:
        _end(bucket, key, upload)


def _refused(bucket: Bucket, operation: str, key: str, **parameters: Any) -> bool:
    try:
        bucket.call(operation, key, **parameters)
    except IntegrityFailure:
        return True
    return False


def _end(bucket: Bucket, key: str, upload: str) -> None:
    with suppress(ObjectNotFound):  # completed, where the server ignores conditions
        bucket.call("abort_multipart_upload", key, UploadId=upload)


def _honours_ranges(bucket: Bucket, key: str) -> bool:
    answer = bucket.call("get_object", key, Range="bytes=3-6")
    with answer["Body"] as body, bucket.failures(key):
        return bool(body.read() == _BYTES[3:7])


def _keeps_versions(bucket: Bucket) -> bool | None:
    try:
        # "Suspended" too: what was written before is still there.
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
    """Remove the objects and, where the bucket keeps them, every version of them; True when that went well."""
    for key in keys:
        if "VersionId" in bucket.call("delete_object", key):
            found = bucket.call("list_object_versions", Prefix=bucket.prefix + key)
            for version in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]:
                bucket.call("delete_object", key, VersionId=version["VersionId"])
    return True
