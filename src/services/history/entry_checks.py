"""Verify entries against their seals: recompute hashes, find missing, extra and moved entries, classify them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from src.services.history.archive_checks import check_pruned
from src.services.history.chain import unpack
from src.services.history.entry_hashes import leaf_hash, parse_time, payload_hash, time_of_head
from src.services.history.findings import Batch, Finding, Report
from src.services.history.trusted_reading import as_text, stream, values, with_indexes

# Instead of a number that is null without right; no entry has it.
_UNKNOWN = -1
# Many enough to amortise a query, few enough for memory.
ENTRIES_AT_ONCE = 50_000
# An entry is stamped after its transaction began; corrections of a server's clock are smaller than this.
CLOCK_TOLERANCE = timedelta(seconds=60)

_ENTRIES = f"""
    SELECT l.id, {as_text("l.created_at")}, l.activity_type_id, l.actor_id, l.actor, l.case_id, l.entity, l.entity_id,
           l.operation, l.reason, l.request_id, {as_text("l.transaction_id")}, l.epoch, l.schema_revision, l.salt,
           {as_text("l.new")}, {as_text("l.old")}, l.payload_hash, l.leaf_hash, l.updated_at = l.created_at
      FROM public.activity_logs l
"""  # noqa: S608 - constants
# Compared as text: an unexpected JSON value in a payload must not abort the verification.
_ERASURES = """
    SELECT DISTINCT pg_catalog.format('%s', e.value) FROM public.activity_logs l
      JOIN public.activity_types t ON t.id = l.activity_type_id AND t.code = 'history.erased'
     CROSS JOIN LATERAL pg_catalog.jsonb_path_query(l.new, 'lax $.entries[*]') AS e (value)
"""
_LEAVES = "SELECT s.id, s.leaves FROM public.activity_seals s WHERE s.id = ANY (:ids) AND s.leaves IS NOT NULL"
_IN_DEFAULT_PARTITION = """
    SELECT pg_catalog.count(*) FROM public.activity_logs l
     WHERE l.tableoid = pg_catalog.to_regclass('public.activity_logs_default')
