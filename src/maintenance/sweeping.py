"""Sweeping: removes objects that never became a recording or are not part of one any more, and deleted recordings.

Objects that a move replaced are compared first (superseded.py). A legal hold is read under a lock at the moment of each
removal.

The row of an object is deleted last: the DELETE runs, the bytes are removed, then the transaction commits. A kill in
between leaves the row, and the next sweep removes bytes that are gone already, which is not an error. Two kinds of
objects are removed. Pending ones without a live writer: this transaction holds their row and their lock, so they cannot
be adopted, and after a kill an adopting `ingest` checks for the bytes first. And objects that were committed as
deleting, which are final.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from src.database.connection.driver_errors import first_line
from src.database.models import AudioFile, Case, StorageObject
from src.errors import ObjectNotFound, StorageError, StorageUnavailable
from src.maintenance.brief_waits import brief_transaction, is_locked
from src.maintenance.restored import Restoration, restoration_of
from src.maintenance.served_storages import ServedStorages, Storages, raise_sequences, served, unserved
from src.maintenance.superseded import Differs, compare
from src.services.recordings.audit import log_as_owner
from src.storage import StorageBackend, keys
from src.storage.marker import require_recognised

DAY = timedelta(days=1)
MONTH = timedelta(days=30)


@dataclass
class Sweep:
    """The result of a sweep. `failed` maps the keys and recordings that could not be removed to the reason."""

    purged_recordings: int = 0
    removed_objects: int = 0
    removed_bytes: int = 0
    incomplete: int = 0
    kept_back: int = 0
    """Objects with a live writer, under a legal hold, with locked rows, or in a backend that was not passed here."""
    unserved: list[str] = field(default_factory=list)
    """A sentence for each storage with objects that was not passed here: its name, and how many."""
    offered: list[str] = field(default_factory=list)
    """Keys of objects that may have become recordings after the backup from which this database was restored."""
    failed: dict[str, str] = field(default_factory=dict)
    differing: dict[str, str] = field(default_factory=dict)
    """Objects that were replaced by other bytes than their recording has, and are therefore kept, with the finding."""


def sweep(
    session: Session,
    storages: Storages,
    *,
    older_than: timedelta = DAY,
    grace: timedelta = MONTH,
) -> Sweep:
    """Remove objects that are garbage since `older_than`, and recordings deleted `grace` ago, in a session of the
    owner.

    Commits after each object: it can be killed and repeated at any time, and several sweeps can run concurrently. Skips
    cases under a legal hold. `older_than` must be longer than the pause of an upload between `receive` and `ingest`,
    and than a backup takes. An object that a move replaced is removed only if it and its successor are read and have
    the bytes of the recording; otherwise it is kept, and reported again after `older_than`. An object whose bytes
    cannot be removed keeps its row, with the error and the number of attempts; the sweep continues with the others.

    Raises ConfigurationError before anything is removed for a storage without its marker or of another database,
    Quarantined for a copy of a database; and during the sweep when an object and the marker of its storage are absent,
    which is an unmounted disk and not a removal.
    """
    by_name = served(session, storages)
    raise_sequences(session, by_name)
    done = Sweep()
    with session.begin():
        restored = restoration_of(session)
    done.failed |= by_name.left_out
    done.unserved = unserved(session, by_name)
    for row_id in _ids(session, AudioFile.id, _marked(grace)):
        _purge_or_report(session, row_id, grace, done)
    for row_id in _ids(session, StorageObject.id, _superseded(older_than)):
        _compare(session, by_name, row_id, done)
    for row_id in _ids(session, StorageObject.id, _garbage(older_than)):
        _remove(session, by_name, row_id, older_than, done, restored)
    for storage in by_name.every():
        # Only storages that answered: the others were removed above.
        try:
            done.incomplete += storage.sweep_incomplete(older_than).removed
        except StorageError as error:
            done.failed[f"{storage.name}: incomplete uploads"] = str(error)
    failed = len(done.failed) + len(done.differing) + len(done.unserved)
    if done.removed_objects or failed:
        with session.begin():
            detail = {"objects": done.removed_objects, "size_bytes": done.removed_bytes, "failed": failed}
            log_as_owner(session, "storage.swept", detail={**detail, "outcome": "failed" if failed else "done"})
    return done


def _ids(session: Session, column: InstrumentedAttribute[int], wanted: ColumnElement[bool]) -> list[int]:
    with session.begin():
        return list(session.scalars(select(column).where(wanted).order_by(column)))


def _marked(grace: timedelta) -> ColumnElement[bool]:
    # The form of the index, which no session can use (docs/security.md).
    return func.timezone("UTC", AudioFile.deleted_at) <= func.timezone("UTC", func.now() - grace)


def _garbage(older_than: timedelta) -> ColumnElement[bool]:
    return or_(
        and_(StorageObject.state == "pending", StorageObject.created_at <= func.now() - older_than),
        and_(StorageObject.state == "deleting", StorageObject.delete_after <= func.now() - older_than),
    )


def _superseded(older_than: timedelta) -> ColumnElement[bool]:
    return and_(StorageObject.state == "superseded", StorageObject.delete_after <= func.now() - older_than)


def _compare(session: Session, by_name: ServedStorages, row_id: int, done: Sweep) -> None:
    outcome = compare(session, by_name, row_id)
    if isinstance(outcome, Differs):
        done.differing[outcome.key] = outcome.finding
    elif outcome == "kept back":
        done.kept_back += 1
    elif outcome is not None:
        done.failed[outcome.key] = str(outcome.error)
        if isinstance(outcome.error, StorageUnavailable):
            by_name.drop(outcome.backend)


def _purge_or_report(session: Session, row_id: int, grace: timedelta, done: Sweep) -> None:
    """Purge a recording, or leave it to the next sweep when another transaction keeps its rows locked."""
    try:
        with brief_transaction(session):
            done.purged_recordings += _purge(session, row_id, grace)
    except IntegrityError as error:
        # A row from before a CHECK cannot be changed, and the object's row changes with its recording.
        done.failed[f"recording {row_id}"] = first_line(error.orig or error)
    except DBAPIError as error:
        if not is_locked(error):
            raise
        done.kept_back += 1


def _purge(session: Session, row_id: int, grace: timedelta) -> bool:
    """Delete a recording that is marked, unless its case is under a hold; a trigger queues its object for removal."""
    case_id = session.scalar(select(AudioFile.case_id).where(AudioFile.id == row_id, _marked(grace)))
    if case_id is None or is_held(session, case_id):
        return False
    gone = session.execute(
        delete(AudioFile)
        .where(AudioFile.id == row_id, _marked(grace))
        .returning(AudioFile.name, AudioFile.size_bytes, AudioFile.sha256)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if gone is None:
        return False
    detail = {**gone._mapping, "outcome": "done"}  # noqa: SLF001 - SQLAlchemy's documented accessor of a row
    log_as_owner(session, "audio.purged", case_id=case_id, audio_id=row_id, detail=detail)
    return True


def _remove(  # noqa: PLR0917 - what a removal needs
    session: Session,
    by_name: ServedStorages,
    row_id: int,
    older_than: timedelta,
    done: Sweep,
    restored: Restoration | None,
) -> None:
    try:
        with brief_transaction(session):
            found = _claim(session, row_id, older_than)
            storage = None if found is None else by_name.find(found.storage_id, found.backend)
            if found is None or storage is None:
                done.kept_back += 1
                return
            key, size = found.key, found.size_bytes
            forgotten = restored is not None and found.state == "pending" and restored.may_be_live(found.created_at)
            if forgotten and keys.is_valid(key) and _is_stored(storage, key):
                done.offered.append(key)
                return
            session.execute(delete(StorageObject).where(StorageObject.id == row_id))
            # Earlier versions accepted keys that no storage does: no bytes can have such a key.
            if keys.is_valid(key) and not storage.delete(key):
                # Gone already, after a kill; or the disk is not mounted, and the transaction rolls back.
                require_recognised(storage)
    except StorageError as error:
        done.failed[key] = str(error)
        with session.begin():
            # A row that is locked meanwhile keeps the error before this one.
            unlocked = select(StorageObject.id).where(StorageObject.id == row_id).with_for_update(skip_locked=True)
            values = {"attempts": StorageObject.attempts + 1, "last_error": str(error)[:4000]}
            session.execute(
                update(StorageObject).where(StorageObject.id.in_(unlocked.scalar_subquery())).values(values)
            )
        if isinstance(error, StorageUnavailable) and storage is not None:
            # Its timeout is waited for once, not for each object.
            by_name.drop(storage)
        return
    done.removed_objects += 1
    done.removed_bytes += size or 0


def _is_stored(storage: StorageBackend, key: str) -> bool:
    try:
        storage.head(key)
    except ObjectNotFound:
        return False
    return True


def _claim(session: Session, row_id: int, older_than: timedelta) -> Any:
    """Lock an object that is still garbage and has no live writer, and return its columns; None when it cannot be."""
    # Only what a removal needs: a value elsewhere in the row that cannot be read must not stop the sweep.
    columns = (StorageObject.key, StorageObject.backend, StorageObject.storage_id, StorageObject.size_bytes,
               StorageObject.state, StorageObject.case_id, StorageObject.created_at)  # fmt: skip
    found = session.execute(
        select(*columns).where(StorageObject.id == row_id, _garbage(older_than)).with_for_update(skip_locked=True)
    ).one_or_none()
    if found is None:
        return None
    if found.state == "pending":
        free = session.scalar(text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": found.key})
        if not free or not found.key.startswith("archive/"):
            return found if free else None
    return None if is_held(session, found.case_id) else found


def is_held(session: Session, case_id: int) -> bool:
    # Placing a hold locks the same row: it waits for this transaction, or counts as placed here, as any other lock.
    active = select(Case.active_holds).where(Case.id == case_id).with_for_update(read=True, skip_locked=True)
    holds = session.scalar(active)
    if holds is None:
        return session.scalar(select(Case.id).where(Case.id == case_id)) is not None
    return holds > 0
