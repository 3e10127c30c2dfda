"""Reading a recording: as a file, or by an address that a player can fetch."""

from __future__ import annotations

from datetime import timedelta
from typing import BinaryIO

from sqlalchemy.orm import Session

from src.database.models import AudioFile
from src.errors import ObjectNotFound
from src.services import activity
from src.services.recordings.places import backend_of, place_of


def open(session: Session, audio: AudioFile) -> BinaryIO:  # noqa: A001 - the verb of the contract
    """Return the recording's bytes as a seekable file, to be closed by the caller; it outlives the session.

    Raises NotFound when the recording is not there, deleted or not the actor's to read, ObjectNotFound when its bytes
    are gone.
    """
    place = place_of(session, audio)
    try:
        file = backend_of(session, place.backend).get(place.path)
    except ObjectNotFound:
        # Archived and swept between the two: the row says where it is now.
        moved = place_of(session, audio)
        if moved.path == place.path:
            raise
        file = backend_of(session, moved.backend).get(moved.path)
    detail = {"name": place.name, "size_bytes": place.size_bytes}
    activity.note_read(session, "audio.opened", case_id=place.case_id, entity=audio, detail=detail)
    return file


def url(session: Session, audio: AudioFile, *, expires_in: timedelta = timedelta(minutes=15)) -> str:
    """Return an address from which anybody downloads the recording, under its own name, until it expires.

    Whoever has the address needs no account, so the log says now that it was opened. Raises NotFound like `open`, and
    UnsupportedOperation where the backend has no addresses.
    """
    place = place_of(session, audio)
    address = backend_of(session, place.backend).url(place.path, expires_in=expires_in, filename=place.name)
    detail = {"name": place.name, "size_bytes": place.size_bytes, "url_seconds": round(expires_in.total_seconds())}
    activity.note_read(session, "audio.opened", case_id=place.case_id, entity=audio, detail=detail)
    return address
