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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

from src.errors import IntegrityFailure, NoSpace, ObjectExists, ObjectNotFound, SpeechError, StorageUnavailable
from src.storage.arguments import size_mismatch
from src.storage.streams import chunks

if TYPE_CHECKING:
    from src.storage.s3_bucket import Bucket
    from src.storage.s3_probe import WriteGuards

MIB = 1024 * 1024
PART_BYTES = 8 * MIB
MAX_PARTS = 10_000
_MAX_OBJECT_BYTES = 5 * 1024**4
_IN_FLIGHT = 3  # parts being sent while the next one is read: at most four parts in memory
_IN_FLIGHT_BYTES = _IN_FLIGHT * PART_BYTES
# The server makes the copy, which costs no memory in this process; a part must finish within the read timeout.
_COPY_PART_BYTES = 256 * 1024 * 1024
_MD5 = re.compile('"?([0-9a-f]{32})"?')


@dataclass(slots=True)
class SourceDigest:
    """Size and SHA-256 of the bytes read from a source so far."""

    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    @property
    def sha256(self) -> str:
        return str(self.digest.hexdigest())


def split_source(
    source: BinaryIO | bytes, key: str, size: int | None, source_digest: SourceDigest
) -> Iterator[bytearray]:
    """The rest of the source in parts; counts and hashes them in `source_digest`.

    Raises IntegrityFailure unless it holds exactly `size` bytes, NoSpace above 5 TiB, and the exceptions of `chunks`.
    """
    pending = (memoryview(chunk) for chunk in chunks(source))
    rest = empty = memoryview(b"")
    for part_size in part_sizes(size):
        part = bytearray()
        while len(part) < part_size:
            if not rest:
                rest = next(pending, empty)
                if not rest:
                    break
                source_digest.digest.update(rest)
                source_digest.size += len(rest)
                check_size(key, source_digest.size, size, complete=False)
            missing = part_size - len(part)
            part += rest[:missing]
            rest = rest[missing:]
        if not part:
            check_size(key, source_digest.size, size, complete=True)
            return
        yield part
    if rest or next(pending, empty):
        raise NoSpace(f"The source of {key} is larger than 5 TiB, the limit of an S3 object; split the recording.")
    check_size(key, source_digest.size, size, complete=True)


def part_sizes(size: int | None) -> Iterator[int]:
    """The sizes of at most 10,000 parts that can hold `size` bytes, or 5 TiB when it is unknown.

    Equal for a known size, which some servers require. Otherwise doubled every 1,000 parts: constant memory up to
    8 GiB, and parts of 64 MiB for an object of 100 GB.
    """
    for number in range(MAX_PARTS):
        if size is None:
            yield PART_BYTES << number // 1000
        else:
            yield max(PART_BYTES, -(-size // MAX_PARTS // MIB) * MIB)


def check_size(key: str, read: int, size: int | None, *, complete: bool) -> None:
    """Compare the bytes read so far, or all of them, with the announced size. Raises IntegrityFailure, NoSpace."""
    if read > _MAX_OBJECT_BYTES:
        raise NoSpace(f"The source of {key} is larger than 5 TiB, the limit of an S3 object; split the recording.")
    if size is not None and (read > size or (complete and read != size)):
        raise size_mismatch(key, read, size)


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

    def copy(self, source_key: str, target_key: str, head: Any, sha256: str) -> None:
        """Copy an object inside the server; `head` is the response to HEAD for it. Raises as `StorageBackend.copy`."""
        size, etag = head["ContentLength"], head["ETag"]
        headers = {"ContentType": head["ContentType"]} if head.get("ContentType") else {}
        if size == 0:
            self._put_whole(target_key, bytearray(), sha256, headers)
            return
        self._check_free(target_key)
        step = max(_COPY_PART_BYTES, -(-size // MAX_PARTS))

        source = {
            "CopySource": {"Bucket": self._bucket.name, "Key": self._bucket.prefix + source_key},
            "CopySourceIfMatch": etag,
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
        self._upload(target_key, {"sha256": sha256}, headers, send, lambda: size)

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
            verified = guards.checksums or _etag_matches(response["ETag"], data)
        except ObjectExists as error:
            self._settle(key, token, error)
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

        token = self._upload(key, {}, headers, send, lambda: source_digest.size)
        if unverified:
            self._verify(key, token, source_digest.size, source_digest.sha256)

    def _upload(
        self,
        key: str,
        metadata: Mapping[str, str],
        headers: Mapping[str, str],
        send: Callable[[str], list[dict[str, Any]]],
        size: Callable[[], int],
    ) -> str:
        """Create an upload, send its parts with `send`, complete it; abort it on any error."""
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
        upload = created["UploadId"]
        self.in_progress.add(upload)
        try:
            sent = send(upload)
            if not guards.conditional_complete:
                self._check_free(key)
            self._complete(key, upload, sent, size(), token)
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
        if guards.checksums:
            return {"PartNumber": number, "ETag": response["ETag"], **checksum}
        if not _etag_matches(response["ETag"], part):
            unverified.append(number)
        return {"PartNumber": number, "ETag": response["ETag"]}

    def _copy_part(self, key: str, **parameters: Any) -> dict[str, Any]:
        response = self._bucket.call("upload_part_copy", key, **parameters)["CopyPartResult"]
        checksum = {name: response[name] for name in ("ChecksumSHA256",) if name in response}
        return {"PartNumber": parameters["PartNumber"], "ETag": response["ETag"], **checksum}

    def _complete(self, key: str, upload: str, sent: list[dict[str, Any]], size: int, token: str) -> None:
        try:
            self._bucket.call(
                "complete_multipart_upload",
                key,
                UploadId=upload,
                MultipartUpload={"Parts": sent},
                IfNoneMatch="*",
                MpuObjectSize=size,
            )
        except (ObjectExists, ObjectNotFound) as error:  # ObjectNotFound: the upload was completed or aborted
            self._settle(key, token, error)

    def _check_free(self, key: str) -> None:
        try:
            self._bucket.head(key)
        except ObjectNotFound:
            return
        raise _object_exists(key)

    def _settle(self, key: str, token: str, error: SpeechError) -> None:
        """Return if the object has that token: it was stored, and only the response to the first attempt was lost."""
        try:
            head = self._bucket.head(key)
        except ObjectNotFound:
            raise StorageUnavailable(
                f"Another program wrote {key} or aborted its upload at the same time; nothing was stored, try again."
            ) from error
        if head.get("Metadata", {}).get("put") != token:
            raise _object_exists(key) from error

    def _verify(self, key: str, token: str, size: int, sha256: str) -> None:
        """Read the object back. Raises IntegrityFailure, after removing the object, when it differs."""
        if self._read_back(key) == (size, sha256):
            return
        if self._bucket.head(key).get("Metadata", {}).get("put") == token:
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


def _etag_matches(etag: str, data: bytearray) -> bool:
    """Return whether the ETag is the MD5 of the sent bytes; with KMS it is not an MD5."""
    match = _MD5.fullmatch(etag)
    return match is not None and match[1] == hashlib.md5(data, usedforsecurity=False).hexdigest()
