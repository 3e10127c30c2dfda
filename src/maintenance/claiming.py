"""Who this database is, and which storages are its own: written by `init_db` and by the command `storage`.

A claim is a row first and then the marker, which is created only where none is: of two databases that claim one place
at the same moment one gets it. A kill in between leaves a row that is not claimed yet; the next claim continues there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from src.database.models import DatabaseIdentity, Storage
from src.errors import ConfigurationError, ObjectExists
from src.services.recordings.audit import log_as_owner
from src.services.recordings.registered import KnownStorage, Register, identify, place, read_register, require_owned
from src.storage import MarkedBackend, StorageBackend
from src.storage.marker import Marker, place_of, read_marker, the_place

# One claim of this database at a time, as one initialisation.
_ALONE = text("LOCK TABLE public.database_identities IN SHARE ROW EXCLUSIVE MODE")
PRESENT = text(
    "SELECT c.system_identifier, d.oid::bigint AS database_oid, d.datname FROM pg_catalog.pg_control_system() c,"
    " pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
)


def ensure_identity(session: Session) -> UUID:
    """Return the id of this database, in a session of the owner; made at the first call. Commits."""
    with session.begin():
        session.execute(_ALONE)
        found = session.scalars(select(DatabaseIdentity.identity)).one_or_none()
        if found is not None:
            return found
        present = session.execute(PRESENT).one()
        identity = uuid4()
        session.execute(
            insert(DatabaseIdentity).values(
                # The only row has the id 1, and its sequence has given it.
                id=func.setval(func.pg_get_serial_sequence("public.database_identities", "id"), 1),
                identity=identity,
                system_identifier=present.system_identifier,
                database_oid=present.database_oid,
                confirmed_at=func.now(),
            )
        )
        return identity


def check_place(session: Session, backend: StorageBackend) -> bool:
    """Raise ConfigurationError when the place is that of another database, or has lost its marker; changes nothing.

    A place that is not registered yet passes. Returns False while the database is in quarantine.
    """
    register = registered(session)
    if register.identity is None or (isinstance(backend, MarkedBackend) and _is_free(register, backend)):
        marker = read_marker(backend)
        if marker is not None and marker.owner != register.identity:
            raise _of_another(backend, marker, register)
    elif isinstance(backend, MarkedBackend):
        found = identify(register, backend)
        if register.quarantine is None:
            require_owned(register, backend, found)
    return register.quarantine is None


def require_unclaimed(backend: StorageBackend) -> None:
    """Raise ConfigurationError for the storage of another database; for a database that does not exist yet."""
    marker = read_marker(backend)
    if marker is not None:
        raise _of_another(backend, marker, Register(None, None, ()))


def claim(session: Session, backend: StorageBackend, *, location: Mapping[str, Any] | None = None) -> str:
    """Register a storage and write its marker, in a session of the owner; return a sentence. Safe to repeat. Commits.

    `location` are the options with which commands open a backend that keeps no marker; never a credential.

    Raises ConfigurationError, with both ids, for a storage of another database and for one that lost its marker;
    Quarantined for a copy of a database.
    """
    ensure_identity(session)
    register = registered(session)
    if register.quarantine is not None:
        require_owned(register, backend, None)
    if not isinstance(backend, MarkedBackend):
        return _register_unmarked(session, register, backend, dict(location or {}))
    if not _is_free(register, backend):
        return _recognised(session, register, backend)
    marker = read_marker(backend)
    known = register.at(backend) if marker is None else register.find(marker.storage)
    if marker is not None and (known is None or marker.owner != register.identity):
        raise _of_another(backend, marker, register)
    known = known or _added(session, backend)
    try:
        # One that is there already is from a claim that was killed after writing it.
        if marker is None:
            backend.write_marker(own_marker(session, known.storage, 0).to_bytes(), replaces=None)
    except ObjectExists:
        marker = read_marker(backend)
        if marker is not None and marker.storage != known.storage:
            _forget_unclaimed(session, known)
            raise _of_another(backend, marker, register) from None
    with session.begin():
        session.execute(update(Storage).where(Storage.id == known.id).values(claimed_at=func.now()))
        log_as_owner(session, "storage.registered", detail={"name": backend.name, "storage": str(known.storage)})
    return f"storage {known.storage}: claimed, {place_of(backend)}; new recordings go there"


def own_marker(session: Session, storage: UUID, sequence: int) -> Marker:
    """Return the marker that this database writes into one of its storages."""
    with session.begin():
        identity = session.scalars(select(DatabaseIdentity.identity)).one()
        present = session.execute(PRESENT).one()
    owner = f"{present.datname}, oid {present.database_oid}, cluster {present.system_identifier}"
    return Marker(storage, identity, sequence, owner)


def registered(session: Session) -> Register:
    """Return what the database knows, in a session of the owner."""
    with session.begin():
        register = read_register(session)
    assert register is not None  # the owner may always read it
    return register


def _is_free(register: Register, backend: MarkedBackend) -> bool:
    """Return whether no storage that this database has claimed is, or is expected, at this place."""
    marker = read_marker(backend)
    known = register.at(backend) if marker is None else register.find(marker.storage)
    return known is None or not known.is_claimed


def _recognised(session: Session, register: Register, backend: MarkedBackend) -> str:
    found = identify(register, backend)
    require_owned(register, backend, found)
    assert found is not None
    known, location = found[0], backend.location
    if known.location == location:
        return f"storage {known.storage}: known, {place_of(backend)}"
    with session.begin():
        session.execute(update(Storage).where(Storage.id == known.id).values(location=location))
        log_as_owner(session, "storage.registered", detail={"name": backend.name, "storage": str(known.storage)})
    return f"storage {known.storage}: now {place_of(backend)}; it was {place(known)}"


def _register_unmarked(session: Session, register: Register, backend: StorageBackend, location: dict[str, Any]) -> str:
    known = register.unmarked(backend.name)
    if known is None or known.location != location:
        with session.begin():
            if known is None:
                new = {"name": backend.name, "storage": uuid4(), "is_marked": False, "claimed_at": func.now()}
                session.execute(insert(Storage).values(**new, location=location))
            else:
                session.execute(update(Storage).where(Storage.id == known.id).values(location=location))
            log_as_owner(session, "storage.registered", detail={"name": backend.name})
    return (
        f"storage {backend.name!a}: registered by its name alone, since it keeps no marker; another place under this"
        " name is not recognised"
    )


def _added(session: Session, backend: MarkedBackend) -> KnownStorage:
    with session.begin():
        session.execute(_ALONE)
        session.execute(insert(Storage).values(name=backend.name, storage=uuid4(), location=backend.location))
        register = read_register(session)
        assert register is not None
        known = register.at(backend)
    assert known is not None
    return known


def _forget_unclaimed(session: Session, known: KnownStorage) -> None:
    with session.begin():
        session.execute(delete(Storage).where(Storage.id == known.id, Storage.claimed_at.is_(None)))


def _of_another(backend: StorageBackend, marker: Marker, register: Register) -> ConfigurationError:
    this = "this database has no identity yet" if register.identity is None else f"this is database {register.identity}"
    return ConfigurationError(
        f"{the_place(backend)} is storage {marker.storage} of database {marker.owner} ({marker.database});"
        f" {this}. Set another folder, bucket or prefix; only a restored copy of that database may take it, with:"
        " python -m src.database.scripts.storage confirm. Nothing was changed."
    )