"""
# Of several findings on an entry the first kind is reported: a new position is more specific than a different hash.
_SPECIFIC_FIRST = (
    "swapped", "moved", "back-dated", "post-dated", "changed", "rehashed", "erased", "deleted", "inserted",
    "stamp",
)  # fmt: skip


class _Row(NamedTuple):
    id: int
    xid: int
    epoch: int
    at: datetime | None
    month: date | None
    is_empty: bool
    payload_matches: bool
    leaf_matches: bool
    stamps_match: bool
    leaf_hash: bytes


@dataclass
class _Differences:
    """Entries that differ from their seals, collected until all are read and can be classified."""

    missing: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    extra: dict[int, _Row] = field(default_factory=dict)
    other: dict[int, tuple[int, bytes, _Row]] = field(default_factory=dict)


@dataclass
class _Pruned:
    """What is in the log, and what is not, of seals whose entries are said to be in the archive."""

    months: dict[int, date]
    present: set[date] = field(default_factory=set)
    missing: dict[int, tuple[int, bytes]] = field(default_factory=dict)

    def removed_by_hand(self) -> dict[int, tuple[int, bytes]]:
        """Return the missing entries of months that were not moved as a whole: archiving drops their partition."""
        return {entry: known for entry, known in self.missing.items() if self.months[known[0]] in self.present}


def check_entries(
    session: Session, batches: Sequence[Batch], report: Report, *, by_index: bool = False
) -> Iterator[Finding]:
    """Yield one finding for each entry that differs: the most specific kind. `by_index`: the indexes can be trusted."""
    clock = _Clock(batches, now=values(session, "SELECT pg_catalog.clock_timestamp()")[0])
    differences = _Differences()
    pruned = _Pruned({batch.seal_id: batch.month for batch in batches if batch.pruned_at is not None})
    found: list[Finding] = []
    for group in _grouped(batches):
        with with_indexes(session, allowed=by_index):
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
            if known[0] in pruned.months:
                pruned.present.add(pruned.months[known[0]])
            if known[1] != row.leaf_hash:
                differences.other[row.id] = (*known, row)
            if not _in_range(group, known[0], row):
                differences.extra[row.id] = row
                differences.missing[row.id] = known
        for entry_id, known in sealed.items():
            (pruned.missing if known[0] in pruned.months else differences.missing)[entry_id] = known
    differences.missing.update(pruned.removed_by_hand())
    unsealable = _unsealable_epochs(session, batches)
    for row in _unsealed(session, batches):
        report.entries += 1
        report.unsealed += 1
        found += _own_hashes(row)
        found += clock.check(row)
        if row.id in differences.missing or row.epoch in unsealable:
            differences.extra[row.id] = row
    found += _classified(differences)
    # Read after the entries, to include erasures that were committed while the entries were read.
    erased = set(values(session, _ERASURES))
    yield from _most_specific(
        finding for finding in found if finding.kind != "erased" or str(finding.entry_id) not in erased
    )
    yield from check_pruned(session, batches, pruned.present)
    report.in_default_partition = values(session, _IN_DEFAULT_PARTITION)[0]


def _most_specific(findings: Iterable[Finding]) -> Iterator[Finding]:
    best: dict[int, Finding] = {}
    for finding in findings:
        entry_id = finding.entry_id or 0
        if entry_id not in best or _SPECIFIC_FIRST.index(finding.kind) < _SPECIFIC_FIRST.index(best[entry_id].kind):
            best[entry_id] = finding
    return (best[entry_id] for entry_id in sorted(best))


def _own_hashes(row: _Row) -> Iterator[Finding]:
    if not row.leaf_matches:
        yield Finding("changed", f"entry {row.id} does not match its leaf hash", entry_id=row.id)
    elif row.is_empty:
        yield Finding("erased", f"entry {row.id} has no payload, and no erasure lists it", entry_id=row.id)
    elif not row.payload_matches:
        yield Finding("changed", f"the payload of entry {row.id} does not match its hash", entry_id=row.id)
    elif not row.stamps_match:
        yield Finding("stamp", f"updated_at of entry {row.id} is not its time", entry_id=row.id)


def _classified(differences: _Differences) -> Iterator[Finding]:
    sealed_as = {leaf: entry_id for entry_id, (_, leaf, _) in differences.other.items()}
    for entry_id, (seal, _, row) in sorted(differences.other.items()):
        partner = sealed_as.get(row.leaf_hash)
        if partner is not None and partner != entry_id:
            yield Finding("swapped", f"entry {entry_id} has the hash of {partner} in seal {seal}", entry_id, seal)
        else:
            yield Finding("rehashed", f"entry {entry_id} differs from its hash in seal {seal}", entry_id, seal)
    for entry_id, (seal, _) in sorted(differences.missing.items()):
        if entry_id in differences.extra:
            moved = _day(differences.extra[entry_id].at)
            yield Finding("moved", f"entry {entry_id} of seal {seal} now has the time {moved}", entry_id, seal)
        else:
            yield Finding("deleted", f"entry {entry_id} of seal {seal} is missing", entry_id, seal)
    for entry_id, row in sorted(differences.extra.items()):
        if entry_id not in differences.missing:
            yield Finding("inserted", f"entry {entry_id} of {_day(row.at)} is not in any seal", entry_id)


class _Clock:
    """The times between which an entry can have been written, derived from the seals and from the clock of now."""

    def __init__(self, batches: Sequence[Batch], *, now: datetime) -> None:
        self._latest = now + CLOCK_TOLERANCE
        self._known: dict[int, tuple[list[int], list[datetime]]] = {}
        for batch in batches:
            next_xids, times = self._known.setdefault(batch.epoch, ([], []))
            if not next_xids or batch.next_xid > next_xids[-1]:
                next_xids.append(batch.next_xid)
                times.append(batch.sealed_at)

    def check(self, row: _Row) -> Iterator[Finding]:
        if row.at is None or row.at > self._latest:
            yield Finding("post-dated", f"entry {row.id} has a time in the future", entry_id=row.id)
            return
        next_xids, times = self._known.get(row.epoch, ([], []))
        index = bisect_right(next_xids, row.xid)
        if index and row.at < times[index - 1] - CLOCK_TOLERANCE:
            yield Finding(
                "back-dated",
                f"entry {row.id} has the time {row.at:%Y-%m-%d %H:%M:%S}, but its transaction began after"
                f" {times[index - 1]:%Y-%m-%d %H:%M:%S}",
                entry_id=row.id,
            )


def _day(at: datetime | None) -> str:
    return "an impossible time" if at is None else f"{at:%Y-%m-%d %H:%M}"


def _grouped(batches: Sequence[Batch]) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    count = 0
    for batch in sorted(batches, key=lambda batch: (batch.epoch, batch.low_xid, batch.seal_id)):
        full = count >= ENTRIES_AT_ONCE and group and batch.low_xid != group[-1].low_xid
        # Do not read a gap, which the check of the chain reports, as sealed.
        gap = group and (batch.epoch != group[-1].epoch or batch.low_xid > max(b.high_xid for b in group))
        if full or gap:
            yield group
            group, count = [], 0
        group.append(batch)
        count += batch.entry_count
    if group:
        yield group


def _unsealable_epochs(session: Session, batches: Sequence[Batch]) -> set[int]:
    """Return the epochs that can never be sealed: a restored dump is sealed with this cluster's first entries."""
    current = values(session, "SELECT system_identifier FROM pg_catalog.pg_control_system()")[0]
    known = {batch.epoch for batch in batches} | {current}
    if not any(batch.epoch == current for batch in batches):
        return set()
    listed = "SELECT DISTINCT l.epoch FROM public.activity_logs l WHERE l.epoch <> ALL (:known)"
    return set(values(session, listed, {"known": list(known)}))


