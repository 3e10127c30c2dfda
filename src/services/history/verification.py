"""Verification of the log: the chain, exported heads, entries, rows and segments of transcriptions."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, undefer

from src.database.models import ActivitySeal
from src.errors import Forbidden
from src.services.history.chain import merkle_root, seal_hash, unpack
from src.services.history.entry_checks import Batch, check_entries
from src.services.history.findings import Finding, Report
from src.services.history.row_history import check_rows, check_transcriptions
from src.services.history.seal_keys import SealKey
from src.services.history.sealing import fields_of
from src.services.history.tree_heads import HeadFile

__all__ = ["Finding", "Report", "verify"]

# The text form of values must not depend on settings of the session.
_PINNED = text("""
    SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true),
           set_config('IntervalStyle', 'postgres', true), set_config('bytea_output', 'hex', true),
           set_config('extra_float_digits', '1', true)
""")
_SEES_EVERYTHING = text("""
    SELECT public.actor_may('*', '*') OR pg_has_role(session_user, c.relowner, 'MEMBER')
      FROM pg_class c WHERE c.oid = 'public.activity_logs'::regclass
""")


def verify(
    session: Session,
    *,
    key: SealKey | None = None,
    heads: HeadFile | None = None,
    rows: bool = True,
    segments: bool = True,
) -> Report:
    """Recompute all hashes and return the differences as classified findings.

    `key` is the public key that must have signed the seals; load it from outside the database. `heads` are the exported
    heads: without them, missing seals at the end of the chain cannot be detected. `rows` compares every row of the
    captured tables with its last entry, `segments` every transcription with its digest. Can run concurrently with
    writers and does not depend on settings of the session, nor change them. Raises Forbidden unless the actor is an
    administrator or the database's owner, since other actors do not see all entries.
    """
    everything = session.scalar(_SEES_EVERYTHING)
    if not everything:
        raise Forbidden("Verification needs an administrator or the database's owner, who can see all entries.")
    report = Report()
    with session.begin_nested() as savepoint:
        session.execute(_PINNED)
        # A month that is archived meanwhile would look deleted.
        session.execute(select(func.public.keep_archives()))
        report.findings += _check_chain(session, key, report)
        if heads is not None:
            report.findings += _check_heads(session, heads)
        report.findings += check_entries(session, _batches(session), report)
        if rows:
            report.findings += check_rows(session, report)
        if segments:
            report.findings += check_transcriptions(session, report)
        savepoint.rollback()
    return report


def _check_chain(session: Session, key: SealKey | None, report: Report) -> Iterator[Finding]:
    previous: ActivitySeal | None = None
    ends: dict[int, int] = {}
    query = select(ActivitySeal).options(undefer(ActivitySeal.leaves)).order_by(ActivitySeal.id)
    for seal in session.scalars(query.execution_options(yield_per=100)):
        report.seals += 1
        expected = previous.id + 1 if previous is not None else 1
        if seal.id != expected:
            gap = f"seal {expected}" if seal.id == expected + 1 else f"seals {expected} to {seal.id - 1}"
            yield Finding("chain", f"{gap} missing before seal {seal.id}", seal_id=seal.id)
        if seal.previous_id != (previous.id if previous is not None else None):
            yield Finding("chain", f"seal {seal.id} does not refer to the seal before it", seal_id=seal.id)
        linked = seal_hash(fields_of(seal), bytes(seal.root), bytes(previous.seal_hash) if previous else None)
        if linked != bytes(seal.seal_hash):
            yield Finding("chain", f"seal {seal.id} was changed: its fields do not match its hash", seal_id=seal.id)
        leaves = [entry.leaf_hash for entry in unpack(seal.leaves)]
        if merkle_root(leaves) != bytes(seal.root) or len(leaves) != seal.entry_count:
            yield Finding("chain", f"seal {seal.id} was changed: its entries do not match its root", seal_id=seal.id)
        # The seals of one batch, one per month, have the same range.
        if seal.low_xid != ends.get(seal.epoch, 0) and not (
            previous is not None and (previous.epoch, previous.low_xid) == (seal.epoch, seal.low_xid)
        ):
            yield Finding("chain", f"seal {seal.id} does not begin where the seal before it ends", seal_id=seal.id)
        ends[seal.epoch] = seal.high_xid
        yield from _check_signature(seal, key)
        previous = seal


def _check_signature(seal: ActivitySeal, key: SealKey | None) -> Iterator[Finding]:
    if key is None:
        return
    if seal.signature is None:
        yield Finding("signature", f"seal {seal.id} is not signed", seal_id=seal.id)
    elif not key.verifies(bytes(seal.signature), bytes(seal.seal_hash)):
        yield Finding("signature", f"the signature of seal {seal.id} was not made with the given key", seal_id=seal.id)
    elif seal.signing_key != key.fingerprint:
        yield Finding("signature", f"seal {seal.id} has the fingerprint of a key that did not sign it", seal_id=seal.id)


def _check_heads(session: Session, heads: HeadFile) -> Iterator[Finding]:
    exported = heads.read()
    present = {row.id: bytes(row.seal_hash) for row in session.execute(select(ActivitySeal.id, ActivitySeal.seal_hash))}
    for head in exported:
        if head.id not in present:
            yield Finding("head", f"seal {head.id} was exported and is missing", seal_id=head.id)
        elif present[head.id] != head.seal_hash:
            yield Finding("head", f"seal {head.id} differs from the exported head", seal_id=head.id)


def _batches(session: Session) -> list[Batch]:
    columns = (
        ActivitySeal.id,
        ActivitySeal.month,
        ActivitySeal.epoch,
        ActivitySeal.low_xid,
        ActivitySeal.high_xid,
        ActivitySeal.next_xid,
        ActivitySeal.entry_count,
        ActivitySeal.created_at,
        ActivitySeal.pruned_at,
    )
    return [Batch(*row) for row in session.execute(select(*columns).order_by(ActivitySeal.id))]
