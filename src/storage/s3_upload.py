"""Writing to S3: small objects in one request, large ones in parts; existing objects are never replaced.

A lost response does not turn a success into an error: every write stores its own token in the metadata, which
distinguishes a retry of the same write from another writer of the key.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

from src.errors import IntegrityFailure, ObjectExists, ObjectNotFound, SpeechError, StorageUnavailable
from src.storage.s3_parts import MAX_PARTS, PART_BYTES, SourceDigest, check_size, split_source

if TYPE_CHECKING:
    from src.storage.s3_bucket import Bucket, StoredObject
    from src.storage.s3_guards import WriteGuards

_IN_FLIGHT = 3  # parts being sent while the next one is read: at most four parts in memory
_IN_FLIGHT_BYTES = _IN_FLIGHT * PART_BYTES
# The server makes the copy, which costs no memory in this process; a part must finish within the read timeout.
_COPY_PART_BYTES = 256 * 1024 * 1024
_MD5 = re.compile('"?([0-9a-f]{32})"?')


class Uploader:
    """Writes create-only objects and records the uploads of this instance that are in progress.

    `read_back(key)` returns size and SHA-256 of the stored object; it is called where the server verifies no checksum.
    """

    def __init__(
        self,
        bucket: Bucket,
        *,
        encryption: Mapping[str, str],
        guards: Callable[[], WriteGuards],
        read_back: Callable[[str], tuple[int, str]],
    ) -> None:
        self._bucket = bucket
        self._encryption = encryption
        self._guards = guards
        self._read_back = read_back
        self.in_progress: set[str] = set()

    def put(self, key: str, source: BinaryIO | bytes, *, size: int | None, content_type: str | None) -> tuple[int, str]:
        """Store the rest of the source and return size and SHA-256. Raises as `StorageBackend.put`."""
        self._guards()  # probes the server at the first call, before the source is read
        source_digest = SourceDigest()
        check_size(key, size or 0, size, complete=False)
        parts = split_source(source, key, size, source_digest)
        # Two parts are read before the first is sent, to know whether one request is enough.
        first_parts = deque(part for part in (next(parts, bytearray()), next(parts, None)) if part is not None)
        headers = {"ContentType": content_type} if content_type else {}
        if len(first_parts) == 1:
            self._put_whole(key, first_parts.pop(), source_digest.sha256, headers)
        else:
            self._put_parts(key, _all_of(first_parts, parts), source_digest, headers)
        return source_digest.size, source_digest.sha256

    def put_parts(self, key: str, data: bytes, *, content_type: str) -> None:
        """Store `data` in parts, also where one request would be enough."""
        source_digest = SourceDigest()
        headers = {"ContentType": content_type}
        self._put_parts(key, split_source(data, key, len(data), source_digest), source_digest, headers)

    def copy(self, source_key: str, target_key: str, found: StoredObject, sha256: str) -> None:
        """Copy an object inside the server; `found` is what HEAD says about it. Raises as `StorageBackend.copy`."""
        size = found.size
        headers = {"ContentType": found.content_type} if found.content_type else {}
        if size == 0:
            self._put_whole(target_key, bytearray(), sha256, headers)
            return
        self._check_free(target_key)
        step = max(_COPY_PART_BYTES, -(-size // MAX_PARTS))

        source = {
            "CopySource": {"Bucket": self._bucket.name, "Key": self._bucket.prefix + source_key},
            # Without an ETag a source that is replaced meanwhile is detected when the copy is read back.
            **({"CopySourceIfMatch": found.etag} if found.etag else {}),
        }

        def send(upload: str) -> list[dict[str, Any]]:
            return [
                self._copy_part(
                    target_key,
                    **source,
                    UploadId=upload,
                    PartNumber=number,
                    CopySourceRange=f"bytes={start}-{min(start + step, size) - 1}",
                )
                for number, start in enumerate(range(0, size, step), 1)
            ]

        # Servers ignore conditions of CopyObject, but apply those of CompleteMultipartUpload, here of copied parts.
        self._upload(target_key, {"sha256": sha256}, headers, send, lambda: (size, sha256))

    def _put_whole(self, key: str, data: bytearray, sha256: str, headers: Mapping[str, str]) -> None:
        guards = self._guards()
        if not guards.conditional_put:
            self._check_free(key)
        token = uuid4().hex
        checksum = _checksum(guards, bytes.fromhex(sha256))
        if not checksum:
            # A bucket with object lock requires a checksum, and MD5 is known to every server.
            md5 = hashlib.md5(data, usedforsecurity=False)
            checksum = {"ContentMD5": base64.b64encode(md5.digest()).decode()}
        try:
            response = self._bucket.call(
                "put_object",
                key,
                Body=data,
                IfNoneMatch="*",
                Metadata={"sha256": sha256, "put": token},
                **checksum,
                **headers,
                **self._encryption,
            )
            verified = guards.checksums or _etag_matches(self._bucket.etag(response), data)
        except ObjectExists as error:
            self._settle(key, token, (len(data), sha256), error)
            verified = guards.checksums
        if not verified:
            self._verify(key, token, len(data), sha256)

    def _put_parts(
        self, key: str, parts: Iterator[bytearray], source_digest: SourceDigest, headers: Mapping[str, str]
    ) -> None:
        self._check_free(key)  # before gigabytes are sent
        unverified: list[int] = []

        def send(upload: str) -> list[dict[str, Any]]:
            return self._send(key, upload, parts, unverified)

        token = self._upload(key, {}, headers, send, lambda: (source_digest.size, source_digest.sha256))
        if unverified:
            self._verify(key, token, source_digest.size, source_digest.sha256)

    def _upload(
        self,
        key: str,
        metadata: Mapping[str, str],
        headers: Mapping[str, str],
        send: Callable[[str], list[dict[str, Any]]],
        content: Callable[[], tuple[int, str]],
    ) -> str:
        """Create an upload, send its parts with `send`, complete it; abort it on any error.

        `content` returns size and SHA-256 of the object, known after the parts were sent.
        """
        guards, token = self._guards(), uuid4().hex
        algorithm = {"ChecksumAlgorithm": "SHA256"} if guards.checksums else {}
        created = self._bucket.call(
            "create_multipart_upload",
            key,
            Metadata={**metadata, "put": token},
            **algorithm,
            **headers,
            **self._encryption,
        )
        upload = self._bucket.field(created, "CreateMultipartUpload", "UploadId")
        self.in_progress.add(upload)
        try:
            sent = send(upload)
            if not guards.conditional_complete:
                self._check_free(key)
            self._complete(key, upload, sent, content(), token)
        except BaseException:
            # The first error is raised; sweep_incomplete() removes an upload that could not be aborted.
            with suppress(SpeechError):
                self._bucket.call("abort_multipart_upload", key, UploadId=upload)
            raise
        finally:
            self.in_progress.discard(upload)
        return token

    def _send(self, key: str, upload: str, parts: Iterator[bytearray], unverified: list[int]) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        waiting: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="s3-part") as pool:
            try:
                for number, part in enumerate(parts, 1):
                    while len(waiting) >= max(1, min(_IN_FLIGHT, _IN_FLIGHT_BYTES // len(part))):
                        sent.append(waiting.popleft().result())
                    waiting.append(pool.submit(self._send_part, key, upload, number, part, unverified))
                sent.extend(future.result() for future in waiting)
            except BaseException:
                # A part that arrives after its upload was aborted would never be removed.
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return sent

    def _send_part(self, key: str, upload: str, number: int, part: bytearray, unverified: list[int]) -> dict[str, Any]:
        guards = self._guards()
        checksum = _checksum(guards, hashlib.sha256(part).digest() if guards.checksums else b"")
        response = self._bucket.call("upload_part", key, UploadId=upload, PartNumber=number, Body=part, **checksum)
        etag = self._bucket.field(response, "UploadPart", "ETag")
        if not guards.checksums and not _etag_matches(etag, part):
            unverified.append(number)
        return {"PartNumber": number, "ETag": etag, **checksum}

    def _copy_part(self, key: str, **parameters: Any) -> dict[str, Any]:
        result = self._bucket.call("upload_part_copy", key, **parameters).get("CopyPartResult", {})
        checksum = {name: result[name] for name in ("ChecksumSHA256",) if name in result}
        etag = self._bucket.field(result, "UploadPartCopy", "ETag")
        return {"PartNumber": parameters["PartNumber"], "ETag": etag, **checksum}

    def _complete(
        self, key: str, upload: str, sent: list[dict[str, Any]], content: tuple[int, str], token: str
    ) -> None:
        try:
            self._bucket.call(
                "complete_multipart_upload",
                key,
                UploadId=upload,
                MultipartUpload={"Parts": sent},
                IfNoneMatch="*",
                MpuObjectSize=content[0],
            )
        except (ObjectExists, ObjectNotFound) as error:  # ObjectNotFound: the upload was completed or aborted
            self._settle(key, token, content, error)

    def _check_free(self, key: str) -> None:
        try:
            self._bucket.head(key)
        except ObjectNotFound:
            return
        raise _object_exists(key)

    def _settle(self, key: str, token: str, content: tuple[int, str], error: SpeechError) -> None:
        """Return if the object is that of this write: only the response to its first attempt was lost."""
        try:
            found = self._bucket.head(key)
        except ObjectNotFound:
            raise StorageUnavailable(
                f"Another program wrote {key} or aborted its upload at the same time; nothing was stored, try again."
            ) from error
        if self._guards().metadata:
            stored = found.metadata.get("put") == token
        else:  # keys are never used twice: the same bytes are those of this write
            stored = found.size == content[0] and self._read_back(key) == content
        if not stored:
            raise _object_exists(key) from error

    def _verify(self, key: str, token: str, size: int, sha256: str) -> None:
        """Read the object back. Raises IntegrityFailure, after removing the object, when it differs."""
        if self._read_back(key) == (size, sha256):
            return
        if not self._guards().metadata or self._bucket.head(key).metadata.get("put") == token:
            self._bucket.call("delete_object", key)
        raise IntegrityFailure(f"{key} differs from the written bytes when read back; nothing was stored, try again.")


def _object_exists(key: str) -> ObjectExists:
    return ObjectExists(f"{key} is stored already; use a new key, objects are never replaced.")


def _all_of(first_parts: deque[bytearray], parts: Iterable[bytearray]) -> Iterator[bytearray]:
    # Popped, so that a part is freed after it was sent.
    while first_parts:
        yield first_parts.popleft()
    yield from parts


def _checksum(guards: WriteGuards, sha256: bytes) -> dict[str, str]:
    return {"ChecksumSHA256": base64.b64encode(sha256).decode()} if guards.checksums else {}


def _etag_matches(etag: str | None, data: bytearray) -> bool:
    """Return whether the ETag is the MD5 of the sent bytes; with KMS it is not an MD5."""
    match = _MD5.fullmatch(etag or "")
    return match is not None and match[1] == hashlib.md5(data, usedforsecurity=False).hexdigest()
