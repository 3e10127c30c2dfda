"""Which backend holds what: the one of the settings for what is new, and every other that a recording still lies in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.database.connection.session import Database, actor_of, database_of
from src.database.models import AudioFile, StorageObject
from src.errors import ConfigurationError, Forbidden, NotFound
from src.storage import StorageBackend, open_backend


def storage_of(session: Session) -> StorageBackend:
    """Return the backend that this session's database keeps new recordings in; opened once per Database."""
    return storage_in(database_of(session))


def storage_in(database: Database) -> StorageBackend:
    """Return the backend that this database keeps new recordings in; opened once."""
    if database.storage is None:
        if database.settings is None:
            database.storage = open_backend("local", root=Path("storage/audio"))
        else:
            database.storage = open_backend(database.settings.audio_storage_type, **database.settings.storage_options())
    backend: StorageBackend = database.storage
    return backend


def backend_of(session: Session, name: str) -> StorageBackend:
    """Return the backend that a row names: that of the settings, or one that `keep_backend` was told.

    Raises ConfigurationError when nothing here says where that backend is.
    """
    database = database_of(session)
    current = storage_in(database)
    if name == current.name:
        return current
    if name not in database.storages:
        options = None
        if database.settings is not None and name == "local":
            options = {"root": database.settings.audio_storage_root}
        elif database.settings is not None and name == "s3":
            options = database.settings.s3_options()
        if options is None:
            raise ConfigurationError(
                f"The storage {name!r} of this recording is not described here; hand it over with keep_backend()."
            )
        database.storages[name] = open_backend(name, **options)
    backend: StorageBackend = database.storages[name]
    return backend


def keep_backend(database: Database, backend: StorageBackend) -> None:
    """Let recordings of this database be read from one more backend, found by its name."""
    database.storages[backend.name] = backend


@dataclass(frozen=True, slots=True)
class AudioLocation:
    """Where a recording is now, as the database says it, whatever the object of an earlier session remembers."""

    audio_id: int
    case_id: int
    name: str
    path: str
    backend: str
    size_bytes: int
    sha256: str
    is_archived: bool
    archive_reason: str | None
    deleted: bool


def location_of(session: Session, audio: AudioFile, *, deleted: bool = False) -> AudioLocation:
    """Return where a recording is. Raises NotFound for one that is not there, not the actor's, or marked as deleted."""
    actor_of(session)
    row = session.execute(
        select(
            AudioFile.id,
            AudioFile.case_id,
            AudioFile.name,
            AudioFile.path,
            AudioFile.storage_type,
            AudioFile.size_bytes,
            AudioFile.sha256,
            AudioFile.is_archived,
            AudioFile.archive_reason,
            AudioFile.deleted_at.is_not(None),
        ).where(AudioFile.id == audio.id)
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such recording, or it is not yours to see.")
    location = AudioLocation(*row)  # type: ignore[call-arg]  # the plugin of SQLAlchemy's types gives up at ten columns
    if location.deleted and not deleted:
        raise NotFound("This recording was deleted; restore() brings it back until a sweep removes it for good.")
    return location


def require(session: Session, case_id: int, verb: str) -> None:
    """Raise Forbidden unless the actor holds that verb in the case: asked before bytes travel for nothing."""
    allowed = func.public.actor_case_ids(verb)
    held = func.coalesce(func.array_position(allowed, case_id), 0) > 0
    if not session.scalar(select(held | func.public.actor_may("*", "*"))):
        raise Forbidden(f"The actor of this session may not do that: it lacks the verb {verb} in this case.")


@dataclass(frozen=True, slots=True)
class Stored:
    """What a case keeps in one backend: live objects, or what waits to be removed."""

    backend: str
    state: str
    objects: int
    size_bytes: int


def storage_usage(session: Session, case: object) -> list[Stored]:
    """Return how much a case stores, by backend and state (`live`, `deleting`); nothing for a case that is not his.

    What was announced and never became a recording is not counted: it is nobody's yet.
    """
    actor_of(session)
    total = func.coalesce(func.sum(StorageObject.size_bytes), 0)
    rows = session.execute(
        select(StorageObject.backend, StorageObject.state, func.count(), total)
        .where(StorageObject.case_id == getattr(case, "id", case))
        .group_by(StorageObject.backend, StorageObject.state)
        .order_by(StorageObject.backend, StorageObject.state)
    )
    return [Stored(backend, state, objects, int(size or 0)) for backend, state, objects, size in rows]
