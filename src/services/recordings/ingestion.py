"""From bytes to a recording: the caller's transaction adds the row and turns the object live, or does neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.audio.facts import AudioFacts
from src.database.connection.timeouts import disable_idle_timeout
from src.database.models import AudioFile, Case
from src.database.schema.moments import require_moment
from src.errors import Conflict, InvalidInput, LostUpdate, ObjectNotFound
from src.services import activity
from src.services.parameters import in_session, language_by_code, require_choice
from src.services.recordings.audit import Attempt, logged_attempt
from src.services.recordings.context import ORPHANED, CaseContext
from src.services.recordings.locating import identify_once
from src.services.recordings.source_files import (
    Source,
    content_type_of,
    facts_of,
    fetched,
    name_of,
    opened,
    sha256_of,
    size_of,
)
from src.services.recordings.uploads import Received, Uploaded, stored
from src.storage import keys
from src.storage.marker import require_recognised

OnDuplicate = Literal["add", "return", "refuse"]


def ingest(
    session: Session,
    case: Case | int,
    source: Source | Received | Uploaded,
    *,
    name: str | None = None,
    language: str | None = None,
    recorded_at: datetime | None = None,
    on_duplicate: OnDuplicate = "add",
    allow_non_audio: bool = False,
) -> AudioFile:
    """Store a recording in a case: a path, bytes, a binary file, the result of `receive`, or an uploaded key.

    The audio is decoded once for its facts, and hashed while it is stored. When the session commits, the bytes are
    durable; when it does not, a sweep removes them. `language` is a BCP 47 code. Where the case already has a recording
    of the same bytes, `on_duplicate` adds another one, returns that one, or refuses with Conflict; a recording whose
    file is missing always gets these bytes, and is returned. `allow_non_audio` stores input that is not audio.

    Raises NotAudio for an empty file and for input that is not audio, NotFound for a case that the actor may not see,
    Forbidden where the actor may not write, InvalidInput for an invalid name, an unknown language or a time without a
    time zone, Conflict for received
    bytes that a sweep removed, and a StorageError when the bytes cannot be stored.
    """
    require_choice(on_duplicate, OnDuplicate, "on_duplicate")
    if recorded_at is not None:
        require_moment(recorded_at, "recorded_at")
    context = CaseContext.for_writing(session, case)
    with logged_attempt(session, "audio.ingested", context.case_id) as attempt:
        attempt.name = source.name if isinstance(source, Received) and name is None else name_of(source, name)
        columns = {
            "language": language_by_code(session, language) if language is not None else None,
            "recorded_at": recorded_at,
        }
        disable_idle_timeout(session)
        if isinstance(source, Received):
            received = _from_received(context, source, attempt)
        elif isinstance(source, Uploaded):
            received = _from_uploaded(context, source, attempt, allow_non_audio=allow_non_audio)
        else:
            result = _from_source(context, source, attempt, on_duplicate, allow_non_audio=allow_non_audio)
            if isinstance(result, AudioFile):
                return _returned(context, result)
            received = result
        return _add_recording(context, received, on_duplicate, columns)


def _from_source(
    context: CaseContext, source: Source, attempt: Attempt, on_duplicate: OnDuplicate, *, allow_non_audio: bool
) -> Received | AudioFile:
    """Store the bytes under a lock of the caller's transaction; for a known duplicate nothing is stored."""
    name = str(attempt.name)
    with opened(source) as file:
        attempt.size_bytes = size_of(file)
        facts = facts_of(file, context.probe_timeout_seconds, allow_non_audio=allow_non_audio)
        if on_duplicate != "add":
            duplicate = _duplicate(context, sha256_of(file)[0], on_duplicate, lock=False)
            if duplicate is not None and not _is_missing(context, duplicate):
                return duplicate
        key = keys.case_key(context.case_id, keys.extension_of(name))
        storage_id = context.reserve(key, context.storage)
        received = stored(context.storage, file, key, case_id=context.case_id, name=name, facts=facts)
        return replace(received, storage=storage_id)


def _from_received(context: CaseContext, received: Received, attempt: Attempt) -> Received:
    attempt.size_bytes = received.size_bytes
    if received.case_id != context.case_id:
        raise InvalidInput(
            f"source: these bytes were received for case {received.case_id}; receive them for this one.", field="source"
        )
    context.lock(received.key)
    try:
        context.backend(received.backend, received.storage).head(received.key)
    except ObjectNotFound as error:
        # A sweep was killed after it removed the bytes and before it committed.
        raise Conflict(ORPHANED) from error
    return replace(received, name=str(attempt.name))


