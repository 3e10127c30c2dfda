"""Fixity checks of all recordings, as the owner: a run that is killed continues where it stopped."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from src.database.connection.driver_errors import first_line
from src.database.models import AudioFile, StorageObject
from src.maintenance.brief_waits import brief_transaction, is_locked
from src.maintenance.served_storages import ServedStorages, Storages, raise_sequences, served
from src.services.recordings.audit import log_as_owner
from src.services.recordings.fixity import FAULTS, Check, read_again

logger = logging.getLogger(__name__)


def verify_all(
    session: Session,
    storages: Storages,
    *,
    unchecked_for: timedelta = timedelta(days=90),
    sample: int | None = None,
) -> Iterator[Check]:
    """Check recordings not checked for that long, or a random sample of them; the longest unchecked first.

    Each check commits on its own: start a killed run again, and it continues. Recordings in backends that are not in
    `storages` are skipped; `unserved` names them. The log gets an entry for each fault, and one with the counts. The
    result of a recording that a session keeps locked counts and is logged, but the next run checks it again. Raises
    ConfigurationError for a storage without its marker, before and instead of calling its recordings missing.
    """
    storages = served(session, storages)
    raise_sequences(session, storages)
    counted: Counter[str] = Counter()
    with session.begin():
        due = select(AudioFile.id).join(StorageObject, StorageObject.key == AudioFile.path)
        due = due.where(
            storages.covers(),
            # Not `verified_at`, which a session sets with its own word.
            or_(StorageObject.checked_at.is_(None), StorageObject.checked_at < func.now() - unchecked_for),
        )
        if sample is None:
            due = due.order_by(StorageObject.checked_at.nulls_first(), AudioFile.id)
        else:
            due = due.order_by(func.random()).limit(sample)
        audio_ids = session.scalars(due).all()
    for audio_id in audio_ids:
        check = _check_as_owner(session, storages, audio_id)
        if check is not None:
            counted[check.outcome] += 1
            yield check
    if counted:
        with session.begin():
            log_as_owner(session, "audio.verified", detail={"outcome": dict(counted)})


def _check_as_owner(session: Session, storages: ServedStorages, audio_id: int) -> Check | None:
    with session.begin():
        # Only what the check needs: a value elsewhere in the row that cannot be read must not stop the round.
        columns = (AudioFile.path, AudioFile.size_bytes, AudioFile.sha256, AudioFile.case_id, AudioFile.name,
                   StorageObject.storage_id, StorageObject.backend)  # fmt: skip
        query = select(*columns).join(StorageObject, StorageObject.key == AudioFile.path)
        found = session.execute(query.where(AudioFile.id == audio_id)).one_or_none()
        storage = None if found is None else storages.find(found.storage_id, found.backend)
        if found is None or storage is None:
            return None
        key, size, sha256, case_id, name, *_ = found
    # Read outside a transaction: it may take longer than the idle timeout.
    check = Check(audio_id, key, size, read_again(storage, key, size, sha256))
    fault = {"name": name, "size_bytes": size, "outcome": check.outcome} if check.outcome != "sound" else None
    try:
        with brief_transaction(session):
            if not _note(session, check):
                return None  # moved or removed while it was read; the next run checks it again
            if fault is not None:
                log_as_owner(session, "audio.verified", case_id=case_id, audio_id=audio_id, detail=fault)
    except DBAPIError as error:
        # A row from before a CHECK cannot be changed, and a session may keep a row locked. The result counts, and the
        # next run checks the bytes again.
        if not (isinstance(error, IntegrityError) or is_locked(error)):
            raise
        logger.warning("The check of recording %s cannot be stored: %s.", audio_id, first_line(error.orig or error))
        if fault is not None:
            with session.begin():
                log_as_owner(session, "audio.verified", case_id=case_id, audio_id=audio_id, detail=fault)
    return check


def _note(session: Session, check: Check) -> bool:
    """Store the result in the row of the object; return whether the recording still has this object."""
    now = func.clock_timestamp()
    noted = session.execute(
        update(StorageObject)
        .where(StorageObject.key == check.key, StorageObject.state == "live")
        .values(verified_at=now, checked_at=now, last_error=FAULTS.get(check.outcome))
        .returning(StorageObject.id)
    ).all()
    return bool(noted)
