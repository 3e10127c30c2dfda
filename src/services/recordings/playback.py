"""Reading recordings: which there are, one as a file, or by an address that a player can fetch."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from typing import BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from src.database.connection.session import actor_of
from src.database.models import AudioFile, Case
from src.errors import InvalidInput, ObjectNotFound
from src.services import activity
from src.services.recordings.audit import Attempt, logged_attempt
from src.services.recordings.locations import AudioLocation, backend_of, location_of


def open(session: Session, audio: AudioFile) -> BinaryIO:  # noqa: A001 - the verb of the contract
    """Return the recording's bytes as a seekable file, to be closed by the caller; it outlives the session.

    Raises NotFound when the recording is not there, deleted or not the actor's to read, ObjectNotFound when its bytes
    are gone.
    """
    location = location_of(session, audio)
    with _tried(session, audio, location):
        try:
            file = backend_of(session, location.backend).get(location.path)
        except ObjectNotFound:
            # Archived and swept between the two: the row says where it is now.
            moved = location_of(session, audio)
            if moved.path == location.path:
                raise
            file = backend_of(session, moved.backend).get(moved.path)
    detail = {"name": location.name, "size_bytes": location.size_bytes, "outcome": "done"}
    activity.note_read(session, "audio.opened", case_id=location.case_id, entity=audio, detail=detail)
    return file


def url(session: Session, audio: AudioFile, *, expires_in: timedelta = timedelta(minutes=15)) -> str:
    """Return an address from which anybody downloads the recording, under its own name, until it expires.

    Whoever has the address needs no account, so the log says now that it was opened. Raises NotFound like `open`, and
    UnsupportedOperation where the backend has no addresses.
    """
    location = location_of(session, audio)
    with _tried(session, audio, location):
        address = backend_of(session, location.backend).url(
            location.path, expires_in=expires_in, filename=location.name
        )
    detail = {"name": location.name, "size_bytes": location.size_bytes, "outcome": "done"}
    detail["url_seconds"] = round(expires_in.total_seconds())
    activity.note_read(session, "audio.opened", case_id=location.case_id, entity=audio, detail=detail)
    return address


def list_recordings(
    session: Session, case: Case, *, deleted: bool = False, after: AudioFile | None = None, limit: int = 100
) -> list[AudioFile]:
    """Return recordings of a case in the order of their ingest: those that are there, or those marked as deleted.

    The next page begins `after` the last one of this. A query of your own over AudioFile shows both kinds; `deleted_at`
    tells them apart.
    """
    actor_of(session)
    if not 1 <= limit <= 1000:
        raise InvalidInput(f"limit is {limit}; give a number from 1 to 1000.")
    marked = AudioFile.deleted_at.is_not(None) if deleted else AudioFile.deleted_at.is_(None)
    query = select(AudioFile).where(AudioFile.case_id == case.id, marked).order_by(AudioFile.id).limit(limit)
    if after is not None:
        query = query.where(AudioFile.id > after.id)
    return list(session.scalars(query))


def _tried(session: Session, audio: AudioFile, location: AudioLocation) -> AbstractContextManager[Attempt]:
    return logged_attempt(
        session,
        "audio.opened",
        case_id=location.case_id,
        audio=audio,
        name=location.name,
        size_bytes=location.size_bytes,
    )
