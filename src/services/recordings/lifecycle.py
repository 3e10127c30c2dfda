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
from src.services.lookup import in_session, storable
from src.services.recordings.audit import Attempt, attempt
from src.services.recordings.locations import Place, backend_of, keep_backend, place_of, require
from src.services.recordings.uploads import announce, hold
from src.storage import StorageBackend, keys

_OVERTAKEN = "The recording was moved or deleted by somebody else meanwhile; repeat the whole transaction."


def archive(session: Session, audio: AudioFile, *, reason: str) -> AudioFile:
    """Put a recording into the archive: a verified second copy there, then the switch, then the first one is queued.

    The switch is part of this transaction: after a rollback the recording is where it was, and the copy is garbage that
    a sweep finds. Raises InvalidInput without a reason, Conflict for one that is archived already, NotFound, Forbidden,
    LostUpdate when somebody moved it meanwhile, and a StorageError, such as IntegrityFailure for damaged bytes.
    """
    if not storable(reason, "reason").strip():
        raise InvalidInput("Archiving needs a reason.")
    place = place_of(session, audio)
    with _tried(session, audio, place, "audio.archived"):
        if place.is_archived:
            raise Conflict("This recording is archived already; restore it first.")
        backend = backend_of(session, place.backend)
        _transfer(session, audio, place, backend, archived=True, reason=reason)
    return _changed(session, audio, place, "audio.archived", {"reason": reason})


def restore(session: Session, audio: AudioFile) -> AudioFile:
    """Bring a recording back: from its mark of deletion, or else out of the archive, as `archive` put it there.

    Raises Conflict for one that is neither deleted nor archived, and otherwise what `archive` raises.
    """
    place = place_of(session, audio, deleted=True)
    if place.deleted:
        session.execute(select(func.public.mark_deleted(place.audio_id, False)))
        return _changed(session, audio, place, "audio.restored", {"from": "deletion"})
    with _tried(session, audio, place, "audio.restored"):
        if not place.is_archived:
            raise Conflict("This recording is neither archived nor deleted; there is nothing to restore.")
        backend = backend_of(session, place.backend)
        _transfer(session, audio, place, backend, archived=False, reason=None)
    return _changed(session, audio, place, "audio.restored", {"from": "archive"})


def move(session: Session, audio: AudioFile, backend: StorageBackend) -> AudioFile:
    """Move a recording to another backend, with the same guarantees as `archive`.

    Every program that reads it afterwards has to know that backend: by its settings, or by `keep_backend`. Raises
    Conflict for one that lies there already, and otherwise what `archive` raises.
    """
    place = place_of(session, audio)
    with _tried(session, audio, place, "audio.moved"):
        if place.backend == backend.name:
            raise Conflict(f"This recording lies in {backend.name!r} already.")
        backend_of(session, place.backend)
        keep_backend(database_of(session), backend)
        _transfer(session, audio, place, backend, archived=place.is_archived, reason=place.archive_reason)
    return _changed(session, audio, place, "audio.moved", {"from": place.backend, "to": backend.name})


def delete(session: Session, audio: AudioFile, *, reason: str) -> AudioFile:
    """Mark a recording as deleted: nobody opens it any more, and a sweep removes it for good after a grace.

    Until then `restore` brings it back, with all that was said about it. Raises Conflict under a legal hold and for one
    that is marked already, Forbidden without the verb `delete` in the case, InvalidInput without a reason, NotFound.
    """
    if not storable(reason, "reason").strip():
        raise InvalidInput("Deleting needs a reason.")
    place = place_of(session, audio, deleted=True)
    with _tried(session, audio, place, "audio.deleted"):
        if place.deleted:
            raise Conflict("This recording is marked as deleted already.")
        _mark_deleted(session, place.audio_id)
    return _changed(session, audio, place, "audio.deleted", {"reason": reason})


def _mark_deleted(session: Session, audio_id: int) -> None:
    try:
        session.execute(select(func.public.mark_deleted(audio_id, True)))
    except DBAPIError as error:
        # Said here, so that the refusal of a legal hold is in the log.
        raise translate(error) or error from error


def _tried(session: Session, audio: AudioFile, place: Place, kind: str) -> AbstractContextManager[Attempt]:
    return attempt(session, kind, case_id=place.case_id, audio=audio, name=place.name, size_bytes=place.size_bytes)


def _transfer(
    session: Session, audio: AudioFile, place: Place, backend: StorageBackend, *, archived: bool, reason: str | None
) -> None:
    """Copy the bytes to a fresh key of that backend and let the recording have it; the old key is queued."""
    require(session, place.case_id, "write")
    extension = keys.extension_of(place.path)
    key = keys.archive_key(place.audio_id, extension) if archived else keys.case_key(place.case_id, extension)
    announce(database_of(session), session, place.case_id, key, backend)
    hold(session, key)
    try:
        if place.backend == backend.name:
            stored = backend.copy(place.path, key)
        else:
            with backend_of(session, place.backend).get(place.path) as source:
                stored = backend.put(key, source, size=place.size_bytes)
    except ObjectNotFound as error:
        if place_of(session, audio, deleted=True).path == place.path:
            raise
        raise LostUpdate(_OVERTAKEN) from error
    if (stored.sha256, stored.size) != (place.sha256, place.size_bytes):
        raise IntegrityFailure(
            f"The bytes of {place.name!r} are not those that were ingested; nothing was moved; ingest them anew."
        )
    switched = func.public.place_recording(place.audio_id, place.path, key, backend.name, archived, reason)
    if not session.scalar(select(switched)):
        raise LostUpdate(_OVERTAKEN)


def _changed(session: Session, audio: AudioFile, place: Place, kind: str, detail: dict[str, object]) -> AudioFile:
    found = in_session(session, audio)
    session.refresh(found)
    told = {"name": place.name, "size_bytes": place.size_bytes, "outcome": "done", **detail}
    activity.record(session, kind, case_id=place.case_id, entity=found, detail=told)
    return found
