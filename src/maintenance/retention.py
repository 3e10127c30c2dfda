"""Archiving of log months: export, hash, put into the storage, then drop the partition."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from src.database.models import ActivityArchive, ActivityLog, ActivitySeal, ActivityType, Case
from src.errors import Conflict, InvalidInput, ObjectNotFound, StorageError
from src.maintenance.log_archives import read_lines, without_payloads, write_month
from src.services.history.chain import merkle_root
from src.services.history.findings import Finding
from src.storage import StorageBackend, keys

BASELINES_AT_ONCE = 1_000
# One archiving or erasing transaction at a time, and none during a verification (`keep_archives`).
_ALONE = text("LOCK TABLE public.activity_archives IN SHARE ROW EXCLUSIVE MODE")
# Indexes of fields in the JSON array that the leaf hash of an entry covers.
_TYPE_ID, _CASE, _ENTITY, _ENTITY_ID, _TRANSACTION, _EPOCH = 2, 5, 6, 7, 11, 12


def archive_month(session: Session, storage: StorageBackend, month: date) -> ActivityArchive:
    """Move a finished month of the log into the storage; its seals stay in the database, so it stays verifiable.

    The file is durable before the partition is dropped, in the transaction of this session, which is the owner's.
    Raises Conflict for a month that is not over, not completely sealed, or has no partition.
    """
    if month.day != 1:
        raise InvalidInput(f"month: {month}; give the first day of the month.")
    session.execute(text("SET LOCAL lock_timeout = '5s'"))
    session.execute(_ALONE)
    partition = f"activity_logs_{month:%Y_%m}"
    _require_finished(session, month, partition)
    forget_replaced(session, storage)
    with tempfile.TemporaryFile() as file:
        count = write_month(session, month, file)
        file.seek(0)
        stored = storage.put(keys.history_key(month), file)
    archive = ActivityArchive(
        month=month,
        storage_key=stored.key,
        storage_type=storage.name,
        size_bytes=stored.size,
        sha256=stored.sha256 or _sha256(storage, stored.key),
        entry_count=count,
    )
    session.add(archive)
    sealed = update(ActivitySeal).where(ActivitySeal.month == month, ActivitySeal.pruned_at.is_(None))
    session.execute(sealed.values(pruned_at=func.now()))
    _append(session, "history.archived", {"month": f"{month}", "sha256": archive.sha256, "entries": count})
    session.flush()  # the row is stored before the partition is dropped
    session.execute(text(f"ALTER TABLE public.activity_logs DETACH PARTITION public.{partition}"))
    session.execute(text(f"DROP TABLE public.{partition}"))
    # Rows whose last entry was archived get a new baseline entry, so that verify and revert do not need the archive.
    for table in session.scalars(select(func.public.captured_tables())).all():
        while session.scalar(select(func.public.write_baseline(table, BASELINES_AT_ONCE))) == BASELINES_AT_ONCE:
            pass
    return archive


def check_archives(session: Session, storage: StorageBackend) -> Iterator[Finding]:
    """Yield findings on archived months: missing or changed files, entries that are not sealed."""
    type_id = session.scalars(select(ActivityType.id).where(ActivityType.code == "history.erased")).one()
    erased = set(session.scalars(text(
        "SELECT DISTINCT e.value::text FROM public.activity_logs l,"
        " LATERAL jsonb_path_query(l.new, 'lax $.entries[*]') AS e (value) WHERE l.activity_type_id = :type_id"
    ), {"type_id": type_id}))  # fmt: skip
    intact = []
    for archive in session.scalars(select(ActivityArchive).order_by(ActivityArchive.month)).all():
        month = f"{archive.month:%Y-%m}"
        try:
            if _sha256(storage, archive.storage_key) != archive.sha256:
                yield Finding("archive", f"the archived month {month} does not match its sha256")
                continue
            erased |= _erased_of(_lines(storage, archive), type_id)
            intact.append(archive)
        except ObjectNotFound:
            yield Finding("archive", f"the archived month {month} is missing in the storage")
        except StorageError as error:
            yield Finding("archive", f"the archived month {month} cannot be read: {error}")
    # The erasure of an entry may be in a later month, so collect all erasures first.
    for archive in intact:
        yield from _check_lines(session, archive, _lines(storage, archive), erased)


def erase_archived(
    session: Session, storage: StorageBackend, *, case_id: int | None = None, user_id: int | None = None
) -> int:
    """Erase payloads of a case, or of a user's own row, in archived months; return the number of erased entries.

    Each month is written to a new file. After the transaction of this session, the owner's, has committed, call
    `forget_replaced` to delete the old file. Raises Conflict while a legal hold is active in the case.
    """
    if (case_id is None) == (user_id is None):
        raise InvalidInput("Give either case_id or user_id.")
    session.execute(_ALONE)
    if session.scalar(select(Case.active_holds).where(Case.id == case_id).with_for_update(read=True)):
        raise Conflict(f"Case {case_id} has an active legal hold, which forbids erasing; release it first.")
    emptied = 0
    for archive in session.scalars(select(ActivityArchive).order_by(ActivityArchive.month)).all():
        selected = {
            line["entry"] for line in _lines(storage, archive)
            if line.get("payload") is not None and _concerns(line["head"], case_id, user_id)
        }  # fmt: skip
        if not selected:
            continue
        stored = storage.put(keys.history_key(archive.month), without_payloads(_lines(storage, archive), selected))
        archive.storage_key, archive.size_bytes = stored.key, stored.size
        archive.sha256 = stored.sha256 or _sha256(storage, stored.key)
        detail = {"month": f"{archive.month}", "entries": sorted(selected)}
        _append(session, "history.erased", detail)
        session.flush()  # log entry and new key are stored together
        emptied += len(selected)
    return emptied


def forget_replaced(session: Session, storage: StorageBackend) -> int:
    """Delete archive files without a row, left by a kill or replaced by an erasure; return how many."""
    known = set(session.scalars(select(ActivityArchive.storage_key)))
    unknown = [found.key for found in storage.list("history") if found.key not in known]
    return sum(storage.delete(key) for key in unknown)


def _require_finished(session: Session, month: date, partition: str) -> None:
    if session.scalar(text("SELECT now() < (CAST(:m AS date) + interval '1 month') AT TIME ZONE 'UTC'"), {"m": month}):
        raise Conflict(f"{month:%Y-%m} is not over yet; only finished months can be archived.")
    if session.scalar(select(func.to_regclass(f"public.{partition}"))) is None:
        raise Conflict(f"The partition {partition} does not exist: the month is archived already, or has no entries.")
    following = (month + timedelta(days=32)).replace(day=1)
    counted = select(func.count()).select_from(ActivityLog)
    entries = session.scalar(counted.where(ActivityLog.created_at >= f"{month} 00:00:00+00")
                             .where(ActivityLog.created_at < f"{following} 00:00:00+00"))  # fmt: skip
    sealed = session.scalar(select(func.coalesce(func.sum(ActivitySeal.entry_count), 0))
                            .where(ActivitySeal.month == month))  # fmt: skip
    if entries != sealed:
        raise Conflict(
            f"{month:%Y-%m} has {entries} entries, {sealed} of them sealed; seal and verify before archiving."
        )


def _append(session: Session, type_code: str, detail: dict[str, Any]) -> None:
    session.execute(
        text(
            "SELECT public.append_activity(:type_code, 'event', NULL, public.actor_name(), NULL, NULL, NULL, NULL,"
            " CAST(:detail AS jsonb), NULL)"
        ),
        {"type_code": type_code, "detail": json.dumps(detail)},
    )


def _check_lines(
    session: Session, archive: ActivityArchive, lines: Iterable[dict[str, Any]], erased: set[str]
) -> Iterator[Finding]:
    month = f"{archive.month:%Y-%m}"
    seals = session.scalars(select(ActivitySeal).where(ActivitySeal.month == archive.month)).all()
    leaves: dict[int, list[tuple[int, bytes]]] = {seal.id: [] for seal in seals}
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
        seal_id = next((s.id for s in seals if s.epoch == epoch and s.low_xid <= xid < s.high_xid), None)
        if seal_id is None:
            yield Finding("inserted", f"archived entry {entry_id} of {month} is not in any seal", entry_id)
        else:
            leaves[seal_id].append((entry_id, leaf))
    for seal in seals:
        if merkle_root([leaf for _, leaf in sorted(leaves[seal.id])]) != bytes(seal.root):
            yield Finding("archive", f"the archived entries of {month} do not match seal {seal.id}", None, seal.id)


def _matches(line: dict[str, Any]) -> bool:
    payload_hash = bytes.fromhex(line["payload_hash"])
    if line["payload"] is not None:
        salted = bytes.fromhex(line["salt"]) + line["payload"].encode("utf-8")
        if hashlib.sha256(salted).digest() != payload_hash:
            return False
    leaf = hashlib.sha256(b"\x00" + line["head"].encode("utf-8") + payload_hash).hexdigest()
    return leaf == str(line["leaf_hash"])


def _erased_of(lines: Iterable[dict[str, Any]], type_id: int) -> set[str]:
    """Return the ids that erasures in this month list, as text: they may have been changed to other JSON values."""
    payloads = (json.loads(line["payload"]) for line in lines
                if line.get("payload") is not None and json.loads(line["head"])[_TYPE_ID] == type_id)  # fmt: skip
    lists = (payload["new"].get("entries") for payload in payloads if isinstance(payload["new"], dict))
    return {str(entry_id) for ids in lists if isinstance(ids, list) for entry_id in ids}


def _concerns(head: str, case_id: int | None, user_id: int | None) -> bool:
    fields = json.loads(head)
    if case_id is not None:
        return bool(fields[_CASE] == case_id)
    return bool(fields[_ENTITY] == "users" and fields[_ENTITY_ID] == user_id)


def _lines(storage: StorageBackend, archive: ActivityArchive) -> Iterator[dict[str, Any]]:
    with storage.get(archive.storage_key) as file:
        yield from read_lines(file)


def _sha256(storage: StorageBackend, key: str) -> str:
    digest = hashlib.sha256()
    with storage.get(key) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
