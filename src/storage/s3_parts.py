"""A source of unknown length in parts that S3 accepts, hashed in the same pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from src.errors import NoSpace
from src.storage.arguments import size_mismatch
from src.storage.streams import chunks

_MIB = 1024 * 1024
PART_BYTES = 8 * _MIB
MAX_PARTS = 10_000
_MAX_OBJECT_BYTES = 5 * 1024**4


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
            yield max(PART_BYTES, -(-size // MAX_PARTS // _MIB) * _MIB)


def check_size(key: str, read: int, size: int | None, *, complete: bool) -> None:
    """Compare the bytes read so far, or all of them, with the announced size. Raises IntegrityFailure, NoSpace."""
    if read > _MAX_OBJECT_BYTES:
        raise NoSpace(f"The source of {key} is larger than 5 TiB, the limit of an S3 object; split the recording.")
    if size is not None and (read > size or (complete and read != size)):
        raise size_mismatch(key, read, size)
