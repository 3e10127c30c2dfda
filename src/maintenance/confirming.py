"""After a restore or a copy: an operator decides which of two databases owns the storages.

Also what an operator does by hand: a lost marker is written again, a storage that was moved gets its new place.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID, uuid4

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from src.database.models import DatabaseIdentity, Storage, StorageObject
from src.errors import ConfigurationError, Conflict, NotFound, ObjectNotFound, StorageError
from src.maintenance.claiming import PRESENT, own_marker, registered
from src.maintenance.served_storages import write_sequence
from src.services.recordings.audit import log_as_owner
from src.services.recordings.registered import KnownStorage, place
from src.storage import MarkedBackend, StorageBackend
from src.storage.marker import read_marker, the_place

_SAMPLE = 20


def confirm(session: Session, backends: Iterable[tuple[KnownStorage, StorageBackend]], *, leave: bool) -> list[str]:
    """Make this database the owner of the storages that it knows, as a database of its own; return sentences. Commits.

    The other database, which the markers name until now, is refused from then on. With `leave` the storages stay with
    the other one: this database may read its older recordings there, and needs a place of its own for new ones.

    The identity is committed before the markers are written: after a kill the storages are read-only until this is
    repeated. Raises ConfigurationError, before anything changes, for a storage without its marker.
    """
    pairs = [(known, backend) for known, backend in backends if known.is_claimed]
    for known, backend in pairs:
        _require_marker(known, backend)
    with session.begin():
        present = session.execute(PRESENT).one()
        before = session.scalars(select(DatabaseIdentity).with_for_update()).one_or_none()
        if before is None:
            raise ConfigurationError("The database has no identity yet; run init_db.")
        identity = uuid4()
        # Of several restores the earliest snapshot counts: what came after it may be unknown.
        newest = session.scalar(select(func.max(StorageObject.created_at)))
        snapshot = newest if before.restored_at is None else before.snapshot_at
        old = before.identity
        session.execute(
            update(DatabaseIdentity).values(
                identity=identity,
                system_identifier=present.system_identifier,
                database_oid=present.database_oid,
                confirmed_at=func.now(),
                quarantine=None,
                restored_at=func.now(),
                snapshot_at=snapshot,
            )
        )
        numbers = {}
        for known, backend in pairs:
            marker = read_marker(backend)
            numbers[known.id] = max(known.sequence, marker.sequence if marker else 0) + 1
            values = {"is_owned": not leave, "sequence": known.sequence if leave else numbers[known.id]}
            session.execute(update(Storage).where(Storage.id == known.id).values(**values))
        detail = {"before": str(old), "now": str(identity), "storages": "left" if leave else "taken"}
        log_as_owner(session, "storage.confirmed", detail=detail)
    said = [f"database {identity}: confirmed (before: {old})"]
    for known, backend in pairs:
        if leave:
            said.append(f"storage {known.storage}: left to the other database, read-only here")
        elif isinstance(backend, MarkedBackend):
            write_sequence(backend, numbers[known.id], owner=own_marker(session, known.storage, numbers[known.id]))
            said.append(f"storage {known.storage}: owned by this database; every other one is refused")
    return said


def write_marker_again(session: Session, known: KnownStorage, backend: StorageBackend) -> str:
    """Write the lost or damaged marker of a storage, when objects that the database names are there. Commits nothing.

    Raises Conflict for one that has a marker, ConfigurationError when none of the newest objects is there: that is
    another place, or a disk that is not mounted.
    """
    if not isinstance(backend, MarkedBackend):
        raise Conflict(f"The storage {backend.name!a} keeps no marker.")
    content = backend.read_marker()
    try:
        marker = read_marker(backend)
    except ConfigurationError:
        marker = None  # damaged: written again below
    if marker is not None:
        raise Conflict(
            f"{the_place(backend)} has a marker already, of storage {marker.storage}; remove it by hand if it is wrong."
        )
    with session.begin():
        newest = select(StorageObject.key).where(StorageObject.storage_id == known.id, StorageObject.state == "live")
        keys = session.scalars(newest.order_by(StorageObject.id.desc()).limit(_SAMPLE)).all()
    if keys and not any(_has(backend, key) for key in keys):
        raise ConfigurationError(
            f"{the_place(backend)} has none of the {len(keys)} newest objects of storage {known.storage}: it is"
            " another place, or its disk is not mounted. Nothing was changed."
        )
    if registered(session).quarantine is not None:
        raise Conflict("The database is in quarantine; run first: python -m src.database.scripts.storage confirm.")
    backend.write_marker(own_marker(session, known.storage, known.sequence).to_bytes(), replaces=content)
    return f"storage {known.storage}: marker written, {place(known)}"


def move(session: Session, storage: UUID, backend: StorageBackend) -> str:
    """Store the new place of a storage that was moved with its marker. Commits. Raises ConfigurationError."""
    known = registered(session).find(storage)
    if known is None:
        raise NotFound(f"Storage {storage} is not known; storage show lists those that are.")
    marker = read_marker(backend)
    if not isinstance(backend, MarkedBackend) or marker is None or marker.storage != storage:
        found = "has no marker" if marker is None else f"is storage {marker.storage}"
        raise ConfigurationError(
            f"{the_place(backend)} {found}, and not storage {storage}: copy the objects with their marker"
            " first. Nothing was changed."
        )
    with session.begin():
        session.execute(update(Storage).where(Storage.id == known.id).values(location=backend.location))
        log_as_owner(session, "storage.registered", detail={"name": backend.name, "storage": str(storage)})
    return f"storage {storage}: now {the_place(backend)[4:]}; it was {place(known)}"


def _require_marker(known: KnownStorage, backend: StorageBackend) -> None:
    if not known.is_marked:
        return
    marker = read_marker(backend)
    if marker is None or marker.storage != known.storage:
        found = "has no marker" if marker is None else f"is storage {marker.storage}"
        raise ConfigurationError(
            f"{the_place(backend)} {found}, and not storage {known.storage} as the database says; mount its"
            " disk, or correct the settings. Nothing was changed."
        )


def _has(backend: StorageBackend, key: str) -> bool:
    try:
        backend.head(key)
    except ObjectNotFound:
        return False
    except StorageError:
        return False
    return True
