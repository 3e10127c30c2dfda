"""Archiving of log months: export, hash, put into the storage, then drop the partition."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from src.database.models import ActivityArchive, ActivityLog, ActivitySeal, Case
from src.errors import Conflict, InvalidInput
from src.maintenance.archive_storage import storage_id_of
from src.maintenance.brief_waits import BRIEFLY
from src.maintenance.log_archives import read_lines, without_payloads, write_month
from src.maintenance.restored import restoration_of
from src.storage import StorageBackend, keys

BASELINES_AT_ONCE = 1_000
# One archiving or erasing transaction at a time, and none during a verification, which has read the table.
_ALONE = text("LOCK TABLE public.activity_archives IN ACCESS EXCLUSIVE MODE")
# Indexes of fields in the JSON array that the leaf hash of an entry covers.
_CASE, _ENTITY, _ENTITY_ID = 5, 6, 7


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
        storage_id=storage_id_of(session, storage),
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


def erase_archived(
    session: Session, storage: StorageBackend, *, case_id: int | None = None, user_id: int | None = None
) -> int:
    """Erase payloads of a case, or of a user's own row, in archived months; return the number of erased entries.

    Each month is written to a new file. After the transaction of this session, the owner's, has committed, call
    `forget_replaced` to delete the old file. Raises Conflict while a legal hold is active in the case.
    """
    if (case_id is None) == (user_id is None):
        raise InvalidInput("Give either case_id or user_id.")
    session.execute(BRIEFLY)
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
        archive.storage_type, archive.storage_id = storage.name, storage_id_of(session, storage)
        archive.sha256 = stored.sha256 or _sha256(storage, stored.key)
        detail = {"month": f"{archive.month}", "entries": sorted(selected)}
        _append(session, "history.erased", detail)
        session.flush()  # log entry and new key are stored together
        emptied += len(selected)
    return emptied


def forget_replaced(session: Session, storage: StorageBackend) -> int:
    """Delete archive files without a row, left by a kill or replaced by an erasure; return how many.

    Those that may be newer than the backup from which this database was restored are kept.
    """
    known = set(session.scalars(select(ActivityArchive.storage_key)))
    restored = restoration_of(session)
    unknown = [
        found.key for found in storage.list("history")
        if found.key not in known and not (restored is not None and restored.is_newer(found.modified))
    ]  # fmt: skip
    return sum(storage.delete(key) for key in unknown)


def _require_finished(session: Session, month: date, partition: str) -> None:
    if session.scalar(text("SELECT now() < (CAST(:m AS date) + interval '1 month') AT TIME ZONE 'UTC'"), {"m": month}):
        raise Conflict(f"{month:%Y-%m} is not over yet; only finished months can be archived.")
    if session.scalar(select(func.to_regclass(f"public.{partition}"))) is None:
        raise Conflict(f"The partition {partition} does not exist: the month is archived already, or has no entries.")
    following = (month + timedelta(days=32)).replace(day=1)
    counted = select(func.count()).select_from(ActivityLog)
    begin, end = (datetime(day.year, day.month, 1, tzinfo=UTC) for day in (month, following))
    entries = session.scalar(counted.where(ActivityLog.created_at >= begin).where(ActivityLog.created_at < end))
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
