"""What an operation on recordings works with: the case, its storage and the limits, resolved once.

Also which backend holds what: new recordings go to the backend of the settings; older ones may be in any backend that
the settings or `keep_backend` describe.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from sqlalchemy import Uuid, cast, func, select, text
from sqlalchemy.orm import Session

from src.database.connection.actor_tokens import Actor
from src.database.connection.session import Database, actor_of, database_of
from src.database.connection.timeouts import disable_idle_timeout
from src.database.models import Case
from src.errors import ConfigurationError, Conflict, Forbidden, NotFound, ObjectNotFound
from src.services.parameters import id_of
from src.services.recordings.locating import candidates, identify_once, locate
from src.services.recordings.registered import identify, read_register, require_owned
from src.storage import StorageBackend, open_backend
from src.storage.marker import absent, read_marker, require_recognised, the_place

PROBE_TIMEOUT_SECONDS = 300.0
# Qualified: verification pins a search_path without public.
_ARCHIVE = text("SELECT a.storage_type, a.storage_id FROM public.activity_archives a WHERE a.storage_key = :key")
ORPHANED = "These bytes were already ingested, or removed by a sweep; upload them again."


@dataclass(frozen=True, slots=True)
class CaseContext:
    """A case in a session, the backend for its new recordings, and how long decoding one may take."""

    session: Session
    database: Database
    case_id: int
    storage: StorageBackend
    probe_timeout_seconds: float

    @classmethod
    def resolve(cls, session: Session, case: Case | int) -> Self:
        """Return the context of a case without asking for rights."""
        return cls._in(database_of(session), session, id_of(Case, case))

    @classmethod
    def for_writing(cls, session: Session, case: Case | int) -> Self:
        """Return the context of a case. Raises NotFound when the actor may not see it, Forbidden without `write`."""
        database, _ = database_of(session), actor_of(session)
        case_id = id_of(Case, case)
        _require_case(session, case_id)
        return cls._in(database, session, case_id)

    @classmethod
    def _in(cls, database: Database, session: Session, case_id: int) -> Self:
        return cls(session, database, case_id, current_backend(database), probe_timeout(database))

    def backend(self, name: str, storage: str | None) -> StorageBackend:
        """Return the backend that a row names. Raises ConfigurationError when it is not described here."""
        return backend_of(self.session, name, storage)

    def lock(self, key: str) -> None:
        """Keep sweeps away from an announced object until this transaction ends; see `lock_object`."""
        lock_object(self.session, key)

    def reserve(self, key: str, storage: StorageBackend) -> str | None:
        """Announce an object in a transaction of its own, then lock it until this transaction ends."""
        storage_id = announce(self.database, self.session, self.case_id, key, storage)
        self.lock(key)
        return storage_id


def storage_of(session: Session) -> StorageBackend:
    """Return the backend that this session's database keeps new recordings in; opened once per Database.

    Raises ConfigurationError when it is not a storage that this database knows.
    """
    return storage_in(session, database_of(session))


def storage_in(session: Session, database: Database) -> StorageBackend:
    """Return the backend that this database keeps new recordings in; see `storage_of`."""
    backend = current_backend(database)
    identify_once(session, database, backend)
    return backend


def current_backend(database: Database) -> StorageBackend:
    """Return the backend for new recordings without accessing it; opened once."""
    if database.storage is None:
        if database.settings is None:
            database.storage = open_backend("local", root=Path("storage/audio"))
        else:
            database.storage = open_backend(database.settings.audio_storage_type, **database.settings.storage_options())
    backend: StorageBackend = database.storage
    return backend


def backend_of(session: Session, name: str, storage: str | None = None) -> StorageBackend:
    """Return the backend that a row names: that of the settings, or one registered with `keep_backend`.

    `storage` is the id in `storage_config` of the recording: it is found where its marker is, at the place of the
    settings or where it was registered. Raises ConfigurationError when that is another storage or none.
    """
    database = database_of(session)
    found = database.storages.get(storage or "")
    if found is None and storage is not None:
        found = locate(session, database, name, storage)
    elif found is None:
        found = _by_name(database, name)
        identify_once(session, database, found)
    backend: StorageBackend = found
    return backend


def check_storage(session: Session) -> None:
    """Raise unless the storage for new recordings answers and is that of this database: for a check of readiness.

    The session needs no actor. Raises StorageUnavailable, ConfigurationError for a missing or foreign marker, and
    Quarantined for a copy of a database that nobody confirmed.
    """
    backend = current_backend(database_of(session))
    marker = read_marker(backend)
    storage = None if marker is None else marker.storage
    if session.scalar(select(func.public.knows_storage(backend.name, cast(storage, Uuid)))) is not False:
        return
    found = f"is storage {storage}, which" if storage else "has no marker; a storage without one"
    kind = ConfigurationError if storage else absent
    raise kind(
        f"{the_place(backend)} {found} is not claimed for this database: mount its disk, correct the settings, or run"
        " init_db."
    )


def require_reachable(session: Session, name: str, storage: str | None, key: str) -> None:
    """Raise StorageUnavailable or ConfigurationError unless the storage of an object is known here and answers.

    An absent object in a storage that is there raises nothing.
    """
    backend = backend_of(session, name, storage)
    try:
        backend.head(key)
    except ObjectNotFound:
        require_recognised(backend)


class ArchivedMonths:
    """The files of archived months of the log, each read from the storage that its row names."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, key: str) -> BinaryIO:
        """Return the file of a month. Raises ObjectNotFound, ConfigurationError."""
        row = self._session.execute(_ARCHIVE, {"key": key}).one_or_none()
        if row is None or row.storage_id is None:
            return storage_of(self._session).get(key)
        register = read_register(self._session)
        known = None if register is None else next(k for k in register.storages if k.id == row.storage_id)
        return backend_of(self._session, row.storage_type, None if known is None else str(known.storage)).get(key)


