"""Adopting objects: an object that no recording has becomes a recording of a case.

For objects that were stored after the backup from which a database was restored: nothing else knows them any more.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from src.audio.facts import AudioFacts
from src.database.models import AudioFile, Case, StorageObject, User
from src.errors import Conflict, IntegrityFailure, InvalidInput, NotFound
from src.maintenance.served_storages import ServedStorages, Storages, served
from src.maintenance.unknown_objects import has
from src.services.recordings.audit import log_as_owner
from src.services.recordings.registered import identify, read_register
from src.services.recordings.source_files import content_type_of, facts_of, fetched, size_of
from src.storage import StorageBackend, keys

_FACTS = ("duration_ms", "sample_rate_hz", "channels", "codec")


class _Object(NamedTuple):
    storage: StorageBackend
    case_id: int | None
    """The case for which it was announced; None for an object without a row."""


def adopt(
    session: Session,
    storages: Storages,
    key: str,
    case_id: int,
    *,
    username: str,
    name: str | None = None,
    timeout_seconds: float = 300,
) -> int:
    """Make a recording of an object that no recording has, in a case, for a user; return the id of the recording.

    In a session of the owner. The bytes are read for their size, SHA-256 and facts. An object of another case, or of
    the archive, is copied to a key of this case, and the old one stays until it is removed by name. Commits. Raises
    NotFound for an unknown object, case or user; Conflict for an object that is or was part of a recording, or is being
    written.
    """
    storages = served(session, storages)
    keys.validate(key)
    with session.begin():
        if session.scalar(select(Case.id).where(Case.id == case_id)) is None:
            raise NotFound(f"Case {case_id} does not exist; name the id of one.")
        user_id = session.scalar(select(User.id).where(func.lower(User.username) == username.lower()))
        if user_id is None:
            raise NotFound(f"User {username!r} does not exist; name the user to whom the recording is attributed.")
    found = _find(session, storages, key)
    with fetched(found.storage, key) as (file, sha256):
        size = size_of(file)
        if size == 0:
            raise InvalidInput(f"{key} is empty; it cannot be a recording.")
        facts = facts_of(file, timeout_seconds, allow_non_audio=True)
    in_place = key.startswith(f"cases/{case_id}/") and found.case_id in {None, case_id}
    place = key if in_place else keys.case_key(case_id, keys.extension_of(key))
    if not in_place or found.case_id is None:
        _announce(session, found.storage, place, case_id)
    if not in_place and found.storage.copy(key, place).sha256 != sha256:
        raise IntegrityFailure(f"{key} changed while it was copied; repeat the command.")
    with session.begin():
        free = session.scalar(text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": place})
        if not free:
            raise Conflict(f"{place} is being written by a session; wait until it has ended.")
        audio = AudioFile(
            case_id=case_id,
            name=name or key.rpartition("/")[2],
            path=place,
            size_bytes=size,
            sha256=sha256,
            storage_type=found.storage.name,
            content_type=content_type_of(facts),
            uploaded_by_id=user_id,
            **_columns(facts),
        )
        session.add(audio)
        session.flush()  # adopts the object; the entry below needs the id
        detail = {"name": audio.name, "size_bytes": size, "sha256": sha256, "from": key, "outcome": "adopted"}
        log_as_owner(session, "storage.adopted", case_id=case_id, audio_id=audio.id, detail=detail)
        return audio.id


def _find(session: Session, storages: ServedStorages, key: str) -> _Object:
    columns = (StorageObject.state, StorageObject.case_id, StorageObject.storage_id, StorageObject.backend)
    with session.begin():
        row = session.execute(select(*columns).where(StorageObject.key == key)).one_or_none()
    if row is not None and row.state != "pending":
        raise Conflict(f"{key} is {row.state}: it is or was part of a recording, and cannot be adopted.")
    if row is None:
        storage = next((each for each in storages.every() if has(each, key)), None)
    else:
        storage = storages.find(row.storage_id, row.backend)
    if storage is None or not has(storage, key):
        raise NotFound(f"No storage that is described here has the object {key}; storage offered lists objects.")
    return _Object(storage, None if row is None else row.case_id)


def _announce(session: Session, storage: StorageBackend, key: str, case_id: int) -> None:
    with session.begin():
        register = read_register(session)
        found = None if register is None else identify(register, storage)
        storage_id = None if found is None else found[0].id
        session.add(StorageObject(case_id=case_id, key=key, backend=storage.name, storage_id=storage_id))


def _columns(facts: AudioFacts | None) -> dict[str, object]:
    if facts is None:
        return {}
    return {column: getattr(facts, column) for column in _FACTS} | {"is_truncated": facts.truncated}
