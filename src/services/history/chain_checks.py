"""Verify the seals: fields, roots, the chain, signatures, exported heads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.orm import Session

from src.services.history.chain import SealFields, merkle_root, seal_hash, unpack
from src.services.history.entry_hashes import parse_time
from src.services.history.findings import Batch, Finding, Report
from src.services.history.seal_keys import SealKey
from src.services.history.tree_heads import HeadFile
from src.services.history.trusted_reading import as_text, stream

# What each seal has; `previous_id` is null in the first, and the signature was made with a key.
_REQUIRED = ("id", "month", "epoch", "low_xid", "high_xid", "next_xid", "entry_count", "sealed_at", "root", "leaves",
             "seal_hash")  # fmt: skip

_SEALS = f"""
    SELECT s.id, s.previous_id, {as_text("s.month")} AS month, s.epoch, {as_text("s.low_xid")} AS low_xid,
           {as_text("s.high_xid")} AS high_xid, {as_text("s.next_xid")} AS next_xid, s.entry_count,
           {as_text("s.created_at")} AS sealed_at, s.root, s.leaves, s.seal_hash, s.signature, s.signing_key,
           {as_text("s.pruned_at")} AS pruned_at, {as_text("s.details")} AS details
      FROM public.activity_seals s ORDER BY s.id
"""  # noqa: S608 - constants


def check_chain(
    session: Session, key: SealKey | None, heads: HeadFile | None, report: Report, batches: list[Batch]
) -> Iterator[Finding]:
    """Yield the findings on seals, in their order, and append the range of each seal to `batches`.

    Without a key or exported heads a forged chain is not detected, which is a finding of its own.
    """
    if key is None:
        yield Finding(
            "signature",
            "no public key of the seals was found (SEAL_KEY_FILE with .pub): a forged chain is not detected",
        )
    previous: Any = None
    ends: dict[int, int] = {}
    hashes: dict[int, bytes] = {}
    for seal in stream(session, _SEALS):
        report.seals += 1
        if absent := [name for name in _REQUIRED if getattr(seal, name) is None]:
            yield Finding("chain", f"seal {seal.id} was changed: it has no {', '.join(absent)}", seal_id=seal.id)
            continue
        hashes[seal.id] = bytes(seal.seal_hash)
        expected = previous.id + 1 if previous is not None else 1
        if seal.id != expected:
            gap = f"seal {expected}" if seal.id == expected + 1 else f"seals {expected} to {seal.id - 1}"
            yield Finding("chain", f"{gap} missing before seal {seal.id}", seal_id=seal.id)
        if seal.previous_id != (previous.id if previous is not None else None):
            yield Finding("chain", f"seal {seal.id} does not refer to the seal before it", seal_id=seal.id)
        fields = _fields(seal)
        linked = seal_hash(fields, bytes(seal.root), hashes[previous.id] if previous else None) if fields else None
        if linked != hashes[seal.id]:
            yield Finding("chain", f"seal {seal.id} was changed: its fields do not match its hash", seal_id=seal.id)
        yield from _check_content(seal)
        low, high = int(seal.low_xid), int(seal.high_xid)
        # The seals of one batch, one per month, have the same range.
        if low != ends.get(seal.epoch, 0) and not (
            previous is not None and (previous.epoch, int(previous.low_xid)) == (seal.epoch, low)
        ):
            yield Finding("chain", f"seal {seal.id} does not begin where the seal before it ends", seal_id=seal.id)
        ends[seal.epoch] = high
        yield from _check_signature(seal, key)
        if fields is not None:
            batches.append(Batch(seal.id, fields.month, seal.epoch, low, high, fields.next_xid, seal.entry_count,
                                 fields.sealed_at, seal.pruned_at))  # fmt: skip
        previous = seal
    yield from _check_heads(hashes, heads)


def _check_content(seal: Any) -> Iterator[Finding]:
    leaves = [entry.leaf_hash for entry in unpack(bytes(seal.leaves))]
    if merkle_root(leaves) != bytes(seal.root) or len(leaves) != seal.entry_count or len(seal.leaves) % 40:
        yield Finding("chain", f"seal {seal.id} was changed: its entries do not match its root", seal_id=seal.id)
    if seal.details != "{}":
        yield Finding("chain", f"seal {seal.id} was changed: seals have no details", seal_id=seal.id)


def _fields(seal: Any) -> SealFields | None:
    """Return the fields that the hash covers; None for a date that no seal can have."""
    month, sealed_at = parse_time(f"{seal.month} 00:00:00+00"), parse_time(seal.sealed_at)
    if month is None or sealed_at is None:
        return None
    return SealFields(
        id=seal.id,
        previous_id=seal.previous_id,
        month=month.date(),
        epoch=seal.epoch,
        low_xid=int(seal.low_xid),
        high_xid=int(seal.high_xid),
        next_xid=int(seal.next_xid),
        entry_count=seal.entry_count,
        sealed_at=sealed_at,
    )


def _check_signature(seal: Any, key: SealKey | None) -> Iterator[Finding]:
    if key is None:
        return
    if seal.signature is None:
        yield Finding("signature", f"seal {seal.id} is not signed", seal_id=seal.id)
    elif not key.verifies(bytes(seal.signature), bytes(seal.seal_hash)):
        yield Finding("signature", f"the signature of seal {seal.id} was not made with the given key", seal_id=seal.id)
    elif seal.signing_key != key.fingerprint:
        yield Finding("signature", f"seal {seal.id} has the fingerprint of a key that did not sign it", seal_id=seal.id)


def _check_heads(present: dict[int, bytes], heads: HeadFile | None) -> Iterator[Finding]:
    if heads is None:
        yield Finding("head", "no exported heads were given: a missing end of the chain is not detected")
        return
    exported = heads.read()
    if present and not exported:
        yield Finding("head", f"{heads.path} contains no heads, but there are {len(present)} seals; was it replaced?")
    for head in exported:
        if head.id not in present:
            yield Finding("head", f"seal {head.id} was exported and is missing", seal_id=head.id)
        elif present[head.id] != head.seal_hash:
            yield Finding("head", f"seal {head.id} differs from the exported head", seal_id=head.id)
