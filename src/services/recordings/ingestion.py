"""From bytes to a recording: the caller's transaction adds the row and with it turns the object live, or neither."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.audio.facts import AudioFacts
from src.database.connection.session import database_of
from src.database.connection.timeouts import disable_idle_timeout
from src.database.models import AudioFile, Case
from src.errors import Conflict, InvalidInput, LostUpdate, ObjectNotFound
from src.services import activity
from src.services.lookup import in_session, language_by_code
from src.services.recordings.audit import Attempt, logged_attempt
from src.services.recordings.locations import backend_of, storage_of
from src.services.recordings.uploads import (
    ORPHANED,
    Received,
    Source,
    Uploaded,
    announce,
    content_type_of,
    facts_of,
    fetched,
    lock_object,
    name_of,
    opened,
    probe_timeout,
    put,
    require_case,
    sha256_known,
    sha256_of,
)
from src.storage import keys

OnDuplicate = Literal["add", "return", "refuse"]


def ingest(
    session: Session,
    case: Case,
    source: Source | Received | Uploaded,
    *,
    name: str | None = None,
    language: str | None = None,
    recorded_at: datetime | None = None,
    on_duplicate: OnDuplicate = "add",
    allow_non_audio: bool = False,
) -> AudioFile:
    """Store a recording in a case: a path, bytes, a binary file, what `receive` received, or an uploaded key.

    The audio is decoded once for its facts, and hashed while it is stored. When the session commits, the bytes are
    durable; when it does not, a sweep removes them. `language` is a BCP 47 code. Where the case has a recording of the
    same bytes, `on_duplicate` adds another, returns that one, or refuses with Conflict; one whose file is missing gets
    these bytes in any case, and is returned. `allow_non_audio` stores bytes that are no audio.

    Raises NotAudio for an empty file and for bytes that no decoder reads, NotFound for a case that is not the actor's,
    Forbidden where he may not write, InvalidInput for a name or language that cannot be, Conflict for received bytes
    that a sweep took, and a StorageError when the bytes cannot be stored.
    """
    if on_duplicate not in {"add", "return", "refuse"}:
        raise InvalidInput(f"on_duplicate is {on_duplicate!r}; say 'add', 'return' or 'refuse'.")
    require_case(session, case.id)
    with logged_attempt(session, "audio.ingested", case_id=case.id) as tried:
        tried.name = source.name if isinstance(source, Received) and name is None else name_of(source, name)
        spoken = language_by_code(session, language) if language is not None else None
        disable_idle_timeout(session)
        if isinstance(source, Received):
            received = _attached(session, case, source, tried)
        elif isinstance(source, Uploaded):
            received = _uploaded(session, case, source, tried, allow_non_audio=allow_non_audio)
        else:
            found = _stored(session, case, source, tried, on_duplicate, allow_non_audio=allow_non_audio)
            if isinstance(found, AudioFile):
                return _returned(session, found)
            received = found
        return _recorded(session, case, received, on_duplicate, {"language": spoken, "recorded_at": recorded_at})


def _stored(
    session: Session, case: Case, source: Source, tried: Attempt, on_duplicate: OnDuplicate, *, allow_non_audio: bool
) -> Received | AudioFile:
    """Put the bytes under a lock of the caller's own transaction; for a known duplicate nothing is put."""
    file_name = str(tried.name)
    storage, database = storage_of(session), database_of(session)
    with opened(source) as file:
        tried.size_bytes = os.fstat(file.fileno()).st_size
        facts = facts_of(file, probe_timeout(database), allow_non_audio=allow_non_audio)
        if on_duplicate != "add":
            duplicate = _duplicate(session, case.id, sha256_of(file)[0], on_duplicate)
            if duplicate is not None and not _is_missing(session, duplicate):
                return duplicate
        key = keys.case_key(case.id, keys.extension_of(file_name))
        announce(database, session, case.id, key, storage)
        lock_object(session, key)
        stored = put(storage, key, file, facts)
    return Received(case.id, key, storage.name, file_name, stored.size, sha256_known(stored), facts)


def _attached(session: Session, case: Case, received: Received, tried: Attempt) -> Received:
    tried.size_bytes = received.size_bytes
    if received.case_id != case.id:
        raise InvalidInput("These bytes were received for another case; receive them for this one.")
    lock_object(session, received.key)
    try:
        backend_of(session, received.backend).head(received.key)
    except ObjectNotFound as error:
        # A sweep that was killed had removed them and could not say so any more.
        raise Conflict(ORPHANED) from error
    return replace(received, name=str(tried.name))