def keep_backend(database: Database, backend: StorageBackend) -> None:
    """Register one more backend, by its name, from which recordings of this database can be read."""
    database.storages[backend.name] = backend


def _by_name(database: Database, name: str) -> StorageBackend:
    found = next(candidates(database, name), None)
    if found is None:
        raise ConfigurationError(
            f"The storage {name!r} of this recording is not described here; register it with keep_backend()."
        )
    return found


def probe_timeout(database: Database) -> float:
    """Return how many seconds decoding a recording may take."""
    return database.settings.probe_timeout_seconds if database.settings is not None else PROBE_TIMEOUT_SECONDS


def require_writable(session: Session, case_id: int) -> None:
    """Raise NotFound for a case that the actor may not see, Forbidden for one without the verb `write`."""
    actor_of(session)
    _require_case(session, case_id)


def _require_case(session: Session, case_id: int) -> None:
    if session.scalar(select(Case.id).where(Case.id == case_id)) is None:
        raise NotFound(f"Case {case_id} does not exist, or you may not see it.")
    require_verb(session, case_id, "write")


def require_verb(session: Session, case_id: int, verb: str) -> None:
    """Raise Forbidden unless the actor holds that verb in the case: checked before any bytes are transferred."""
    if not session.scalar(select(func.public.actor_may_in(case_id, verb))):
        raise Forbidden(f"The actor of this session lacks the verb {verb!r} in case {case_id}.")


def announce(database: Database, actor: Session | Actor, case_id: int, key: str, storage: StorageBackend) -> str | None:
    """Commit the row that names an object, before its first byte is written; return the id of its storage.

    Reads the marker first: a disk may have been unmounted, or another database may own the storage by now.
    """
    with database.side_session(actor) as side:
        register = read_register(side)
        found = None
        if register is not None:
            found = identify(register, storage)
            require_owned(register, storage, found)
        storage_id = None if found is None else found[0].storage
        owner = None if found is None or found[1] is None else found[1].owner
        side.execute(
            select(func.public.announce_object(case_id, key, storage.name, cast(storage_id, Uuid), cast(owner, Uuid)))
        )
    return None if storage_id is None else str(storage_id)


def lock_object(session: Session, key: str) -> None:
    """Keep sweeps away from an announced object until this transaction ends, and let the transaction idle that long.

    Raises Conflict when a sweep removed the object before, or the actor may not write in its case.
    """
    disable_idle_timeout(session)
    if not session.scalar(select(func.public.lock_object(key))):
        raise Conflict(ORPHANED)
