"""The canonical form of seals: the Merkle root of leaf hashes, and the hash chain of seals. No input or output.

    root      = Merkle tree of RFC 6962 over the leaf hashes in the order of the entries' ids:
                node = sha256(0x01 ‖ left ‖ right), an unpaired node moves up, the empty tree is sha256("")
    seal_hash = sha256(0x02 ‖ hash of the previous seal (32 zero bytes for the first) ‖ text of
                [id, previous_id, "YYYY-MM-DD" (the month), epoch, low_xid, high_xid, next_xid, entry_count,
                 root (hex), sealed at (µs since 1970)])

The text is JSON in ASCII with ", " between elements; numbers are integers; `previous_id` is `null` for the first seal.
A seal's `leaves` are 40 bytes for each entry: its id, 8 bytes big-endian, and its leaf hash.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

NO_PREVIOUS_HASH = bytes(32)
READABLE_TIME = "greatest(timestamptz '1000-01-02 UTC', least(l.created_at, timestamptz '8999-12-30 UTC'))"
"""SQL: the time of an entry, or the nearest one that drivers can read: sealing and verifying must not stop there."""
_ENTRY = struct.Struct(">q32s")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SealedEntry(NamedTuple):
    """An entry as its seal stores it."""

    id: int
    leaf_hash: bytes


class SealFields(NamedTuple):
    """The fields of a seal, without hashes and signature."""

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
        parents = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        if len(level) % 2:
            parents.append(level[-1])
        level = parents
    return level[0]


def seal_hash(fields: SealFields, root: bytes, previous: bytes | None) -> bytes:
    """Return the hash that the next seal includes and that is signed."""
    content = [*fields[:2], fields.month.isoformat(), *fields[3:8], root.hex(), microseconds(fields.sealed_at)]
    return hashlib.sha256(b"\x02" + (previous or NO_PREVIOUS_HASH) + json.dumps(content).encode("ascii")).digest()


def pack(entries: Iterable[SealedEntry]) -> bytes:
    """Return entries in the form of a seal's `leaves`."""
    return b"".join(_ENTRY.pack(*entry) for entry in entries)


def unpack(leaves: bytes) -> Iterator[SealedEntry]:
    """Yield the entries of a seal's `leaves`; an incomplete entry at the end is ignored."""
    whole = len(leaves) - len(leaves) % _ENTRY.size
    return (SealedEntry(*entry) for entry in _ENTRY.iter_unpack(leaves[:whole]))


def microseconds(moment: datetime) -> int:
    """Return a time as whole microseconds since 1970 in UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