def _in_range(group: Sequence[Batch], seal_id: int, row: _Row) -> bool:
    return any(b.seal_id == seal_id and b.month == row.month and b.low_xid <= row.xid < b.high_xid for b in group)


def _sealed(session: Session, group: Sequence[Batch]) -> dict[int, tuple[int, bytes]]:
    ids = [batch.seal_id for batch in group]
    leaves = stream(session, _LEAVES, {"ids": ids})
    return {entry.id: (seal_id, entry.leaf_hash) for seal_id, packed in leaves for entry in unpack(bytes(packed))}


def _rows(session: Session, epoch: int, low: int, high: int) -> Iterator[_Row]:
    # The query is executed here, and its rows are fetched later.
    span = (
        " WHERE l.epoch = :epoch AND l.transaction_id::text::bigint >= :low AND l.transaction_id::text::bigint < :high"
    )
    return _stream(session, span, {"epoch": epoch, "low": str(low), "high": str(high)})


def _unsealed(session: Session, batches: Sequence[Batch]) -> Iterator[_Row]:
    """Yield the entries outside the range of every seal: newer ones, those of an unsealed epoch, those in a gap."""
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
    yield from _stream(session, f" WHERE (l.epoch IN ({known})) IS NOT TRUE OR l.transaction_id IS NULL", {})


def _stream(session: Session, condition: str, parameters: dict[str, Any]) -> Iterator[_Row]:
    return map(_hashed, stream(session, _ENTRIES + condition, parameters))


def _hashed(row: Any) -> _Row:
    """Return an entry with the results of recomputing its hashes; a field that is null without right has no hash."""
    (entry_id, written_at, type_id, actor_id, actor, case_id, entity, row_id, operation, reason, request_id, xid, epoch,
     revision, salt, new, old, payload, leaf, stamps_match) = row  # fmt: skip
    at, payload, leaf = parse_time(written_at), bytes(payload or b""), bytes(leaf or b"")
    head = (entry_id, time_of_head(at), type_id, actor_id, actor, case_id, entity, row_id, operation, reason,
            request_id, xid, epoch, revision)  # fmt: skip
    required = (entry_id, type_id, actor, operation, xid, epoch, revision)
    # JSON's null is hashed like an absent image, and no entry has it.
    is_sound = salt is not None and "null" not in (new, old)
    return _Row(
        id=_UNKNOWN if entry_id is None else entry_id,
        xid=_UNKNOWN if xid is None else int(xid),
        epoch=_UNKNOWN if epoch is None else epoch,
        at=at,
        month=None if at is None else at.date().replace(day=1),
        is_empty=salt is None and new is None and old is None,
        payload_matches=is_sound and payload_hash(bytes(salt), new, old) == payload,
        leaf_matches=at is not None and None not in required and leaf_hash(head, payload) == leaf,
        stamps_match=stamps_match is True,
        leaf_hash=leaf,
    )
