"""Where a recording is: backend, key and size as the database has them now, and how much a case stores."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.database.connection.session import actor_of
from src.database.models import AudioFile, Case
from src.database.models.audio_files import ObjectState
from src.errors import NotFound
from src.services.parameters import id_of


@dataclass(frozen=True, slots=True)
class AudioLocation:
    """Where a recording is now, read from the database: a row of an earlier session may be out of date."""

    audio_id: int
    case_id: int
    name: str
    path: str
    backend: str
    size_bytes: int
    sha256: str
    content_type: str | None
    duration_ms: int | None
    is_archived: bool
    archive_reason: str | None
    deleted: bool
    storage: str | None
    """The id of its storage; None for one from before the database had an identity."""


def location_of(session: Session, audio: AudioFile | int, *, deleted: bool = False) -> AudioLocation:
    """Return where a recording is.

    Raises NotFound when it does not exist, the actor may not see it, or it is marked as deleted and `deleted` is False.
    """
    actor_of(session)
    audio_id = id_of(AudioFile, audio)
    row = session.execute(
        select(
            AudioFile.id,
            AudioFile.case_id,
            AudioFile.name,
            AudioFile.path,
            AudioFile.storage_type,
            AudioFile.size_bytes,
            AudioFile.sha256,
            AudioFile.content_type,
            AudioFile.duration_ms,
            AudioFile.is_archived,
            AudioFile.archive_reason,
            AudioFile.deleted_at.is_not(None),
            AudioFile.storage_config["storage"].astext,
        ).where(AudioFile.id == audio_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"Recording {audio_id} does not exist, or you may not see it.")
    location = AudioLocation(*row)  # type: ignore[call-arg]  # the plugin of SQLAlchemy's types stops at ten columns
    if location.deleted and not deleted:
        raise NotFound(f"Recording {audio_id} is deleted; restore() brings it back until a sweep removes it.")
    return location


@dataclass(frozen=True, slots=True)
class StorageUsage:
    """What a case keeps in one backend: objects in use (`live`), replaced (`superseded`) or waiting for removal."""

    backend: str
    state: ObjectState
    objects: int
    size_bytes: int


def storage_usage(session: Session, case: Case | int) -> list[StorageUsage]:
    """Return how much a case stores, by backend and state; an empty list for a case that the actor may not see.

    Objects that were announced and never became a recording are not counted: they belong to no recording yet.
    """
    actor_of(session)
    columns = ("backend", "state", "objects", "size_bytes")
    usage = func.public.storage_usage(id_of(Case, case)).table_valued(*columns)
    return [
        StorageUsage(backend, state, objects, int(size))
        for backend, state, objects, size in session.execute(select(usage))
    ]
