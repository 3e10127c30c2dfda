"""Fixity: stored bytes are read again and compared with what was ingested; the row of the object has the result."""

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
from src.services.parameters import id_of, in_session, row_of
from src.services.recordings.audit import logged_attempt
from src.services.recordings.context import backend_of, require_verb
from src.services.recordings.locations import AudioLocation, location_of
from src.services.recordings.source_files import sha256_of
from src.storage import StorageBackend
from src.storage.marker import require_recognised

Outcome = Literal["sound", "missing", "damaged"]
FAULTS: dict[Outcome, str] = {
    "missing": "the object does not exist",
    "damaged": "the bytes are not those that were ingested",
}


@dataclass(frozen=True, slots=True)
class Check:
    """The result of reading a recording again."""

    audio_id: int
    key: str
    size_bytes: int
    outcome: Outcome


def verify(
    session: Session,
    audio: AudioFile | int | None = None,
    *,
    case: Case | int | None = None,
    sample: int | None = None,
) -> list[Check]:
    """Read one recording, or those of a case, and compare every byte; `sample` limits it to so many, at random.

    Each check is logged and stored in the row of the object (`verified_at`, `last_error`). A recording that is moved
    during the check is read again at its new place. All checks are one transaction; use the script `sweep verify` for
    runs over everything that can be interrupted. Raises NotFound, Forbidden without the verb `write` in the case,
    LostUpdate for one that is moved again and again, and StorageUnavailable when the storage does not answer, which
    proves nothing about the bytes.
    """
    actor_of(session)
    if (audio is None) == (case is None):
        raise InvalidInput("Pass either a recording or case=….", field="case")
    if sample is not None and sample < 1:
        raise InvalidInput(f"sample: {sample}; pass at least 1.", field="sample", value=sample, limit=1)
    if audio is not None:
        chosen = [id_of(AudioFile, audio)]
    else:
        query = select(AudioFile.id).where(AudioFile.case_id == id_of(Case, case), AudioFile.deleted_at.is_(None))
        query = query.order_by(func.random()).limit(sample) if sample is not None else query.order_by(AudioFile.id)
        chosen = list(session.scalars(query))
    return [_verify_one(session, audio_id) for audio_id in chosen]


def read_again(storage: StorageBackend, key: str, size_bytes: int, sha256: str) -> Outcome:
    """Compare an object with its expected size and digest.

    Raises StorageUnavailable, and ConfigurationError when the storage itself is missing: nothing counts as missing.
    """
    try:
        with storage.get(key) as file:
            found = sha256_of(file)
    except ObjectNotFound:
        require_recognised(storage)
        return "missing"
    return "sound" if found == (sha256, size_bytes) else "damaged"


def _verify_one(session: Session, audio_id: int) -> Check:
    location = location_of(session, audio_id)
    require_verb(session, location.case_id, "write")
    disable_idle_timeout(session)
    with logged_attempt(
        session, "audio.verified", location.case_id, audio_id, name=location.name, size_bytes=location.size_bytes
    ):
        outcome = _checked(session, location)
        if outcome is None:
            # Moved while it was read: the result was about an object that the recording no longer has.
            location = location_of(session, audio_id)
            outcome = _checked(session, location)
        if outcome is None:
            raise LostUpdate(f"Recording {audio_id} was moved twice while it was read; verify it again.")
    activity.record(
        session,
        "audio.verified",
        case=location.case_id,
        entity=in_session(session, row_of(AudioFile, audio_id)),
        detail={"name": location.name, "size_bytes": location.size_bytes, "outcome": outcome},
    )
    return Check(audio_id, location.path, location.size_bytes, outcome)


def _checked(session: Session, location: AudioLocation) -> Outcome | None:
    """Read the bytes at a location and store the result; None when the recording is no longer there."""
    backend = backend_of(session, location.backend, location.storage)
    outcome = read_again(backend, location.path, location.size_bytes, location.sha256)
    noted = session.scalar(select(func.public.note_check(location.audio_id, location.path, FAULTS.get(outcome))))
    return outcome if noted else None