def _uploaded(session: Session, case: Case, source: Uploaded, tried: Attempt, *, allow_non_audio: bool) -> Received:
    keys.validate(source.key)
    if not source.key.startswith(f"cases/{case.id}/"):
        raise InvalidInput("This key was announced for another case.")
    storage = storage_of(session)
    lock_object(session, source.key)
    with fetched(storage, source.key) as (file, sha256):
        size = tried.size_bytes = os.fstat(file.fileno()).st_size
        facts = facts_of(file, probe_timeout(database_of(session)), allow_non_audio=allow_non_audio)
    return Received(case.id, source.key, storage.name, str(tried.name), size, sha256, facts)


def _recorded(
    session: Session,
    case: Case,
    received: Received,
    on_duplicate: OnDuplicate,
    told: Mapping[str, object],
) -> AudioFile:
    duplicate = _duplicate(session, case.id, received.sha256, on_duplicate)
    if duplicate is not None:
        if _is_missing(session, duplicate):
            return _repaired(session, duplicate, received)
        if on_duplicate == "return":
            return _returned(session, duplicate)
    audio = AudioFile(
        case_id=case.id,
        name=received.name,
        path=received.key,
        size_bytes=received.size_bytes,
        sha256=received.sha256,
        storage_type=received.backend,
        content_type=content_type_of(received.facts),
        **told,
        **(_columns(received.facts) if received.facts is not None else {}),
    )
    session.add(audio)
    session.flush()  # adopts the object while the lock is held; from here on its row is locked
    # The status is the server's default; a caller may want to read it when the session is closed.
    session.refresh(audio, ["status"])
    detail = {"name": audio.name, "size_bytes": audio.size_bytes, "sha256": audio.sha256, "outcome": "stored"}
    activity.record(session, "audio.ingested", case=case, entity=audio, detail=detail)
    return audio


def _duplicate(session: Session, case_id: int, sha256: str, on_duplicate: OnDuplicate) -> AudioFile | None:
    """Return the case's recording of the same bytes, one whose file is missing first.

    Raises Conflict when there is one with its file and duplicates are to be refused.
    """
    if on_duplicate != "add":
        # Two who bring the same bytes at once take turns: the second one sees what the first one committed.
        told = f"recording {case_id} {sha256}"
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(told, 0))))
    duplicates = session.scalars(
        select(AudioFile)
        .where(AudioFile.case_id == case_id, AudioFile.sha256 == sha256, AudioFile.deleted_at.is_(None))
        .order_by(AudioFile.id)
    ).all()
    missing = next((duplicate for duplicate in duplicates if _is_missing(session, duplicate)), None)
    if duplicates and missing is None and on_duplicate == "refuse":
        raise Conflict(
            f"The case has these bytes already, as {duplicates[0].name!r}; ask for that one with on_duplicate='return'."
        )
    return missing or next(iter(duplicates), None)


def _is_missing(session: Session, audio: AudioFile) -> bool:
    try:
        backend_of(session, audio.storage_type).head(audio.path)
    except ObjectNotFound:
        return True
    return False


def _returned(session: Session, duplicate: AudioFile) -> AudioFile:
    detail = {
        "name": duplicate.name,
        "size_bytes": duplicate.size_bytes,
        "sha256": duplicate.sha256,
        "outcome": "returned",
    }
    activity.record(session, "audio.ingested", case_id=duplicate.case_id, entity=duplicate, detail=detail)
    return duplicate


def _repaired(session: Session, duplicate: AudioFile, received: Received) -> AudioFile:
    """Let a recording whose file is missing have these bytes, where it lay: an archived one in the archive."""
    key = received.key
    if duplicate.is_archived:
        # The key that was written names the case; a second copy is the price of a rare repair.
        storage = backend_of(session, received.backend)
        key = keys.archive_key(duplicate.id, keys.extension_of(key))
        announce(database_of(session), session, duplicate.case_id, key, storage)
        lock_object(session, key)
        storage.copy(received.key, key)
    switched = func.public.place_recording(
        duplicate.id, duplicate.path, key, received.backend, duplicate.is_archived, duplicate.archive_reason
    )
    if not session.scalar(select(switched)):
        raise LostUpdate("The recording was changed by somebody else meanwhile; repeat the whole transaction.")
    duplicate = in_session(session, duplicate)
    session.refresh(duplicate)
    detail = {
        "name": duplicate.name,
        "size_bytes": duplicate.size_bytes,
        "sha256": duplicate.sha256,
        "outcome": "repaired",
    }
    activity.record(session, "audio.repaired", case_id=duplicate.case_id, entity=duplicate, detail=detail)
    return duplicate


def _columns(facts: AudioFacts) -> dict[str, object]:
    return {
        "duration_ms": facts.duration_ms,
        "sample_rate_hz": facts.sample_rate_hz,
        "channels": facts.channels,
        "codec": facts.codec,
        "is_truncated": facts.truncated,
    }
