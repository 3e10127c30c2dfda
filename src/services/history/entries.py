"""Every entry beside its seal: recomputed, found, at its place; what differs gets its name."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from src.database.models import ActivityArchive, ActivitySeal
from src.services.history.chain import unpack
from src.services.history.findings import Finding, Report

# Enough for one query to pay, little enough to hold.
ENTRIES_AT_ONCE = 50_000
# An entry is stamped after its transaction began; clocks of a server are corrected by less than this.
CLOCK_TOLERANCE = timedelta(seconds=60)

# Recomputed by the server's own functions and by none of ours, which somebody might have replaced.
_RECOMPUTED = """
    SELECT l.id, l.transaction_id::text::bigint, l.epoch, l.created_at,
           (date_trunc('month', l.created_at AT TIME ZONE 'UTC'))::date,
           l.salt IS NULL AND l.old IS NULL AND l.new IS NULL,
           coalesce(sha256(l.salt || convert_to(jsonb_build_object('new', l.new, 'old', l.old)::text, 'UTF8'))
                    = l.payload_hash, false),
           sha256(decode('00', 'hex') || convert_to(jsonb_build_array(l.id,
               (extract(epoch FROM l.created_at) * 1000000)::bigint, l.activity_type_id, l.actor_id, l.actor,
               l.case_id, l.entity, l.entity_id, l.operation, l.reason, l.request_id, l.transaction_id::text, l.epoch,
               l.schema_revision)::text, 'UTF8') || l.payload_hash) = l.leaf_hash,
           l.leaf_hash
      FROM public.activity_logs l
"""
# Compared as text: what an entry says is JSON, and must not be able to stop a verification.
_ERASURES = text("""
    SELECT DISTINCT e.value::text FROM public.activity_logs l
      JOIN public.activity_types t ON t.id = l.activity_type_id AND t.code = 'history.erased'
     CROSS JOIN LATERAL jsonb_path_query(l.new, 'lax $.entries[*]') AS e (value)
""")
_ARCHIVED = text("""
    SELECT DISTINCT l.new ->> 'month' FROM public.activity_logs l
      JOIN public.activity_types t ON t.id = l.activity_type_id AND t.code = 'history.archived'
""")
# What a finding says about an entry that has several: where it is now says more than that its hash differs.
_TELLING = ("swapped", "moved", "back-dated", "changed", "rehashed", "erased", "deleted", "inserted")


class Batch(NamedTuple):
    """What one seal says it holds: a month's part of a span of transactions."""

    seal_id: int
    month: date
    epoch: int
    low_xid: int
    high_xid: int
    next_xid: int
    entry_count: int
    sealed_at: datetime
    pruned_at: datetime | None


class _Row(NamedTuple):
    id: int
    xid: int
    epoch: int
    at: datetime
    month: date
    empty: bool
    payload_fits: bool
    leaf_fits: bool
    leaf_hash: bytes


@dataclass
class _Differences:
    """Entries that are not where or what their seal says, until all have been seen and can be told apart."""

    missing: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    extra: dict[int, _Row] = field(default_factory=dict)
    other: dict[int, tuple[int, bytes, _Row]] = field(default_factory=dict)


