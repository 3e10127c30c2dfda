"""What becomes of a recording: archived, restored, moved, deleted. Bytes are copied before a row changes."""

from __future__ import annotations

from contextlib import AbstractContextManager

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from src.database.connection.driver_errors import translate
from src.database.connection.session import database_of
from src.database.models import AudioFile
from src.errors import Conflict, IntegrityFailure, InvalidInput, LostUpdate, ObjectNotFound
from src.services import activity
from src.services.lookup import in_session, validate_text
from src.services.recordings.audit import Attempt, logged_attempt
from src.services.recordings.locations import AudioLocation, backend_of, keep_backend, location_of, require
from src.services.recordings.uploads import announce, lock_object
from src.storage import StorageBackend, keys

_OVERTAKEN = "The recording was moved or deleted by somebody else meanwhile; repeat the whole transaction."


def archive(session: Session, audio: AudioFile, *, reason: str) -> AudioFile:
    """Put a recording into the archive: a verified second copy there, then the switch, then the first one is queued.

    The switch is part of this transaction: after a rollback the recording is where it was, and the copy is garbage that
    a sweep finds. Raises InvalidInput without a reason, Conflict for one that is archived already, NotFound, Forbidden,
    LostUpdate when somebody moved it meanwhile, and a StorageError, such as IntegrityFailure for damaged bytes.
    """
    if not validate_text(reason, "reason").strip():
        raise InvalidInput("Archiving needs a reason.")
    location = location_of(session, audio)
    with _tried(session, audio, location, "audio.archived"):
        if location.is_archived:
            raise Conflict("This recording is archived already; restore it first.")
        backend = backend_of(session, location.backend)
        _transfer(session, audio, location, backend, archived=True, reason=reason)
    return _changed(session, audio, location, "audio.archived", {"reason": reason})


def restore(session: Session, audio: AudioFile) -> AudioFile:
    """Bring a recording back: from its mark of deletion, or else out of the archive, as `archive` put it there.

    Raises Conflict for one that is neither deleted nor archived, and otherwise what `archive` raises.
    """
    location = location_of(session, audio, deleted=True)
    if location.deleted:
        session.execute(select(func.public.mark_deleted(location.audio_id, False)))
        return _changed(session, audio, location, "audio.restored", {"from": "deletion"})
    with _tried(session, audio, location, "audio.restored"):
        if not location.is_archived:
            raise Conflict("This recording is neither archived nor deleted; there is nothing to restore.")
        backend = backend_of(session, location.backend)
        _transfer(session, audio, location, backend, archived=False, reason=None)
    return _changed(session, audio, location, "audio.restored", {"from": "archive"})


def move(session: Session, audio: AudioFile, backend: StorageBackend) -> AudioFile:
    """Move a recording to another backend, with the same guarantees as `archive`.

    Every program that reads it afterwards has to know that backend: by its settings, or by `keep_backend`. Raises
    Conflict for one that lies there already, and otherwise what `archive` raises.
    """
    location = location_of(session, audio)
    with _tried(session, audio, location, "audio.moved"):
        if location.backend == backend.name:
            raise Conflict(f"This recording lies in {backend.name!r} already.")
        backend_of(session, location.backend)
        keep_backend(database_of(session), backend)
        _transfer(session, audio, location, backend, archived=location.is_archived, reason=location.archive_reason)
    return _changed(session, audio, location, "audio.moved", {"from": location.backend, "to": backend.name})


def delete(session: Session, audio: AudioFile, *, reason: str) -> AudioFile:
    """Mark a recording as deleted: nobody opens it any more, and a sweep removes it for good after a grace.

    Until then `restore` brings it back, with all that was said about it. Raises Conflict under a legal hold and for one
    that is marked already, Forbidden without the verb `delete` in the case, InvalidInput without a reason, NotFound.
    """
    if not validate_text(reason, "reason").strip():
        raise InvalidInput("Deleting needs a reason.")
    location = location_of(session, audio, deleted=True)
    with _tried(session, audio, location, "audio.deleted"):
        if location.deleted:
            raise Conflict("This recording is marked as deleted already.")
        _mark_deleted(session, location.audio_id)
    return _changed(session, audio, location, "audio.deleted", {"reason": reason})


def _mark_deleted(session: Session, audio_id: int) -> None:
    try:
        session.execute(select(func.public.mark_deleted(audio_id, True)))
    except DBAPIError as error:
        # Said here, so that the refusal of a legal hold is in the log.
        raise translate(error) or error from error


def _tried(session: Session, audio: AudioFile, location: AudioLocation, kind: str) -> AbstractContextManager[Attempt]:
    return logged_attempt(
        session, kind, case_id=location.case_id, audio=audio, name=location.name, size_bytes=location.size_bytes
    )


def _transfer(
    session: Session,
    audio: AudioFile,
    location: AudioLocation,
    backend: StorageBackend,
    *,
    archived: bool,
    reason: str | None,
) -> None:
    """Copy the bytes to a fresh key of that backend and let the recording have it; the old key is queued."""
    require(session, location.case_id, "write")
    extension = keys.extension_of(location.path)
    key = keys.archive_key(location.audio_id, extension) if archived else keys.case_key(location.case_id, extension)
    announce(database_of(session), session, location.case_id, key, backend)
    lock_object(session, key)
    try:
        if location.backend == backend.name:
            stored = backend.copy(location.path, key)
        else:
            with backend_of(session, location.backend).get(location.path) as source:
                stored = backend.put(key, source, size=location.size_bytes)
    except ObjectNotFound as error:
        if location_of(session, audio, deleted=True).path == location.path:
            raise
        raise LostUpdate(_OVERTAKEN) from error
    if (stored.sha256, stored.size) != (location.sha256, location.size_bytes):
        raise IntegrityFailure(
            f"The bytes of {location.name!r} are not those that were ingested; nothing was moved; ingest them anew."
        )
    switched = func.public.place_recording(location.audio_id, location.path, key, backend.name, archived, reason)
    if not session.scalar(select(switched)):
        raise LostUpdate(_OVERTAKEN)


def _changed(
    session: Session, audio: AudioFile, location: AudioLocation, kind: str, detail: dict[str, object]
) -> AudioFile:
    found = in_session(session, audio)
    session.refresh(found)
    told = {"name": location.name, "size_bytes": location.size_bytes, "outcome": "done", **detail}
    activity.record(session, kind, case_id=location.case_id, entity=found, detail=told)
    return found
