"""Fixity: reading bytes again and comparing them with what was ingested. The last check stands on the object's row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.database.connection.session import actor_of
from src.database.connection.timeouts import disable_idle_timeout
from src.database.models import AudioFile, Case
from src.errors import InvalidInput, LostUpdate, ObjectNotFound
from src.services import activity
from src.services.lookup import in_session
from src.services.recordings.audit import logged_attempt
from src.services.recordings.locations import AudioLocation, backend_of, location_of, require
from src.services.recordings.uploads import sha256_of
from src.storage import StorageBackend

Outcome = Literal["sound", "missing", "damaged"]
FAULTS = {"missing": "the bytes are not there", "damaged": "the bytes are not those that were ingested"}


@dataclass(frozen=True, slots=True)
class Check:
    """What reading a recording again showed. `outcome` is sound, missing, or damaged."""

    audio_id: int
    key: str
    size_bytes: int
    outcome: Outcome


def verify(
    session: Session, audio: AudioFile | None = None, *, case: Case | None = None, sample: int | None = None
) -> list[Check]:
    """Read one recording, or those of a case, anew and compare every byte; a `sample` is chosen at random.

    Each check goes to the log and stands on the row of the object (`verified_at`, `last_error`). One that somebody
    moves meanwhile is looked at where it is then. One transaction for all of them; a run over everything that may be
    killed is `sweep verify`. Raises NotFound, Forbidden without the verb `write` in the case, LostUpdate for one that
    moves again and again, and StorageUnavailable when the storage does not answer, which says nothing about the bytes.
    """
    actor_of(session)
    if (audio is None) == (case is None):
        raise InvalidInput("Verify one recording or those of a case: give one of the two.")
    if sample is not None and sample < 1:
        raise InvalidInput("A sample has at least one recording.")
    if audio is not None:
        chosen = [audio]
    else:
        wanted = select(AudioFile).where(AudioFile.case_id == getattr(case, "id", None), AudioFile.deleted_at.is_(None))
        wanted = wanted.order_by(func.random()).limit(sample) if sample is not None else wanted.order_by(AudioFile.id)
        chosen = list(session.scalars(wanted))
    return [_verified(session, each) for each in chosen]


def read_again(storage: StorageBackend, key: str, size_bytes: int, sha256: str) -> Outcome:
    """Return what a storage holds under a key, beside what it should hold. Raises StorageUnavailable."""
    try:
        with storage.get(key) as file:
            found = sha256_of(file)
    except ObjectNotFound:
        return "missing"
    return "sound" if found == (sha256, size_bytes) else "damaged"


def _verified(session: Session, audio: AudioFile) -> Check:
    location = location_of(session, audio)
    require(session, location.case_id, "write")
    disable_idle_timeout(session)
    tried = logged_attempt(
        session,
        "audio.verified",
        case_id=location.case_id,
        audio=audio,
        name=location.name,
        size_bytes=location.size_bytes,
    )
    with tried:
        outcome = _noted(session, location)
        if outcome is None:
            # Moved while it was read: what was found concerns an object that is nobody's any more.
            location = location_of(session, audio)
            outcome = _noted(session, location)
        if outcome is None:
            raise LostUpdate("The recording moves faster than it can be read; verify it again.")
    activity.record(
        session,
        "audio.verified",
        case_id=location.case_id,
        entity=in_session(session, audio),
        detail={"name": location.name, "size_bytes": location.size_bytes, "outcome": outcome},
    )
    return Check(location.audio_id, location.path, location.size_bytes, outcome)


def _noted(session: Session, location: AudioLocation) -> Outcome | None:
    """Read the bytes where the recording was said to be; None when it is there no more."""
    outcome = read_again(backend_of(session, location.backend), location.path, location.size_bytes, location.sha256)
    noted = session.scalar(select(func.public.note_check(location.audio_id, location.path, FAULTS.get(outcome))))
    return outcome if noted else None
