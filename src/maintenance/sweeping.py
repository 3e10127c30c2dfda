"""The sweep: what nobody adopted, what nobody has any more, what was marked long enough ago. As the owner.

An object's row goes last: its removal is written, the bytes are removed, and only then it commits. A kill in between
leaves the row, and the next sweep removes bytes that are gone already, which is no error. Which objects those are is
settled before: pending ones whose writer is gone and nobody can adopt, since this transaction has their row and their
lock, and after a kill since whoever adopts looks for the bytes first; and those that were committed as deleting, which
never come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, text, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from src.database.models import AudioFile, Case, StorageObject
from src.errors import StorageError, StorageUnavailable
from src.services.recordings.audit import log_as_owner
from src.storage import StorageBackend

DAY = timedelta(days=1)
MONTH = timedelta(days=30)
_AT_ONCE = 1_000
_AREAS = ("archive", "cases")


@dataclass
class Sweep:
    """What a sweep did. `failed` holds the keys whose bytes could not be removed, each with the reason."""

    purged_recordings: int = 0
    removed_objects: int = 0
    removed_bytes: int = 0
    incomplete: int = 0
    kept_back: int = 0
    """Objects that have a living writer, a legal hold, or a backend that this sweep was not given."""
    failed: dict[str, str] = field(default_factory=dict)


def sweep(
    session: Session,
    storages: StorageBackend | Mapping[str, StorageBackend],
    *,
    older_than: timedelta = DAY,
    grace: timedelta = MONTH,
) -> Sweep:
    """Remove what is garbage for `older_than`, and recordings that were deleted `grace` ago, in the owner's session.

    Commits after each object, so it may be killed at any moment and started again, several at once too. Nothing of a
    case under a legal hold goes. `older_than` must be longer than an upload may pause between `receive` and `ingest`,
    and than a backup takes. An object whose bytes cannot be removed keeps its row, with the error and the number of
    tries; the sweep goes on with the others.
    """
    places = dict(storages) if isinstance(storages, Mapping) else {storages.name: storages}
    done = Sweep()
    for number in _numbers(session, AudioFile.id, _marked(grace)):
        with session.begin():
            done.purged_recordings += _purge(session, number, grace)
    for number in _numbers(session, StorageObject.id, _garbage(older_than)):
        _remove(session, places, number, older_than, done)
    for storage in places.values():
        # Only those that answered.
        try:
            done.incomplete += storage.sweep_incomplete(older_than).removed
        except StorageError as error:
            done.failed[f"{storage.name}: incomplete uploads"] = str(error)
    if done.removed_objects or done.failed:
        with session.begin():
            detail = {"objects": done.removed_objects, "size_bytes": done.removed_bytes, "failed": len(done.failed)}
            log_as_owner(session, "storage.swept", detail={**detail, "outcome": "failed" if done.failed else "done"})
    return done


def unknown_objects(session: Session, storage: StorageBackend, *, older_than: timedelta = DAY) -> Iterator[str]:
    """Yield the keys of objects that no row names and that were written `older_than` ago; O(all objects).

    No kill leaves any: a row is committed before the first byte. They come from a writer that lost its database and
    went on, or belong to another database, or to rows that an older backup of this one does not have: look first.
    """
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
                # Asked after the listing: whatever was listed has had its row since before its first byte.
                known = set(
                    session.scalars(select(StorageObject.key).where(StorageObject.key.in_([f.key for f in page])))
                )
                now = session.scalars(select(func.now())).one()
            yield from (f.key for f in page if f.key not in known and f.modified <= now - older_than)


def remove_unknown(session: Session, storage: StorageBackend, *, older_than: timedelta = DAY) -> list[str]:
    """Remove what `unknown_objects` yields; return their keys. Only where this database alone uses the storage.

    Raises StorageError for one that cannot be removed; those before it are gone, and the log says how many.
    """
    removed: list[str] = []
    try:
        for key in unknown_objects(session, storage, older_than=older_than):
            storage.delete(key)
            removed.append(key)
    finally:
        if removed:
            with session.begin():
                detail = {"name": storage.name, "objects": len(removed), "outcome": "unknown objects removed"}
                log_as_owner(session, "storage.swept", detail=detail)
    return removed


def _numbers(session: Session, column: InstrumentedAttribute[int], wanted: ColumnElement[bool]) -> list[int]:
    with session.begin():
        return list(session.scalars(select(column).where(wanted).order_by(column)))


def _marked(grace: timedelta) -> ColumnElement[bool]:
    return and_(AudioFile.deleted_at.is_not(None), AudioFile.deleted_at <= func.now() - grace)


def _garbage(older_than: timedelta) -> ColumnElement[bool]:
    return or_(
        and_(StorageObject.state == "pending", StorageObject.created_at <= func.now() - older_than),
        and_(StorageObject.state == "deleting", StorageObject.delete_after <= func.now() - older_than),
    )


def _purge(session: Session, number: int, grace: timedelta) -> bool:
    """Delete a marked recording, unless it was restored or its case is held; a trigger queues its object."""
    case_id = session.scalar(select(AudioFile.case_id).where(AudioFile.id == number, _marked(grace)))
    if case_id is None or _is_held(session, case_id):
        return False
    gone = session.execute(
        delete(AudioFile)
        .where(AudioFile.id == number, _marked(grace))
        .returning(AudioFile.name, AudioFile.size_bytes, AudioFile.sha256)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if gone is None:
        return False
    detail = {**gone._mapping, "outcome": "done"}  # noqa: SLF001 - SQLAlchemy's documented accessor of a row
    log_as_owner(session, "audio.purged", case_id=case_id, audio_id=number, detail=detail)
    return True


def _remove(
    session: Session, places: dict[str, StorageBackend], number: int, older_than: timedelta, done: Sweep
) -> None:
    try:
        with session.begin():
            found = _claim(session, number, older_than)
            if found is None or found.backend not in places:
                done.kept_back += 1
                return
            key, backend, size = found.key, found.backend, found.size_bytes
            session.execute(delete(StorageObject).where(StorageObject.id == number))
            places[backend].delete(key)
    except StorageError as error:
        done.failed[key] = str(error)
        with session.begin():
            values = {"attempts": StorageObject.attempts + 1, "last_error": str(error)[:4000]}
            session.execute(update(StorageObject).where(StorageObject.id == number).values(values))
        if isinstance(error, StorageUnavailable):
            # Waited for once and not once for each object.
            places.pop(backend)
        return
    done.removed_objects += 1
    done.removed_bytes += size or 0


def _claim(session: Session, number: int, older_than: timedelta) -> StorageObject | None:
    """Lock an object that is garbage still, and whose writer, if it has one, is gone; None when it is not ours."""
    found = session.scalars(
        select(StorageObject)
        .where(StorageObject.id == number, _garbage(older_than))
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        return None
    if found.state == "pending":
        free = session.scalar(text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": found.key})
        return found if free else None
    return None if _is_held(session, found.case_id) else found


def _is_held(session: Session, case_id: int) -> bool:
    # Whoever places a hold needs this row too: he waits, or this sees what he did.
    held = select(Case.active_holds).where(Case.id == case_id).with_for_update(read=True, key_share=False)
    return bool(session.scalar(held))