def _from_uploaded(context: CaseContext, source: Uploaded, attempt: Attempt, *, allow_non_audio: bool) -> Received:
    keys.validate(source.key)
    if not source.key.startswith(f"cases/{context.case_id}/"):
        raise InvalidInput(f"source: the key {source.key!r} was announced for another case.", field="source")
    context.lock(source.key)
    identify_once(context.session, context.database, context.storage)
    with fetched(context.storage, source.key) as (file, sha256):
        size = attempt.size_bytes = size_of(file)
        facts = facts_of(file, context.probe_timeout_seconds, allow_non_audio=allow_non_audio)
    return Received(context.case_id, source.key, context.storage.name, str(attempt.name), size, sha256, facts)


def _add_recording(
    context: CaseContext, received: Received, on_duplicate: OnDuplicate, columns: Mapping[str, object]
) -> AudioFile:
    duplicate = _duplicate(context, received.sha256, on_duplicate)
    if duplicate is not None:
        if _is_missing(context, duplicate):
            return _repaired(context, duplicate, received)
        if on_duplicate == "return":
            return _returned(context, duplicate)
    audio = AudioFile(
        case_id=context.case_id,
        name=received.name,
        path=received.key,
        size_bytes=received.size_bytes,
        sha256=received.sha256,
        storage_type=received.backend,
        content_type=content_type_of(received.facts),
        **columns,
        **(_columns(received.facts) if received.facts is not None else {}),
    )
    context.session.add(audio)
    context.session.flush()  # adopts the object while its lock is held; from here on its row is locked
    # The status is the server's default; a caller may read it after the session is closed.
    context.session.refresh(audio, ["status"])
    _log(context, "audio.ingested", audio, "stored")
    return audio


def _duplicate(context: CaseContext, sha256: str, on_duplicate: OnDuplicate, *, lock: bool = True) -> AudioFile | None:
    """Return the case's recording of the same bytes; one whose file is missing first.

    Raises Conflict when there is one with its file and duplicates are refused.
    """
    if on_duplicate != "add" and lock:
        # Serialises concurrent ingests of the same bytes: the second one sees what the first one committed. Not taken
        # while bytes travel, since it assigns a transaction id.
        context.session.execute(select(func.public.lock_in_case(context.case_id, f"recording {sha256}")))
    duplicates = context.session.scalars(
        select(AudioFile)
        .where(AudioFile.case_id == context.case_id, AudioFile.sha256 == sha256, AudioFile.deleted_at.is_(None))
        .order_by(AudioFile.id)
    ).all()
    missing = next((duplicate for duplicate in duplicates if _is_missing(context, duplicate)), None)
    if duplicates and missing is None and on_duplicate == "refuse":
        raise Conflict(
            f"The case already has these bytes, as recording {duplicates[0].id} ({duplicates[0].name!r});"
            " on_duplicate='return' returns it."
        )
    return missing or next(iter(duplicates), None)


def _is_missing(context: CaseContext, audio: AudioFile) -> bool:
    backend = context.backend(audio.storage_type, audio.storage_config.get("storage"))
    try:
        backend.head(audio.path)
    except ObjectNotFound:
        require_recognised(backend)
        return True
    return False


def _returned(context: CaseContext, duplicate: AudioFile) -> AudioFile:
    _log(context, "audio.ingested", duplicate, "returned")
    return duplicate


def _repaired(context: CaseContext, duplicate: AudioFile, received: Received) -> AudioFile:
    """Give these bytes to a recording whose file is missing, in the area where it was: case or archive."""
    key = received.key
    if duplicate.is_archived:
        # The stored key lies in the area of the case; a second copy is the price of a rare repair.
        storage = context.backend(received.backend, received.storage)
        key = keys.archive_key(duplicate.id, keys.extension_of(key))
        context.reserve(key, storage)
        storage.copy(received.key, key)
    switched = func.public.place_recording(
        duplicate.id, duplicate.path, key, received.backend, duplicate.is_archived, duplicate.archive_reason
    )
    if not context.session.scalar(select(switched)):
        raise LostUpdate(f"Recording {duplicate.id} was changed in the meantime; repeat the whole transaction.")
    duplicate = in_session(context.session, duplicate)
    context.session.refresh(duplicate)
    _log(context, "audio.repaired", duplicate, "repaired")
    return duplicate


def _log(context: CaseContext, type: str, audio: AudioFile, outcome: str) -> None:  # noqa: A002 - the column's name
    detail = {"name": audio.name, "size_bytes": audio.size_bytes, "sha256": audio.sha256, "outcome": outcome}
    activity.record(context.session, type, case=context.case_id, entity=audio, detail=detail)


def _columns(facts: AudioFacts) -> dict[str, object]:
    return {
        "duration_ms": facts.duration_ms,
        "sample_rate_hz": facts.sample_rate_hz,
        "channels": facts.channels,
        "codec": facts.codec,
        "is_truncated": facts.truncated,
    }
