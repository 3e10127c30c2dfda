"""Which guards of a write an S3 server applies, observed with temporary objects; servers ignore unknown headers."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from src.errors import IntegrityFailure, ObjectExists, ObjectNotFound, SpeechError, UnsupportedOperation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from src.storage.s3_bucket import Bucket

PROBES = ".probe/"  # below the prefix, next to `cases` and `archive`; not the beginning of any key
DATA = b"0123456789"
_WRONG_SHA256 = base64.b64encode(hashlib.sha256(b"something else").digest()).decode()


@dataclass(frozen=True, slots=True)
class WriteGuards:
    """What the server does for a write; a server without a guard ignores the header and writes.

    `metadata`: it returns the metadata of an object, `server_copy`: it copies parts of objects itself.
    """

    conditional_put: bool
    conditional_complete: bool
    checksums: bool
    metadata: bool
    server_copy: bool


def observe(bucket: Bucket, encryption: Mapping[str, str]) -> WriteGuards:
    """Observe the guards with about fifteen small requests, with the encryption of real objects.

    Raises StorageUnavailable or ConfigurationError when objects cannot be written.
    """
    observer = _Observer(bucket, encryption)
    one, two = f"{PROBES}{uuid4()}", f"{PROBES}{uuid4()}"
    try:
        return observer.guards(one, two)
    finally:
        # What remains is reported by `probe`; here another error may be being raised.
        with suppress(SpeechError):
            remove(bucket, one, two)


def remove(bucket: Bucket, *keys: str) -> None:
    """Remove the objects and, where the bucket keeps them, all their versions."""
    for key in keys:
        if "VersionId" in bucket.call("delete_object", key):
            found = bucket.call("list_object_versions", Prefix=bucket.prefix + key)
            for version in [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]:
                bucket.call("delete_object", key, VersionId=version["VersionId"])


@dataclass(frozen=True, slots=True)
class _Observer:
    bucket: Bucket
    encryption: Mapping[str, str]

    def guards(self, one: str, two: str) -> WriteGuards:
        token = uuid4().hex
        with suppress(ObjectExists):  # stored by a first attempt whose response was lost
            self._put(one, Metadata={"put": token})
        return WriteGuards(
            conditional_put=self._rejects_replacing(one),
            conditional_complete=self._rejects_completing(one),
            checksums=self._rejects_wrong_checksum(two) and self._rejects_wrong_part(two),
            metadata=self.bucket.head(one).metadata.get("put") == token,
            server_copy=self._copies_parts(one, two),
        )

    def _put(self, key: str, **parameters: Any) -> Any:
        md5 = base64.b64encode(hashlib.md5(DATA, usedforsecurity=False).digest()).decode()
        # A bucket with object lock requires a checksum, and MD5 is known to every server.
        return self.bucket.call(
            "put_object", key, Body=DATA, IfNoneMatch="*", ContentMD5=md5, **parameters, **self.encryption
        )

    def _rejects_replacing(self, key: str) -> bool:
        try:
            self._put(key)
        except ObjectExists:
            return True
        return False

    def _rejects_completing(self, key: str) -> bool:
        upload = self._begin(key)
        try:
            part = self.bucket.call("upload_part", key, UploadId=upload, PartNumber=1, Body=DATA)
            parts = {"Parts": [{"PartNumber": 1, "ETag": self.bucket.field(part, "UploadPart", "ETag")}]}
            self.bucket.call("complete_multipart_upload", key, UploadId=upload, MultipartUpload=parts, IfNoneMatch="*")
        except ObjectExists:
            return True
        except ObjectNotFound:  # completed by a first attempt whose response was lost
            return False
        finally:
            self._abort(key, upload)
        return False

    def _rejects_wrong_checksum(self, key: str) -> bool:
        try:
            self._put(key, ChecksumSHA256=_WRONG_SHA256)
        except IntegrityFailure:
            return True
        except ObjectExists:  # stored by a first attempt whose response was lost
            return False
        return False

    def _rejects_wrong_part(self, key: str) -> bool:
        upload = self._begin(key, ChecksumAlgorithm="SHA256")
        try:
            self.bucket.call("upload_part", key, UploadId=upload, PartNumber=1, Body=DATA, ChecksumSHA256=_WRONG_SHA256)
        except IntegrityFailure:
            return True
        finally:
            self._abort(key, upload)
        return False

    def _copies_parts(self, source: str, target: str) -> bool:
        upload = self._begin(target)
        try:
            response = self.bucket.call(
                "upload_part_copy",
                target,
                UploadId=upload,
                PartNumber=1,
                CopySource={"Bucket": self.bucket.name, "Key": self.bucket.prefix + source},
                CopySourceRange=f"bytes=0-{len(DATA) - 1}",
            )
        except (UnsupportedOperation, ObjectNotFound):
            return False
        finally:
            self._abort(target, upload)
        return self.bucket.etag(response.get("CopyPartResult", {})) is not None

    def _begin(self, key: str, **parameters: Any) -> str:
        response = self.bucket.call("create_multipart_upload", key, **parameters, **self.encryption)
        return str(self.bucket.field(response, "CreateMultipartUpload", "UploadId"))

    def _abort(self, key: str, upload: str) -> None:
        with suppress(ObjectNotFound):  # completed, by a server that ignores conditions
            self.bucket.call("abort_multipart_upload", key, UploadId=upload)
