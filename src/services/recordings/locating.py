"""Where a storage is now: at the place of the settings, in a backend of the program, or where it was registered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from src.database.connection.session import Database
from src.errors import ConfigurationError, SpeechError
from src.services.recordings.registered import KnownStorage, Register, identify, place, read_register
from src.storage import MarkedBackend, StorageBackend, open_backend
from src.storage.marker import absent, read_marker, recognise

_MOVE = "python -m src.database.scripts.storage move"


def identify_once(session: Session, database: Database, backend: StorageBackend) -> None:
    """Compare the marker of a backend with what the database knows, at its first use by this Database.

    Raises ConfigurationError, with both ids, for another storage than one that the database knows.
    """
    if id(backend) in database.identified:
        return
    register = read_register(session)
    if register is None:
        return  # without an actor: nothing is read or written
    found = identify(register, backend)
    if found is not None:
        database.storages.setdefault(str(found[0].storage), backend)
    database.identified[id(backend)] = backend


def candidates(database: Database, name: str) -> Iterator[StorageBackend]:
    """Yield the backends of this name that the program and the settings describe."""
    current, kept, settings = database.storage, database.storages.get(name), database.settings
    if current is None and settings is not None and settings.audio_storage_type == name:
        current = database.storage = open_backend(name, **settings.storage_options())
    if current is not None and current.name == name:
        yield current
    if kept is not None:
        yield kept
        return
    options: dict[str, Any] | None = None
    if settings is not None and (current is None or current.name != name):
        if name == "local":
            options = {"root": settings.audio_storage_root}
        elif name == "s3" and settings.s3_bucket is not None:
            options = settings.s3_options()
    if options is not None:
        database.storages[name] = open_backend(name, **options)
        yield database.storages[name]


def locate(session: Session, database: Database, name: str, storage: str) -> StorageBackend:
    """Return the backend that leads to the storage with this id, and remember it.

    Raises ConfigurationError when neither the program, the settings nor the place where it was registered lead to it.
    """
    register = read_register(session)
    known = None if register is None else register.find(UUID(storage))
    if register is None or known is None:
        raise ConfigurationError(
            f"Storage {storage} of this recording is unknown to the database; its row is damaged: run history verify."
        )
    for candidate in candidates(database, name):
        if _leads_to(candidate, known):
            break
    else:
        candidate = open_registered(known, database.settings)
        require_marker(register, candidate, known)
    recognise(candidate, known.storage)
    database.storages[storage] = candidate
    return candidate


def open_registered(known: KnownStorage, settings: Any) -> StorageBackend:
    """Return the backend for the place where a storage was registered, with the credentials of the settings.

    Raises ConfigurationError for a backend that is not registered in this program.
    """
    secrets = settings.s3_credentials() if known.name == "s3" and settings is not None else {}
    try:
        return open_backend(known.name, **known.location, **secrets)
    except TypeError as error:
        raise ConfigurationError(
            f"Storage {known.storage} cannot be opened as {known.name!r} at {place(known)}: {error}. Pass a backend"
            " that is opened already to keep_backend()."
        ) from error


def require_marker(register: Register, backend: StorageBackend, known: KnownStorage) -> None:
    """Raise ConfigurationError unless the backend, opened where the storage was registered, leads to it."""
    if _is_of(backend, known):
        return
    marker = read_marker(backend)
    found = "there is no marker" if marker is None else f"there is storage {marker.storage}"
    kind = absent if marker is None else ConfigurationError
    raise kind(
        f"Storage {known.storage} of database {register.identity} was registered at {place(known)}, and {found}: mount"
        f" its disk, or say where it is now with: {_MOVE} {known.storage}. Nothing was changed, and nothing counts as"
        " missing."
    )


def _leads_to(backend: StorageBackend, known: KnownStorage) -> bool:
    try:
        return _is_of(backend, known)
    except SpeechError:
        return False  # the settings lead elsewhere; the place where it was registered is tried next


def _is_of(backend: StorageBackend, known: KnownStorage) -> bool:
    if not known.is_marked:
        # Found by its name alone.
        return not isinstance(backend, MarkedBackend)
    marker = read_marker(backend)
    return marker is not None and marker.storage == known.storage