def check_entries(session: Session, batches: Sequence[Batch], report: Report) -> Iterator[Finding]:
    """Yield what is wrong with entries, one finding for each of them: the name that says most."""
    clock = _Clock(batches)
    differences = _Differences()
    found: list[Finding] = []
    for group in _grouped(batches):
        rows = _rows(session, group[0].epoch, group[0].low_xid, group[-1].high_xid)
        sealed = _sealed(session, group)
        for row in rows:
            report.entries += 1
            found += _own_hashes(row)
            found += clock.check(row)
            known = sealed.pop(row.id, None)
            if known is None:
                differences.extra[row.id] = row
                continue
            if known[1] != row.leaf_hash:
                differences.other[row.id] = (*known, row)
            if not _spans(group, known[0], row):
                differences.extra[row.id] = row
                differences.missing[row.id] = known
        pruned = {batch.seal_id for batch in group if batch.pruned_at is not None}
        differences.missing.update({number: known for number, known in sealed.items() if known[0] not in pruned})
    strange = _unsealable_epochs(session, batches)
    for row in _unsealed(session, batches):
        report.entries += 1
        report.unsealed += 1
        found += _own_hashes(row)
        found += clock.check(row)
        if row.id in differences.missing or row.epoch in strange:
            differences.extra[row.id] = row
    found += _name(differences)
    # Read after the entries: an erasure that commits meanwhile is then known before its entries look empty.
    erased = set(session.scalars(_ERASURES))
    yield from _one_name_each(
        finding for finding in found if finding.kind != "erased" or str(finding.entry_id) not in erased
    )
    yield from _check_pruned(session, batches)
    report.in_default_partition = (
        session.scalar(
            text(
                "SELECT count(*) FROM public.activity_logs WHERE tableoid = to_regclass('public.activity_logs_default')"
            )
        )
        or 0
    )


def _one_name_each(findings: Iterable[Finding]) -> Iterator[Finding]:
    best: dict[int, Finding] = {}
    for finding in findings:
        number = finding.entry_id or 0
        if number not in best or _TELLING.index(finding.kind) < _TELLING.index(best[number].kind):
            best[number] = finding
    return (best[number] for number in sorted(best))


def _own_hashes(row: _Row) -> Iterator[Finding]:
    if not row.leaf_fits:
        yield Finding("changed", f"entry {row.id} does not give its own hash", entry_id=row.id)
    elif row.empty:
        yield Finding("erased", f"entry {row.id} says nothing any more, and no erasure names it", entry_id=row.id)
    elif not row.payload_fits:
        yield Finding("changed", f"what entry {row.id} says does not give its hash", entry_id=row.id)


def _name(differences: _Differences) -> Iterator[Finding]:
    sealed_as = {leaf: number for number, (_, leaf, _) in differences.other.items()}
    for number, (seal, _, row) in sorted(differences.other.items()):
        partner = sealed_as.get(row.leaf_hash)
        if partner is not None and partner != number:
            yield Finding("swapped", f"entry {number} is what seal {seal} knows as {partner}", number, seal)
        else:
            yield Finding("rehashed", f"entry {number} is not the one that seal {seal} knows", number, seal)
    for number, (seal, _) in sorted(differences.missing.items()):
        if number in differences.extra:
            moved = differences.extra[number]
            yield Finding("moved", f"entry {number} of seal {seal} now claims {moved.at:%Y-%m-%d %H:%M}", number, seal)
        else:
            yield Finding("deleted", f"entry {number} of seal {seal} is gone", number, seal)
    for number, row in sorted(differences.extra.items()):
        if number not in differences.missing:
            yield Finding("inserted", f"entry {number} of {row.at:%Y-%m-%d %H:%M} is in no seal", number)


class _Clock:
    """Knows from the seals when a transaction can have begun at the earliest."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._known: dict[int, tuple[list[int], list[datetime]]] = {}
        for batch in batches:
            upcoming, times = self._known.setdefault(batch.epoch, ([], []))
            if not upcoming or batch.next_xid > upcoming[-1]:
                upcoming.append(batch.next_xid)
                times.append(batch.sealed_at)

    def check(self, row: _Row) -> Iterator[Finding]:
        upcoming, times = self._known.get(row.epoch, ([], []))
        place = bisect_right(upcoming, row.xid)
        if place and row.at < times[place - 1] - CLOCK_TOLERANCE:
            yield Finding(
                "back-dated",
                f"entry {row.id} claims {row.at:%Y-%m-%d %H:%M:%S}, its transaction began after"
                f" {times[place - 1]:%Y-%m-%d %H:%M:%S}",
                entry_id=row.id,
            )


def _grouped(batches: Sequence[Batch]) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    held = 0
    for batch in sorted(batches, key=lambda batch: (batch.epoch, batch.low_xid, batch.seal_id)):
        full = held >= ENTRIES_AT_ONCE and group and batch.low_xid != group[-1].low_xid
        # A gap, which the chain reports, must not be read as if it were sealed.
        apart = group and (batch.epoch != group[-1].epoch or batch.low_xid > max(b.high_xid for b in group))
        if full or apart:
            yield group
            group, held = [], 0
        group.append(batch)
        held += batch.entry_count
    if group:
        yield group


def _unsealable_epochs(session: Session, batches: Sequence[Batch]) -> set[int]:
    """Return the epochs that no seal will hold: what came with a dump is sealed with this cluster's first entries."""
    here = session.scalar(text("SELECT system_identifier FROM pg_control_system()"))
    known = {batch.epoch for batch in batches} | {here}
    if not any(batch.epoch == here for batch in batches):
        return set()
    listed = text("SELECT DISTINCT l.epoch FROM public.activity_logs l WHERE l.epoch <> ALL (:known)")
    return set(session.scalars(listed, {"known": list(known)}))


