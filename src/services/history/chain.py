"""The canonical form of seals: how leaf hashes become a root, and seals a chain. Bytes in, bytes out.

    root      = Merkle tree of RFC 6962 over the leaf hashes in the order of the entries' ids:
                node = sha256(0x01 ‖ left ‖ right), an odd one out rises, nothing at all is sha256("")
    seal_hash = sha256(0x02 ‖ hash of the seal before (32 zero bytes before the first) ‖ text of
                [id, previous_id, "YYYY-MM-DD" (the month), epoch, low_xid, high_xid, next_xid, entry_count,
                 root (hex), sealed at (µs since 1970)])

The text is JSON in ASCII with ", " between elements; numbers are whole, `null` stands for no previous seal. A seal's
`leaves` are 40 bytes for each entry: its id, 8 bytes big-endian, and its leaf hash.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

NOTHING = bytes(32)
_ENTRY = struct.Struct(">q32s")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SealedEntry(NamedTuple):
    """An entry as its seal knows it."""

    id: int
    leaf_hash: bytes


class SealFields(NamedTuple):
    """What a seal says, apart from hashes and signature."""

    id: int
    previous_id: int | None
    month: date
    epoch: int
    low_xid: int
    high_xid: int
    next_xid: int
    entry_count: int
    sealed_at: datetime


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes of 32 bytes each."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    sha256 = hashlib.sha256
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def seal_hash(fields: SealFields, root: bytes, previous: bytes | None) -> bytes:
    """Return the hash that the next seal builds on and the signature signs."""
    told = [*fields[:2], fields.month.isoformat(), *fields[3:8], root.hex(), microseconds(fields.sealed_at)]
    return hashlib.sha256(b"\x02" + (previous or NOTHING) + json.dumps(told).encode("ascii")).digest()


def pack(entries: Iterable[SealedEntry]) -> bytes:
    """Return entries as a seal keeps them."""
    return b"".join(_ENTRY.pack(*entry) for entry in entries)


def unpack(leaves: bytes) -> Iterator[SealedEntry]:
    """Yield the entries that a seal keeps; what is left at the end of a damaged one is ignored."""
    whole = len(leaves) - len(leaves) % _ENTRY.size
    return (SealedEntry(*entry) for entry in _ENTRY.iter_unpack(leaves[:whole]))


def microseconds(moment: datetime) -> int:
    """Return a time as whole microseconds since 1970 in UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
