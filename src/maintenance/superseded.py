"""Objects that a move replaced: queued for removal only after this login has read them and their successors.

A session may move a recording to any object that was announced for it, so its word does not count: SQL injected into a
session could name an empty one. Maintenance runs as the owner of the database, reads both objects, and compares them
with the size and the SHA-256 of the recording, which no session can change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, aliased

from src.database.models import AudioFile, Case, StorageObject
from src.errors import Conflict, LostUpdate, NotFound, StorageError
from src.maintenance.brief_waits import brief_transaction, is_locked
from src.maintenance.served_storages import ServedStorages, Storages, served
from src.services.recordings.audit import log_as_owner
from src.services.recordings.fixity import Outcome, read_again
from src.storage import StorageBackend


@dataclass(frozen=True, slots=True)
class Differs:
    """A finding about a replaced object: it is kept."""

    key: str
    finding: str


@dataclass(frozen=True, slots=True)
class Unread:
    """A replaced object that was not compared, since a backend failed."""

    key: str
    backend: StorageBackend
    error: StorageError


class _Pair(NamedTuple):
    """A replaced object and its recording, as they were before their bytes were read."""

    object_id: int
    key: str
    storage_id: int | None
    backend: str
    audio_id: int
    case_id: int
    name: str
    path: str
    storage_type: str
    path_storage_id: int | None
    size_bytes: int
    sha256: str

    def backends(self, storages: ServedStorages) -> tuple[StorageBackend | None, StorageBackend | None]:
        """Return the backend of the object, and that of the recording now; None for one that is not served."""
        return storages.find(self.storage_id, self.backend), storages.find(self.path_storage_id, self.storage_type)


def compare(
    session: Session, storages: ServedStorages, object_id: int
) -> Differs | Unread | Literal["kept back"] | None:
    """Compare a replaced object and its successor with the recording; if both have its bytes, queue it for removal.

    An object whose bytes are gone is queued too. Returns "kept back" under a legal hold, for locked rows and for a
    backend that is not in `storages`, None when the object was queued, or changed while it was read. Commits.
    """
    pair = _pair(session, object_id)
    if not isinstance(pair, _Pair):
        return pair
    before, now = pair.backends(storages)
    if before is None or now is None:
        return "kept back"
    reading = now
    result: tuple[Outcome, Outcome] | StorageError
    try:
        # Outside a transaction: it may take longer than the idle timeout.
        now_there = read_again(now, pair.path, pair.size_bytes, pair.sha256)
        reading = before
        result = now_there, read_again(before, pair.key, pair.size_bytes, pair.sha256)
    except StorageError as error:
        result = error
    try:
        with brief_transaction(session):
            if not _is_unchanged(session, pair):
                return None
            if isinstance(result, StorageError):
                _note(session, pair, str(result))
                return Unread(pair.key, reading, result)
            return _settled(session, pair, *result)
    except DBAPIError as error:
        if not is_locked(error):
            raise
        return "kept back"


def _settled(session: Session, pair: _Pair, now_there: Outcome, before: Outcome) -> Differs | None:
    finding = _finding(pair, now_there, before)
    if finding is None:
        _queue(session, pair)
        return None
    if _note(session, pair, finding):
        # Once, and not in each sweep.
        detail = {"name": pair.name, "size_bytes": pair.size_bytes, "outcome": now_there}
        log_as_owner(session, "audio.verified", case_id=pair.case_id, audio_id=pair.audio_id, detail=detail)
    return Differs(pair.key, finding)


def point_back(session: Session, storages: Storages, audio_id: int) -> str:
    """Give a recording, whose object is missing or damaged, the newest object with its bytes that it had before.

    Returns the key. The object with the wrong bytes is queued for removal; one in a backend that is not in `storages`
    counts as missing, and is kept. Commits. Raises NotFound for an unknown recording, Conflict when its object is sound
    or none of those before has its bytes, or a session keeps it locked, LostUpdate when the recording is moved
    meanwhile, and a StorageError.
    """
    storages = served(session, storages)
    with session.begin():
        pairs = _pairs(session, audio_id)
    if not pairs:
        raise NotFound(f"Recording {audio_id} does not exist, or no object that it had before is kept.")
    now = pairs[0]
    _, present = now.backends(storages)
    if present is not None and read_again(present, now.path, now.size_bytes, now.sha256) == "sound":
        raise Conflict(f"Recording {audio_id} has its bytes; there is nothing to point back.")
    for pair in pairs:
        known, _ = pair.backends(storages)
        if known is not None and read_again(known, pair.key, pair.size_bytes, pair.sha256) == "sound":
            try:
                _switch(session, pair, is_wrong=present is not None)
            except DBAPIError as error:
                if not is_locked(error):
                    raise
                raise Conflict(
                    f"A session keeps recording {audio_id} locked; end it (history seal --end-blocking-after 0), and"
                    " repeat."
                ) from error
            return pair.key
    raise Conflict(f"No kept object has the bytes of recording {audio_id}; ingest the original file again.")


_Present = aliased(StorageObject)
_OF_A_PAIR = (
    StorageObject.id,
    StorageObject.key,
    StorageObject.storage_id,
    StorageObject.backend,
    StorageObject.audio_file_id,
    AudioFile.case_id,
    AudioFile.name,
    AudioFile.path,
    AudioFile.storage_type,
    select(_Present.storage_id).where(_Present.key == AudioFile.path).correlate(AudioFile).scalar_subquery(),
    AudioFile.size_bytes,
    AudioFile.sha256,
)


def _pair(session: Session, object_id: int) -> _Pair | Differs | Literal["kept back"] | None:
    # One statement, so that a recording that is deleted meanwhile does not look as if it had lost its object.
    query = (
        select(*_OF_A_PAIR, AudioFile.id.is_(None), func.coalesce(Case.active_holds, 0) > 0)
        .outerjoin(AudioFile, AudioFile.id == StorageObject.audio_file_id)
        .outerjoin(Case, Case.id == StorageObject.case_id)
        .where(StorageObject.id == object_id, StorageObject.state == "superseded")
    )
    with session.begin():
        row = session.execute(query).one_or_none()
    if row is None:
        return None
    *fields, lost, held = row
    if held:
        return "kept back"
    pair = _Pair._make(fields)
    return Differs(pair.key, f"recording {pair.audio_id} does not exist; the object is kept") if lost else pair


def _pairs(session: Session, audio_id: int) -> list[_Pair]:
    """Return the objects that a recording had before, the newest first."""
    rows = session.execute(
        select(*_OF_A_PAIR)
        .join(AudioFile, AudioFile.id == StorageObject.audio_file_id)
        .where(StorageObject.audio_file_id == audio_id, StorageObject.state == "superseded")
        .order_by(StorageObject.id.desc())
    )
    return [_Pair._make(row) for row in rows]


def _is_unchanged(session: Session, pair: _Pair) -> bool:
    """Lock the recording and the object, in the order in which a move locks them."""
    path = select(AudioFile.path).where(AudioFile.id == pair.audio_id).with_for_update(read=True)
    if session.scalar(path) != pair.path:
        return False
    state = select(StorageObject.state).where(StorageObject.id == pair.object_id).with_for_update()
    return session.scalar(state) == "superseded"


def _finding(pair: _Pair, now_there: Outcome, before: Outcome) -> str | None:
    recording = f"recording {pair.audio_id} ({pair.name!r})"
    if now_there != "sound":
        return (
            f"{recording} was moved from here to {pair.path}, which is {now_there}; the object is kept:"
            f" sweep point-back {pair.audio_id}"
        )
    if before == "damaged":
        return f"{recording} was moved from here to {pair.path}, but had other bytes here; the object is kept"
    return None


def _queue(session: Session, pair: _Pair) -> None:
    # `delete_after` remains: the time since the move counts.
    values = {"state": "deleting", "attempts": 0, "last_error": None}
    session.execute(update(StorageObject).where(StorageObject.id == pair.object_id).values(values))


def _note(session: Session, pair: _Pair, error: str) -> bool:
    """Store why an object is kept, to be compared again later; return whether this is new."""
    known = session.scalar(select(StorageObject.last_error).where(StorageObject.id == pair.object_id))
    values = {"attempts": StorageObject.attempts + 1, "last_error": error[:4000], "delete_after": func.now()}
    session.execute(update(StorageObject).where(StorageObject.id == pair.object_id).values(values))
    return known != error[:4000]


def _switch(session: Session, pair: _Pair, *, is_wrong: bool) -> None:
    archived = pair.key.startswith("archive/")
    reason = func.coalesce(AudioFile.archive_reason, "pointed back to its object in the archive") if archived else None
    with brief_transaction(session):
        # The triggers make the old object live and set the wrong one to superseded.
        switched = session.execute(
            update(AudioFile)
            .where(AudioFile.id == pair.audio_id, AudioFile.path == pair.path)
            .values(path=pair.key, storage_type=pair.backend, is_archived=archived, archive_reason=reason)
            .returning(AudioFile.id)
            .execution_options(synchronize_session=False)
        ).one_or_none()
        if switched is None:
            raise LostUpdate(f"Recording {pair.audio_id} was moved meanwhile; repeat the command.")
        if is_wrong:
            session.execute(update(StorageObject).where(StorageObject.key == pair.path).values(state="deleting"))
        detail = {"name": pair.name, "size_bytes": pair.size_bytes, "sha256": pair.sha256, "outcome": "pointed back"}
        log_as_owner(session, "audio.repaired", case_id=pair.case_id, audio_id=pair.audio_id, detail=detail)