def _spans(group: Sequence[Batch], seal_id: int, row: _Row) -> bool:
    return any(b.seal_id == seal_id and b.month == row.month and b.low_xid <= row.xid < b.high_xid for b in group)


def _sealed(session: Session, group: Sequence[Batch]) -> dict[int, tuple[int, bytes]]:
    ids = [batch.seal_id for batch in group]
    leaves = session.execute(select(ActivitySeal.id, ActivitySeal.leaves).where(ActivitySeal.id.in_(ids)))
    return {entry.id: (seal_id, entry.leaf_hash) for seal_id, packed in leaves for entry in unpack(packed)}


def _rows(session: Session, epoch: int, low: int, high: int) -> Iterator[_Row]:
    span = (
        " WHERE l.epoch = :epoch AND l.transaction_id >= CAST(:low AS xid8) AND l.transaction_id < CAST(:high AS xid8)"
    )
    yield from _stream(session, span, {"epoch": epoch, "low": str(low), "high": str(high)})


def _unsealed(session: Session, batches: Sequence[Batch]) -> Iterator[_Row]:
    """Yield the entries that no seal spans: newer ones, those of an epoch without seals, those in a gap."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for group in _grouped(batches):
        spans.setdefault(group[0].epoch, []).append((group[0].low_xid, max(batch.high_xid for batch in group)))
    for epoch, covered in spans.items():
        outside = " AND ".join(
            f"NOT (l.transaction_id >= '{low}'::xid8 AND l.transaction_id < '{high}'::xid8)" for low, high in covered
        )
        newest = max(high for _, high in covered)
        whole = len(covered) == 1 and covered[0][0] == 0
        condition = f"l.transaction_id >= '{newest}'::xid8" if whole else outside
        yield from _stream(session, f" WHERE l.epoch = :epoch AND {condition}", {"epoch": epoch})
    known = ", ".join(str(epoch) for epoch in spans) or "NULL"
    yield from _stream(session, f" WHERE (l.epoch IN ({known})) IS NOT TRUE", {})


def _stream(session: Session, condition: str, parameters: dict[str, Any]) -> Iterator[_Row]:
    statement = text(_RECOMPUTED + condition).execution_options(yield_per=5_000)
    for row in session.execute(statement, parameters):
        yield _Row._make((*row[:-1], bytes(row[-1])))


def _check_pruned(session: Session, batches: Sequence[Batch]) -> Iterator[Finding]:
    pruned = {batch.month for batch in batches if batch.pruned_at is not None}
    kept = set(session.scalars(select(ActivityArchive.month)))
    said = set(session.scalars(_ARCHIVED))
    for month in sorted(pruned - kept):
        yield Finding("archive", f"the entries of {month:%Y-%m} are gone, and no archive holds them")
    # The entry that says so lies in a later month, with which it may have left for the archive itself.
    for month in sorted(pruned & kept):
        if str(month) not in said and not any(later > month for later in pruned):
            yield Finding(
                "archive", f"the entries of {month:%Y-%m} are gone, and no entry says that they were archived"
            )
