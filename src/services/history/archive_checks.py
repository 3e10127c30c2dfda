"""Verify archived months: what the database says about them, and their files in the storage."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import IO, Any, Protocol

from sqlalchemy.orm import Session

from src.errors import ConfigurationError, ObjectNotFound, StorageError
from src.services.history.archived_months import read_lines
from src.services.history.chain import merkle_root, unpack
from src.services.history.entry_hashes import sha256
from src.services.history.findings import Batch, Finding
from src.services.history.trusted_reading import rows, values

# Indexes of fields in the JSON array that the leaf hash of an entry covers.
_TYPE_ID, _TRANSACTION, _EPOCH = 2, 11, 12
# What reading a line of a forged file can raise.
_MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)
_ARCHIVES = """
    SELECT pg_catalog.format('%s', a.month) AS month, a.storage_key, a.storage_type, a.size_bytes, a.sha256,
           a.entry_count
      FROM public.activity_archives a ORDER BY a.month, a.id
"""
_ARCHIVED = """
    SELECT DISTINCT l.new ->> 'month', l.new ->> 'entries' FROM public.activity_logs l
      JOIN public.activity_types t ON t.id = l.activity_type_id AND t.code = 'history.archived'
"""
_ERASED = """
    SELECT DISTINCT pg_catalog.format('%s', e.value) FROM public.activity_logs l
      JOIN public.activity_types t ON t.id = l.activity_type_id AND t.code = 'history.erased'
     CROSS JOIN LATERAL pg_catalog.jsonb_path_query(l.new, 'lax $.entries[*]') AS e (value)
"""
_SEALS = """
    SELECT s.id, s.epoch, pg_catalog.format('%s', s.low_xid) AS low_xid,
           pg_catalog.format('%s', s.high_xid) AS high_xid, s.root, s.leaves
      FROM public.activity_seals s WHERE s.month = CAST(:month AS date) AND s.pruned_at IS NOT NULL ORDER BY s.id
