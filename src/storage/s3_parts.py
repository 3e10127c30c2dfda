"""A source cut into the parts that S3 takes, counted and hashed on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from src.errors import IntegrityFailure, NoSpace
from src.storage.streams import chunks

MIB = 1024 * 1024
PART_BYTES = 8 * MIB
MOST_PARTS = 10_000
_LARGEST_BYTES = 5 * 1024**4


@dataclass(slots=True)
class Received:
    """What came out of a source so far."""

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
        raise NoSpace(f"The source of {key} holds more than the 5 TiB that S3 keeps in one object; cut the recording.")
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
        raise NoSpace(f"The source of {key} holds more than the 5 TiB that S3 keeps in one object; cut the recording.")
    if said is not None and (seen > said or (whole and seen != said)):
        raise IntegrityFailure(f"The source of {key} did not hold the {said} bytes it was said to hold.")
