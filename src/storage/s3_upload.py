"""Writing to S3: whole when small, in parts when large, never over an object that is there.

A lost answer does not turn a success into an error: every write has a token of its own in the metadata, which
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
from src.storage.streams import chunks

if TYPE_CHECKING:
    from src.storage.s3_bucket import Bucket

MIB = 1024 * 1024
PART_BYTES = 8 * MIB
MOST_PARTS = 10_000
_LARGEST_BYTES = 5 * 1024**4
_IN_FLIGHT = 3  # parts on their way while the next one is read: four parts in memory at most
_IN_FLIGHT_BYTES = _IN_FLIGHT * PART_BYTES
# A copy is made inside the server and costs no memory here; a part must finish within the read timeout.
_COPY_PART_BYTES = 256 * 1024 * 1024
_MD5 = re.compile('"?([0-9a-f]{32})"?')


@dataclass(slots=True)
class Received:
    """Size and digest of what was read from a source so far."""

    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    @property
    def sha256(self) -> str:
        return str(self.digest.hexdigest())


def cut(source: BinaryIO | bytes, key: str, size: int | None, received: Received) -> Iterator[bytearray]:
    """The rest of the source in parts, counted and hashed into `received`.

    Raises IntegrityFailure when it does not hold exactly `size` bytes, NoSpace beyond 5 TiB, and what `chunks` raises.
    """
    pieces = (memoryview(piece) for piece in chunks(source))
    rest = nothing = memoryview(b"")
    for wanted in part_sizes(size):
        part = bytearray()
        while len(part) < wanted:
            if not rest:
                rest = next(pieces, nothing)
                if not rest:
                    break
                received.digest.update(rest)
                received.size += len(rest)
                check_size(key, received.size, size, whole=False)
            room = wanted - len(part)
            part += rest[:room]
            rest = rest[room:]
        if not part:
            check_size(key, received.size, size, whole=True)
            return
        yield part
    if rest or next(pieces, nothing):
        raise NoSpace(f"The source of {key} is larger than 5 TiB, the limit of an object of S3; split the recording.")
    check_size(key, received.size, size, whole=True)


def part_sizes(size: int | None) -> Iterator[int]:
    """Bytes of each part, at most 10,000, that together hold `size` bytes, or 5 TiB when it is unknown.

    Equal where the size is known, since some servers want that. Else doubled every 1,000 parts: flat memory up to
    8 GiB, and a file of 100 GB costs parts of 64 MiB.
    """
    for number in range(MOST_PARTS):
        if size is None:
            yield PART_BYTES << number // 1000
        else:
            yield max(PART_BYTES, -(-size // MOST_PARTS // MIB) * MIB)


def check_size(key: str, seen: int, said: int | None, *, whole: bool) -> None:
    """Compare the bytes seen so far, or the whole, with what was said. Raises IntegrityFailure, NoSpace."""
    if seen > _LARGEST_BYTES:
        raise NoSpace(f"The source of {key} is larger than 5 TiB, the limit of an object of S3; split the recording.")
    if said is not None and (seen > said or (whole and seen != said)):
        raise IntegrityFailure(f"The source of {key} did not hold the {said} bytes it was said to hold.")


@dataclass(frozen=True, slots=True)
class Honoured:
    """Which guards of a write the server honours instead of ignoring them."""

    conditional_put: bool
    conditional_complete: bool
    checksums: bool


class Uploader:
    """Writes objects create-only and knows which uploads of this process are under way.

    `read_back(key)` returns size and SHA-256 of the stored object, where the server verifies nothing itself.
    """

    def __init__(
        self,
        bucket: Bucket,
        *,
        encryption: Mapping[str, str],
        honoured: Callable[[], Honoured],
        read_back: Callable[[str], tuple[int, str]],
    ) -> None:
        self._bucket = bucket
        self._encryption = encryption
        self._honoured = honoured
        self._read_back = read_back
        self.under_way: set[str] = set()

    def put(self, key: str, source: BinaryIO | bytes, *, size: int | None, content_type: str | None) -> tuple[int, str]:
        """Store the rest of the source and return size and SHA-256. Raises as `StorageBackend.put`."""
        self._honoured()  # probes the server the first time, before the source is read
        received = Received()
        check_size(key, size or 0, size, whole=False)
        parts = cut(source, key, size, received)
        # The second part is read before the first one is sent, to know whether one request is enough.
        held = deque(part for part in (next(parts, bytearray()), next(parts, None)) if part is not None)
        headers = {"ContentType": content_type} if content_type else {}
        if len(held) == 1:
            self._put_whole(key, held.pop(), received.sha256, headers)
        else:
            self._put_parts(key, _all_of(held, parts), received, headers)
        return received.size, received.sha256

    def copy(self, source_key: str, target_key: str, found: Any, sha256: str) -> None:
        """Copy inside the server the object that `found` (the answer to HEAD) describes. Raises as `copy`."""
        size, etag = found["ContentLength"], found["ETag"]
        headers = {"ContentType": found["ContentType"]} if found.get("ContentType") else {}
        if size == 0:
            self._put_whole(target_key, bytearray(), sha256, headers)
            return
        self._refuse_taken(target_key)
        step = max(_COPY_PART_BYTES, -(-size // MOST_PARTS))

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

        # Servers ignore conditions of CopyObject, but honour those of completing an upload, here of copied parts.
        self._upload(target_key, {"sha256": sha256}, headers, send, lambda: size)

    def _put_whole(self, key: str, data: bytearray, sha256: str, headers: Mapping[str, str]) -> None:
        honoured = self._honoured()
        if not honoured.conditional_put:
            self._refuse_taken(key)
        token = uuid4().hex
        checksum = _checksum(honoured, bytes.fromhex(sha256))
        if not checksum:
            # A bucket with object lock requires a checksum, and MD5 is known to every server.
            md5 = hashlib.md5(data, usedforsecurity=False)
            checksum = {"ContentMD5": base64.b64encode(md5.digest()).decode()}
        try:
            answer = self._bucket.call(
                "put_object",
                key,
                Body=data,
                IfNoneMatch="*",
                Metadata={"sha256": sha256, "put": token},
                **checksum,
                **headers,
                **self._encryption,
            )
            proved = honoured.checksums or _etag_proves(answer["ETag"], data)
        except ObjectExists as refusal:
            self._settle(key, token, refusal)
            proved = honoured.checksums
        if not proved:
            self._prove(key, token, len(data), sha256)

    def _put_parts(self, key: str, parts: Iterator[bytearray], received: Received, headers: Mapping[str, str]) -> None:
        self._refuse_taken(key)  # before gigabytes are sent in vain
        unproved: list[int] = []

        def send(upload: str) -> list[dict[str, Any]]:
            return self._send(key, upload, parts, unproved)

        token = self._upload(key, {}, headers, send, lambda: received.size)
        if unproved:
            self._prove(key, token, received.size, received.sha256)

    def _upload(
        self,
        key: str,
        metadata: Mapping[str, str],
        headers: Mapping[str, str],
        send: Callable[[str], list[dict[str, Any]]],
        size: Callable[[], int],
    ) -> str:
        """Begin an upload, let `send` fill it, complete it; on any error the upload is aborted."""
        honoured, token = self._honoured(), uuid4().hex
        algorithm = {"ChecksumAlgorithm": "SHA256"} if honoured.checksums else {}
        begun = self._bucket.call(
            "create_multipart_upload",
            key,
            Metadata={**metadata, "put": token},
            **algorithm,
            **headers,
            **self._encryption,
        )
        upload = begun["UploadId"]
        self.under_way.add(upload)
        try:
            sent = send(upload)
            if not honoured.conditional_complete:
                self._refuse_taken(key)
            self._complete(key, upload, sent, size(), token)
        except BaseException:
            # sweep_incomplete() aborts it later; the first error is the one to raise.
            with suppress(SpeechError):
                self._bucket.call("abort_multipart_upload", key, UploadId=upload)
            raise
        finally:
            self.under_way.discard(upload)
        return token

    def _send(self, key: str, upload: str, parts: Iterator[bytearray], unproved: list[int]) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        waiting: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="s3-part") as pool:
            try:
                for number, part in enumerate(parts, 1):
                    while len(waiting) >= max(1, min(_IN_FLIGHT, _IN_FLIGHT_BYTES // len(part))):
                        sent.append(waiting.popleft().result())
                    waiting.append(pool.submit(self._send_part, key, upload, number, part, unproved))
                sent.extend(future.result() for future in waiting)
            except BaseException:
                # A part that arrives after its upload was aborted would be stored forever.
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return sent

    def _send_part(self, key: str, upload: str, number: int, part: bytearray, unproved: list[int]) -> dict[str, Any]:
        honoured = self._honoured()
        checksum = _checksum(honoured, hashlib.sha256(part).digest() if honoured.checksums else b"")
        answer = self._bucket.call("upload_part", key, UploadId=upload, PartNumber=number, Body=part, **checksum)
        if honoured.checksums:
            return {"PartNumber": number, "ETag": answer["ETag"], **checksum}
        if not _etag_proves(answer["ETag"], part):
            unproved.append(number)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _copy_part(self, key: str, **parameters: Any) -> dict[str, Any]:
        answer = self._bucket.call("upload_part_copy", key, **parameters)["CopyPartResult"]
        checksum = {name: answer[name] for name in ("ChecksumSHA256",) if name in answer}
        return {"PartNumber": parameters["PartNumber"], "ETag": answer["ETag"], **checksum}

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
        except (
            ObjectExists,
            ObjectNotFound,
        ) as refusal:  # ObjectNotFound is about the upload: it was completed or aborted
            self._settle(key, token, refusal)

    def _refuse_taken(self, key: str) -> None:
        try:
            self._bucket.head(key)
        except ObjectNotFound:
            return
        raise _taken(key)

    def _settle(self, key: str, token: str, refusal: SpeechError) -> None:
        """Return when the object is the one written with that token: only the answer to the first try got lost."""
        try:
            found = self._bucket.head(key)
        except ObjectNotFound:
            raise StorageUnavailable(
                f"Another program wrote {key} or ended its upload at the same time; nothing was stored, try again."
            ) from refusal
        if found.get("Metadata", {}).get("put") != token:
            raise _taken(key) from refusal

    def _prove(self, key: str, token: str, size: int, sha256: str) -> None:
        """Read back what was written. Raises IntegrityFailure, after removing it, when it is something else."""
        if self._read_back(key) == (size, sha256):
            return
        if self._bucket.head(key).get("Metadata", {}).get("put") == token:
            self._bucket.call("delete_object", key)
        raise IntegrityFailure(f"{key} does not read back as it was written; nothing was stored, try again.")


def _taken(key: str) -> ObjectExists:
    return ObjectExists(f"{key} is stored already; use a new key, objects are never replaced.")


def _all_of(held: deque[bytearray], parts: Iterable[bytearray]) -> Iterator[bytearray]:
    # Popped, so that no part outlives its sending.
    while held:
        yield held.popleft()
    yield from parts


def _checksum(honoured: Honoured, sha256: bytes) -> dict[str, str]:
    return {"ChecksumSHA256": base64.b64encode(sha256).decode()} if honoured.checksums else {}


def _etag_proves(etag: str, data: bytearray) -> bool:
    """Return whether the ETag is the MD5 of the sent bytes; with KMS it is another value."""
    found = _MD5.fullmatch(etag)
    return found is not None and found[1] == hashlib.md5(data, usedforsecurity=False).hexdigest()
