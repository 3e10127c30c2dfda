"""Objects without a row: listed and removed; those that a restored database may have forgotten are listed apart."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.database.models import AudioFile, StorageObject
from src.errors import ObjectNotFound
from src.maintenance.restored import restoration_of
from src.maintenance.served_storages import ServedStorages, served
from src.maintenance.sweeping import DAY, is_held
from src.services.recordings.audit import log_as_owner
from src.storage import ObjectInfo, StorageBackend

_AT_ONCE = 1_000
_AREAS = ("archive", "cases")


def unknown_objects(
    session: Session, storage: StorageBackend, *, older_than: timedelta = DAY, after_restore: bool | None = None
) -> Iterator[str]:
    """Yield the keys of objects without a row that were written `older_than` ago; lists the whole storage.

    A kill leaves none, since a row is committed before the first byte. They come from a writer that lost its database
    and continued, belong to another database, or to rows that a restored older backup does not have: check first.
    `after_restore` limits them to those that are newer than the backup from which this database was restored, or to all
    others.
    """
    with session.begin():
        restored = restoration_of(session)
    for found in _without_row(session, storage, older_than):
        newer = restored is not None and restored.is_newer(found.modified)
        if after_restore is None or newer == after_restore:
            yield found.key


def remove_unknown(
    session: Session, storage: StorageBackend, *, older_than: timedelta = DAY, named: Collection[str] = ()
) -> list[str]:
    """Remove what `unknown_objects` yields, except of cases under a legal hold; return the removed keys.

    Only where no other database uses the storage. Objects that may be newer than the backup from which this database
    was restored are recordings that it has forgotten: they are removed only when `named`, and then only those. Raises
    StorageError for one that cannot be removed; those before it are removed, and the log has their count.
    """
    served(session, storage)
    removed: list[str] = []
    newer = None if named else False
    try:
        for key in unknown_objects(session, storage, older_than=older_than, after_restore=newer):
            if named and key not in named:
                continue
            with session.begin():
                if not _names_held_case(session, key):
                    storage.delete(key)
                    removed.append(key)
        removed += [key for key in sorted(set(named) - set(removed)) if _remove_pending(session, storage, key)]
    finally:
        if removed:
            with session.begin():
                detail = {"name": storage.name, "objects": len(removed), "outcome": "unknown objects removed"}
                log_as_owner(session, "storage.swept", detail=detail)
    return removed


def _remove_pending(session: Session, storage: StorageBackend, key: str) -> bool:
    """Remove an object that the snapshot had announced; return whether it was one."""
    with session.begin():
        restored = restoration_of(session)
        row = session.scalars(
            select(StorageObject).where(StorageObject.key == key, StorageObject.state == "pending").with_for_update()
        ).one_or_none()
        if row is None or restored is None or not restored.may_be_live(row.created_at) or not has(storage, key):
            return False
        if _names_held_case(session, key):
            return False
        session.delete(row)
        session.flush()  # the row goes first
        return storage.delete(key)


def offered(session: Session, storages: ServedStorages) -> Iterator[tuple[StorageBackend, str]]:
    """Yield the objects that a database which was restored may have forgotten: without a row, or announced only."""
    with session.begin():
        restored = restoration_of(session)
    if restored is None:
        return
    for storage in storages.every():
        for found in _without_row(session, storage, timedelta(0)):
            if restored.is_newer(found.modified):
                yield storage, found.key
    with session.begin():
        pending = session.execute(
            select(StorageObject.key, StorageObject.storage_id, StorageObject.backend)
            .where(
                StorageObject.state == "pending", StorageObject.created_at <= restored.restored_at, storages.covers()
            )
            .order_by(StorageObject.id)
        ).all()
    for key, storage_id, name in pending:
        holder = storages.find(storage_id, name)
        if holder is not None and has(holder, key):
            yield holder, key


def _without_row(session: Session, storage: StorageBackend, older_than: timedelta) -> Iterator[ObjectInfo]:
    for area in _AREAS:
        after: str | None = None
        while True:
            page = []
            for found in storage.list(area, after=after):
                page.append(found)
                if len(page) == _AT_ONCE:
                    break
            if not page:
                break
            after = page[-1].key
            with session.begin():
                # Queried after the listing: every listed object had its row before its first byte.
                known = set(
                    session.scalars(select(StorageObject.key).where(StorageObject.key.in_([f.key for f in page])))
                )
                now = session.scalars(select(func.now())).one()
            yield from (f for f in page if f.key not in known and f.modified <= now - older_than)


def has(storage: StorageBackend, key: str) -> bool:
    """Return whether the storage has an object under this key."""
    try:
        storage.head(key)
    except ObjectNotFound:
        return False
    return True


def _names_held_case(session: Session, key: str) -> bool:
    area, owner, *_ = key.split("/")
    if area == "cases":
        return is_held(session, int(owner))
    case_id = session.scalar(select(AudioFile.case_id).where(AudioFile.id == int(owner)))
    return case_id is not None and is_held(session, case_id)
