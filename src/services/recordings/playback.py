"""Reading recordings: listing a case, opening one as a file, or by an address that a player fetches."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from typing import BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from src.database.connection.session import actor_of
from src.database.models import AudioFile, Case
from src.errors import InvalidInput, ObjectNotFound, StorageUnavailable
from src.services import activity
from src.services.parameters import id_of, row_of
from src.services.recordings.audit import Attempt, logged_attempt
from src.services.recordings.context import backend_of
from src.services.recordings.locations import AudioLocation, location_of
from src.services.sensitivity import require_exportable
from src.storage.marker import require_recognised

MOST_LISTED = 1000


def open(session: Session, audio: AudioFile | int) -> BinaryIO:  # noqa: A001 - a public name of design.md
    """Return the recording's bytes as a seekable file that the caller closes; it outlives the session.

    Raises NotFound when the recording does not exist, is deleted or the actor may not read it, ObjectNotFound when its
    bytes are gone, ConfigurationError when its storage is missing or another one.
    """
    location = location_of(session, audio)
    file = open_window(session, location)
    log_opened(session, location, {})
    return file


def open_window(session: Session, location: AudioLocation, *, offset: int = 0, length: int | None = None) -> BinaryIO:
    """Return a window of the bytes of a recording; a failure is logged, the reading itself is not."""
    with _attempt(session, location):
        backend = backend_of(session, location.backend, location.storage)
        try:
            return backend.get(location.path, offset=offset, length=length)
        except ObjectNotFound:
            require_recognised(backend)
            # Archived and swept between the two: the row has the new key.
            moved = location_of(session, location.audio_id)
            if moved.path == location.path:
                raise
            return backend_of(session, moved.backend, moved.storage).get(moved.path, offset=offset, length=length)
        except StorageUnavailable:
            require_recognised(backend)  # the same error as for storing, where its disk is not mounted
            raise


def url(session: Session, audio: AudioFile | int, *, expires_in: timedelta = timedelta(minutes=15)) -> str:
    """Return an address from which the recording is downloaded under its own name, until it expires.

    The address works without an account, so the log has the entry "opened" from now on. Raises NotFound like `open`,
    Forbidden for a sensitive case or recording without the permission to manage the case, and UnsupportedOperation
    where the backend has no addresses.
    """
    location = location_of(session, audio)
    require_exportable(session, location.case_id, location.audio_id)
    with _attempt(session, location):
        backend = backend_of(session, location.backend, location.storage)
        address = backend.url(location.path, expires_in=expires_in, filename=location.name)
    log_opened(session, location, {"url_seconds": round(expires_in.total_seconds())})
    return address


def list_recordings(
    session: Session,
    case: Case | int,
    *,
    deleted: bool = False,
    after: AudioFile | int | None = None,
    limit: int = 100,
) -> list[AudioFile]:
    """Return recordings of a case in the order of their ingest; with `deleted`, those marked as deleted instead.

    The next page begins `after` the last one of this page. A query of your own over AudioFile returns both kinds;
    `deleted_at` distinguishes them.
    """
    actor_of(session)
    if not 1 <= limit <= MOST_LISTED:
        raise InvalidInput(
            f"limit: {limit}; pass a number from 1 to {MOST_LISTED}.", field="limit", value=limit, limit=MOST_LISTED
        )
    marked = AudioFile.deleted_at.is_not(None) if deleted else AudioFile.deleted_at.is_(None)
    query = select(AudioFile).where(AudioFile.case_id == id_of(Case, case), marked).order_by(AudioFile.id).limit(limit)
    if after is not None:
        query = query.where(AudioFile.id > id_of(AudioFile, after))
    return list(session.scalars(query))


def _attempt(session: Session, location: AudioLocation) -> AbstractContextManager[Attempt]:
    return logged_attempt(
        session, "audio.opened", location.case_id, location.audio_id, name=location.name, size_bytes=location.size_bytes
    )


def log_opened(session: Session, location: AudioLocation, more: dict[str, object]) -> None:
    """Record the reading of a recording in the log."""
    detail = {"name": location.name, "size_bytes": location.size_bytes, "outcome": "done", **more}
    audio = row_of(AudioFile, location.audio_id)
    activity.note_read(session, "audio.opened", case=location.case_id, entity=audio, detail=detail)
