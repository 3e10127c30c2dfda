"""The storages that a command of the owner works on, each compared with its marker first.

A command stops at a storage without its marker, at one of another database, and in a database in quarantine: it would
report losses and removals that did not happen, or remove what the other database stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, func, or_, select, text, update
from sqlalchemy.orm import Session

from src.database.models import DatabaseIdentity, Storage, StorageObject
from src.errors import ConfigurationError, ObjectExists, Quarantined, StorageError
from src.services.recordings.registered import (
    KnownStorage,
    Register,
    behind,
    identify,
    place,
    read_register,
    require_owned,
)
from src.storage import MarkedBackend, StorageBackend
from src.storage.marker import Marker, place_of
from src.storage.registry import is_registered

OpenRegistered = Callable[[Register, KnownStorage], StorageBackend]
_ATTEMPTS = 5


@dataclass
class ServedStorages:
    """Backends by the id of their row in `storages`, and by name for objects from before the database had an identity.

    `left_out` maps sentences about storages that are not served to why.
    """

    by_id: dict[int, StorageBackend] = field(default_factory=dict)
    by_name: dict[str, StorageBackend] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def find(self, storage_id: int | None, name: str) -> StorageBackend | None:
        """Return the backend that has the objects of this storage; None when it is not served."""
        return self.by_name.get(name) if storage_id is None else self.by_id.get(storage_id)

    def every(self) -> Iterator[StorageBackend]:
        """Yield each backend once."""
        yield from {id(backend): backend for backend in (*self.by_id.values(), *self.by_name.values())}.values()

    def drop(self, backend: StorageBackend) -> None:
        """Stop serving a backend, which does not answer."""
        self.by_id = {key: each for key, each in self.by_id.items() if each is not backend}
        self.by_name = {key: each for key, each in self.by_name.items() if each is not backend}

    def covers(self) -> ColumnElement[bool]:
        """Return the condition for rows of `storage_objects` in a storage that is served."""
        return or_(
            StorageObject.storage_id.in_(self.by_id),
            and_(StorageObject.storage_id.is_(None), StorageObject.backend.in_(self.by_name)),
        )


Storages = StorageBackend | Mapping[str, StorageBackend] | ServedStorages


def served(session: Session, storages: Storages) -> ServedStorages:
    """Return the storages to work on; backends are compared with their markers first, see `serve`."""
    if isinstance(storages, ServedStorages):
        return storages
    return serve(session, storages.values() if isinstance(storages, Mapping) else [storages])


def serve(
    session: Session, backends: Iterable[StorageBackend], *, open_registered: OpenRegistered | None = None
) -> ServedStorages:
    """Compare backends with their markers, and open the other storages of the database where they were registered.

    Without `open_registered` only the given backends are served. A storage without objects that cannot be opened is
    left out, and so is one that does not answer. Commits. Raises Quarantined, after storing why, for a copy of a
    database; ConfigurationError for a storage without its marker, or of another database.
    """
    with session.begin():
        register = read_register(session)
    done = ServedStorages()
    if register is None:  # functions are missing: the schema is older
        return done
    for backend in backends:
        _add(session, register, backend, done)
    for known in register.storages:
        if open_registered is None or known.id in done.by_id or not (known.is_owned and known.is_claimed):
            continue
        if not is_registered(known.name):
            continue  # `unserved` names it, if it has objects
        try:
            _add(session, register, open_registered(register, known), done)
        except StorageError as error:
            done.left_out[f"storage {known.storage} ({place(known)})"] = str(error)
        except ConfigurationError as error:
            if isinstance(error, Quarantined) or _is_in_use(session, known):
                raise
    return done


def _add(session: Session, register: Register, backend: StorageBackend, done: ServedStorages) -> None:
    found = identify(register, backend)
    is_own = found is not None and found[1] is not None and found[1].owner == register.identity
    if found is not None and is_own and register.quarantine is None:
        found = _quarantine_if_behind(session, *found)
    require_owned(register, backend, found)
    if found is not None:
        done.by_id[found[0].id] = backend
    done.by_name.setdefault(backend.name, backend)


def _quarantine_if_behind(
    session: Session, known: KnownStorage, marker: Marker | None
) -> tuple[KnownStorage, Marker | None]:
    """Store why this database is a copy, so that sessions learn it too; return the storage with its present number."""
    reason = None if marker is None else behind(known, marker)
    if marker is None or reason is None:
        return known, marker
    with session.begin():
        # The marker was read after the row: another command of this database may have raised both.
        row = session.scalars(
            select(Storage).where(Storage.id == known.id).execution_options(populate_existing=True)
        ).one()
        if marker.sequence <= row.sequence:
            return known, None
        session.execute(update(DatabaseIdentity).values(quarantine=reason[:2000]))
    raise Quarantined(f"{reason}; run: python -m src.database.scripts.storage confirm. Nothing was changed.")


def raise_sequences(session: Session, storages: ServedStorages) -> None:
    """Raise the number of each storage, in its row first and then in its marker. Commits.

    From then on a copy of this database that was made before recognises itself by its smaller number. A kill in between
    leaves the larger number in the row, which means nothing.
    """
    for storage_id, backend in storages.by_id.items():
        if not isinstance(backend, MarkedBackend):
            continue
        with session.begin():
            raised = session.scalars(
                update(Storage)
                .where(Storage.id == storage_id)
                .values(sequence=Storage.sequence + 1)
                .returning(Storage.sequence)
                .execution_options(synchronize_session=False)
            ).one()
        write_sequence(backend, raised)


def write_sequence(backend: MarkedBackend, sequence: int, *, owner: Marker | None = None) -> None:
    """Write a number into the marker, unless that has a larger one; with `owner`, the owner of that marker too.

    Raises ObjectExists when other writers replace the marker again and again.
    """
    for _ in range(_ATTEMPTS):
        content = backend.read_marker()
        if content is None and owner is None:
            return  # the next look at the storage says so
        marker = owner if content is None else Marker.from_bytes(content, place_of(backend))
        assert marker is not None
        if owner is None and marker.sequence >= sequence:
            return
        new = owner or Marker(marker.storage, marker.owner, sequence, marker.database)
        try:
            backend.write_marker(new.to_bytes(), replaces=content)
        except ObjectExists:
            continue
        return
    raise ObjectExists(f"The marker of {place_of(backend)} is replaced again and again; repeat the command.")


def unserved(session: Session, storages: ServedStorages) -> list[str]:
    """Return a sentence for each storage with objects that is not served: name, and how many objects."""
    listed = (
        select(StorageObject.backend, Storage.storage, func.count())
        .outerjoin(Storage, Storage.id == StorageObject.storage_id)
        .where(~storages.covers(), or_(Storage.id.is_(None), Storage.is_owned))
        .group_by(StorageObject.backend, Storage.storage)
        .order_by(StorageObject.backend, Storage.storage)
    )
    with session.begin():
        rows = session.execute(listed).all()
    return [
        f"the storage {name!a}{'' if storage is None else f' ({storage})'} has {count} objects and is not described"
        " here, so they were neither swept nor verified: set AUDIO_STORAGE_MODULES to the module that registers it"
        for name, storage, count in rows
    ]


def _is_in_use(session: Session, known: KnownStorage) -> bool:
    with session.begin():
        found = session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM public.storage_objects WHERE storage_id = :id)"
                " OR EXISTS (SELECT FROM public.activity_archives WHERE storage_id = :id)"
            ),
            {"id": known.id},
        )
    return bool(found)
