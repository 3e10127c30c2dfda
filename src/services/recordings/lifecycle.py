"""A recording after its ingest: archive, restore, move, delete. Bytes are copied before a row changes."""

from __future__ import annotations

from contextlib import AbstractContextManager

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from src.database.connection.driver_errors import translate
from src.database.models import AudioFile
from src.errors import Conflict, IntegrityFailure, InvalidInput, LostUpdate, ObjectNotFound
from src.services import activity
from src.services.parameters import in_session, row_of, validate_text
from src.services.recordings.audit import Attempt, logged_attempt
from src.services.recordings.context import CaseContext, keep_backend, require_verb
from src.services.recordings.locations import AudioLocation, location_of
from src.services.sensitivity import mark, unmark
from src.storage import StorageBackend, keys
from src.storage.marker import read_marker, require_recognised


def archive(session: Session, audio: AudioFile | int, *, reason: str) -> AudioFile:
    """Put a recording into the archive: a verified copy there, then the switch.

    The switch is part of this transaction: after a rollback the recording is where it was, and the copy is garbage that
    a sweep finds. The old object is removed by a sweep, which reads both again first. Raises InvalidInput without a
    reason, Conflict for one that is archived already, NotFound, Forbidden, LostUpdate when it was moved in the
    meantime, and a StorageError, such as IntegrityFailure for damaged bytes.
    """
    if not validate_text(reason, "reason").strip():
        raise InvalidInput("reason: archiving needs one.", field="reason")
    location = location_of(session, audio)
    with _attempt(session, location, "audio.archived"):
        if location.is_archived:
            raise Conflict(f"Recording {location.audio_id} is archived already; restore it first.")
        context = CaseContext.resolve(session, location.case_id)
        _transfer(context, location, context.backend(location.backend, location.storage), archived=True, reason=reason)
    return _changed(session, location, "audio.archived", {"reason": reason})


def restore(session: Session, audio: AudioFile | int) -> AudioFile:
    """Bring a recording back: a deleted one, until a sweep removes it; or else an archived one out of the archive.

    Raises Conflict for one that is neither deleted nor archived, and otherwise what `archive` raises.
    """
    location = location_of(session, audio, deleted=True)
    if location.deleted:
        session.execute(select(func.public.mark_deleted(location.audio_id, False)))
        return _changed(session, location, "audio.restored", {"from": "deletion"})
    with _attempt(session, location, "audio.restored"):
        if not location.is_archived:
            raise Conflict(f"Recording {location.audio_id} is neither archived nor deleted: nothing to restore.")
        context = CaseContext.resolve(session, location.case_id)
        _transfer(context, location, context.backend(location.backend, location.storage), archived=False, reason=None)
    return _changed(session, location, "audio.restored", {"from": "archive"})


def move(session: Session, audio: AudioFile | int, backend: StorageBackend) -> AudioFile:
    """Move a recording to another backend, with the same guarantees as `archive`.

    Every program that reads it afterwards needs to know that backend: from its settings, or by `keep_backend`. Raises
    Conflict for one that is there already, and otherwise what `archive` raises.
    """
    location = location_of(session, audio)
    with _attempt(session, location, "audio.moved"):
        context = CaseContext.resolve(session, location.case_id)
        source = context.backend(location.backend, location.storage)
        # Two storages of one name differ in their ids; without ids, the name decides.
        found = None if location.storage is None else read_marker(backend)
        if source is backend or (
            location.backend == backend.name and (found is None or str(found.storage) == location.storage)
        ):
            raise Conflict(f"Recording {location.audio_id} is in the storage {backend.name!r} already.")
        keep_backend(context.database, backend)
        _transfer(context, location, backend, archived=location.is_archived, reason=location.archive_reason)
    return _changed(session, location, "audio.moved", {"from": location.backend, "to": backend.name})


def delete(session: Session, audio: AudioFile | int, *, reason: str) -> AudioFile:
    """Mark a recording as deleted: it cannot be opened any more, and a sweep removes it after a grace period.

    Until then `restore` brings it back, with its transcriptions and analyses. Raises Conflict under a legal hold and
    for one that is marked already, Forbidden without the verb `delete` in the case, InvalidInput without a reason,
    NotFound.
    """
    if not validate_text(reason, "reason").strip():
        raise InvalidInput("reason: deleting needs one.", field="reason")
    location = location_of(session, audio, deleted=True)
    with _attempt(session, location, "audio.deleted"):
        if location.deleted:
            raise Conflict(f"Recording {location.audio_id} is deleted already.")
        _mark_deleted(session, location.audio_id)
    return _changed(session, location, "audio.deleted", {"reason": reason})


def mark_sensitive(session: Session, audio: AudioFile | int, *, reason: str) -> AudioFile:
    """Mark a recording as sensitive: exports of it then need the permission to manage its case.

    Every user who may write in the case may mark it; the reason is stored and logged. Raises InvalidInput without a
    reason, Forbidden for another reason when the actor may not manage the case.
    """
    return mark(session, in_session(session, row_of(AudioFile, audio)), reason)


def unmark_sensitive(session: Session, audio: AudioFile | int) -> AudioFile:
    """Remove the mark of `mark_sensitive`. Raises Forbidden when the actor may not manage the case."""
    return unmark(session, in_session(session, row_of(AudioFile, audio)))


def _mark_deleted(session: Session, audio_id: int) -> None:
    try:
        session.execute(select(func.public.mark_deleted(audio_id, True)))
    except DBAPIError as error:
        # Translated here, so that the attempt logs a refusal by a legal hold.
        raise translate(error) or error from error


def _attempt(session: Session, location: AudioLocation, type: str) -> AbstractContextManager[Attempt]:  # noqa: A002 - the column's name
    return logged_attempt(
        session, type, location.case_id, location.audio_id, name=location.name, size_bytes=location.size_bytes
    )


def _transfer(
    context: CaseContext, location: AudioLocation, backend: StorageBackend, *, archived: bool, reason: str | None
) -> None:
    """Copy the bytes to a new key of that backend and switch the recording to it; a sweep removes the old one."""
    require_verb(context.session, location.case_id, "write")
    extension = keys.extension_of(location.path)
    key = keys.archive_key(location.audio_id, extension) if archived else keys.case_key(location.case_id, extension)
    context.reserve(key, backend)
    overtaken = f"Recording {location.audio_id} was moved or deleted in the meantime; repeat the whole transaction."
    try:
        original = context.backend(location.backend, location.storage)
        if original is backend:
            copy = backend.copy(location.path, key)
        else:
            with original.get(location.path) as source:
                copy = backend.put(key, source, size=location.size_bytes)
    except ObjectNotFound as error:
        require_recognised(original)
        if location_of(context.session, location.audio_id, deleted=True).path == location.path:
            raise
        raise LostUpdate(overtaken) from error
    if (copy.sha256, copy.size) != (location.sha256, location.size_bytes):
        raise IntegrityFailure(
            f"The bytes of {location.name!r} are not those that were ingested; nothing was moved. Ingest the original"
            " file again."
        )
    switched = func.public.place_recording(location.audio_id, location.path, key, backend.name, archived, reason)
    if not context.session.scalar(select(switched)):
        raise LostUpdate(overtaken)


def _changed(session: Session, location: AudioLocation, type: str, detail: dict[str, object]) -> AudioFile:  # noqa: A002 - the column's name
    audio = in_session(session, row_of(AudioFile, location.audio_id))
    session.refresh(audio)
    common = {"name": location.name, "size_bytes": location.size_bytes, "outcome": "done"}
    activity.record(session, type, case=location.case_id, entity=audio, detail=common | detail)
    return audio