"""


class ArchiveStorage(Protocol):
    """The storage of archived months, as far as the verification reads it."""

    def get(self, key: str) -> IO[bytes]: ...


def check_pruned(session: Session, batches: Sequence[Batch], present: set[date]) -> Iterator[Finding]:
    """Yield the months whose seals, archives and log entries do not agree that they were archived as a whole.

    `present` are the months of pruned seals with entries that are still in the log.
    """
    sealed: Counter[str] = Counter()
    for batch in batches:
        if batch.pruned_at is not None:
            sealed[batch.month.isoformat()] += batch.entry_count
    archived: dict[str, list[int]] = {}
    for archive in rows(session, _ARCHIVES):
        archived.setdefault(archive.month, []).append(archive.entry_count)
    for month in sorted(sealed.keys() - archived.keys()):
        yield Finding("archive", f"the entries of {month[:7]} are missing and not archived")
    for day in sorted(present):
        yield Finding("archive", f"seals of {day:%Y-%m} say that its entries were archived, and some are in the log")
    logged: dict[str, str] = {row[0]: row[1] for row in rows(session, _ARCHIVED)}
    for month, counts in sorted(archived.items()):
        yield from _check_archive(month, counts, sealed, logged)


def _check_archive(month: str, counts: list[int], sealed: Counter[str], logged: dict[str, str]) -> Iterator[Finding]:
    if len(counts) > 1:
        yield Finding("archive", f"{month[:7]} has {len(counts)} archives")
    if month not in sealed:
        yield Finding("archive", f"{month[:7]} has an archive, but no seal says that its entries were archived")
    elif counts[-1] != sealed[month]:
        yield Finding("archive", f"the archive of {month[:7]} has {counts[-1]} entries, its seals {sealed[month]}")
    # The log entry of the archiving is in a later month, which may have been archived as well.
    elif month not in logged and not any(later > month for later in sealed):
        yield Finding("archive", f"the entries of {month[:7]} are missing; no log entry records the archiving")
    elif logged.get(month, str(counts[-1])) != str(counts[-1]):
        yield Finding("archive", f"the log entry of the archiving of {month[:7]} has another number of entries")


def unread_archives(session: Session) -> list[str]:
    """Return a sentence for each archived month, for a verification without the storage."""
    return [f"the archive of {archive.month[:7]}, without a storage" for archive in rows(session, _ARCHIVES)]


def check_archives(session: Session, storage: ArchiveStorage) -> Iterator[Finding]:
    """Yield findings on archived months: missing or changed files, entries that differ from the seals."""
    type_ids = set(values(session, "SELECT t.id FROM public.activity_types t WHERE t.code = 'history.erased'"))
    erased = set(values(session, _ERASED))
    intact = []
    for archive in rows(session, _ARCHIVES):
        month = f"{archive.month[:7]}"
        try:
            digest, size = _digest(storage, archive.storage_key)
            if digest != archive.sha256:
                yield Finding("archive", f"the archived month {month} does not match its sha256")
                continue
            if size != archive.size_bytes:
                yield Finding("archive", f"the archived month {month} has {size} bytes, not {archive.size_bytes}")
            erased |= _erased_of(_lines(storage, archive), type_ids)
            intact.append(archive)
        except ObjectNotFound:
            yield Finding("archive", f"the archived month {month} is missing in the storage")
        except (ConfigurationError, StorageError) as error:
            yield Finding("archive", f"the archived month {month} cannot be read: {error}")
        except _MALFORMED as error:
            yield Finding("archive", f"the archived month {month} is malformed: {error!r}")
    # The erasure of an entry may be in a later month, so collect all erasures first.
    for archive in intact:
        try:
            yield from _check_lines(session, archive, _lines(storage, archive), erased)
        except _MALFORMED as error:
            yield Finding("archive", f"the archived month {archive.month[:7]} is malformed: {error!r}")


def _check_lines(
    session: Session, archive: Any, lines: Iterable[dict[str, Any]], erased: set[str]
) -> Iterator[Finding]:
    month = f"{archive.month[:7]}"
    seals = rows(session, _SEALS, {"month": archive.month})
    leaves: dict[int, dict[int, bytes]] = {seal.id: {} for seal in seals}
    for line in lines:
        if "entry" not in line:
            continue
        entry_id, leaf = line["entry"], bytes.fromhex(line["leaf_hash"])
        if not _matches(line):
            yield Finding("changed", f"archived entry {entry_id} of {month} does not match its hashes", entry_id)
        elif line["payload"] is None and str(entry_id) not in erased:
            yield Finding(
                "erased", f"archived entry {entry_id} of {month} has no payload, and no erasure lists it", entry_id
            )
        head = json.loads(line["head"])
        epoch, xid = head[_EPOCH], int(head[_TRANSACTION])
        found = (s.id for s in seals if s.epoch == epoch and int(s.low_xid) <= xid < int(s.high_xid))
        seal_id = next(found, None)
        if seal_id is None:
            yield Finding("inserted", f"archived entry {entry_id} of {month} is not in any seal", entry_id)
        else:
            leaves[seal_id][entry_id] = leaf
    for seal in seals:
        present = leaves[seal.id]
        if merkle_root([leaf for _, leaf in sorted(present.items())]) != bytes(seal.root):
            yield Finding("archive", f"the archived entries of {month} do not match seal {seal.id}", None, seal.id)
            yield from _named(month, seal, present)


def _named(month: str, seal: Any, present: dict[int, bytes]) -> Iterator[Finding]:
    """Yield the archived entries that differ from their seal."""
    sealed = {entry.id: entry.leaf_hash for entry in unpack(bytes(seal.leaves))}
    for entry in sorted(sealed.keys() | present.keys()):
        if entry not in present:
            yield Finding("deleted", f"entry {entry} of seal {seal.id} is not in the archive {month}", entry, seal.id)
        elif entry not in sealed:
            yield Finding("inserted", f"archived entry {entry} of {month} is not in seal {seal.id}", entry, seal.id)
        elif sealed[entry] != present[entry]:
            yield Finding("rehashed", f"archived entry {entry} differs from its hash in seal {seal.id}", entry, seal.id)


def _matches(line: dict[str, Any]) -> bool:
    payload = bytes.fromhex(line["payload_hash"])
    written: str | None = line["payload"]
    if written is not None and sha256(bytes.fromhex(line["salt"]), written.encode("utf-8")) != payload:
        return False
    head: str = line["head"]
    is_of_entry: bool = json.loads(head)[0] == line["entry"]
    return is_of_entry and sha256(b"\x00", head.encode("utf-8"), payload).hex() == str(line["leaf_hash"])


def _erased_of(lines: Iterable[dict[str, Any]], type_ids: set[int]) -> set[str]:
    """Return the ids that erasures in this month list, as text: they may have been changed to other JSON values."""
    payloads = (json.loads(line["payload"]) for line in lines
                if line.get("payload") is not None and json.loads(line["head"])[_TYPE_ID] in type_ids)  # fmt: skip
    lists = (payload["new"].get("entries") for payload in payloads if isinstance(payload["new"], dict))
    return {str(entry_id) for ids in lists if isinstance(ids, list) for entry_id in ids}


def _lines(storage: ArchiveStorage, archive: Any) -> Iterator[dict[str, Any]]:
    with storage.get(archive.storage_key) as file:
        yield from read_lines(file)


def _digest(storage: ArchiveStorage, key: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with storage.get(key) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
