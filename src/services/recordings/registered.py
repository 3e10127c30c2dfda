"""The storages that the database knows, compared with what a backend leads to.

A recording refers to its storage by the id in the marker and not by an address, so a changed bucket or folder loses
nothing. A missing or foreign marker is a wrong setting or an unmounted disk, and never an empty storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from src.errors import ConfigurationError, Quarantined
from src.storage import MarkedBackend, StorageBackend
from src.storage.marker import MARKER_NAME, Marker, absent, read_marker, recognise, the_place

_COMMAND = "python -m src.database.scripts.storage"
NO_ROOM = "run init_db with these settings to claim it for new recordings"


@dataclass(frozen=True, slots=True)
class KnownStorage:
    """A row of `storages`."""

    id: int
    name: str
    storage: UUID
    location: Mapping[str, Any]
    is_marked: bool
    is_owned: bool
    is_claimed: bool
    sequence: int


@dataclass(frozen=True, slots=True)
class Register:
    """Who this database is (None before `init_db`), why it is in quarantine (None: it is not), and its storages."""

    identity: UUID | None
    quarantine: str | None
    storages: tuple[KnownStorage, ...]

    def find(self, storage: UUID) -> KnownStorage | None:
        """Return the storage with this id."""
        return next((known for known in self.storages if known.storage == storage), None)

    def at(self, backend: MarkedBackend) -> KnownStorage | None:
        """Return the newest storage that was registered at the place of this backend."""
        location = backend.location
        found = (known for known in reversed(self.storages) if (known.name, known.location) == (backend.name, location))
        return next(found, None)

    def unmarked(self, name: str) -> KnownStorage | None:
        """Return the storage of a backend that keeps no marker."""
        return next((known for known in self.storages if known.name == name and not known.is_marked), None)


# For the owner, from the tables: `history verify` trusts no function of the database, and no overload of an operator.
_IDENTITY = text("""
    SELECT i.identity, i.system_identifier, i.database_oid, i.quarantine, c.system_identifier AS cluster,
           d.oid::pg_catalog.int8 AS database
      FROM public.database_identities i, pg_catalog.pg_control_system() c, pg_catalog.pg_database d
     WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
""")
_STORAGES = text("""
    SELECT s.id, s.name, s.storage, s.location, s.is_marked, s.is_owned, s.claimed_at, s.sequence
      FROM public.storages s
""")


def read_register(session: Session) -> Register | None:
    """Return what the database knows about its storages; None for a session that is neither of an actor nor the
    owner's.
    """
    if "database" not in session.info:  # no session of db.session: the owner's
        return _read_as_owner(session)
    found: Mapping[str, Any] | None = session.scalar(select(func.public.storage_register()))
    if found is None:
        return None
    storages = (KnownStorage(**{**row, "storage": UUID(row["storage"])}) for row in found["storages"])
    identity = found["identity"]
    return Register(None if identity is None else UUID(identity), found["quarantine"], tuple(storages))


def _read_as_owner(session: Session) -> Register:
    """Return the same as the function `storage_register`, without calling it."""
    identity = session.execute(_IDENTITY).one_or_none()
    storages = [
        KnownStorage(
            id=row.id, name=row.name, storage=UUID(str(row.storage)), location=row.location, is_marked=row.is_marked,
            is_owned=row.is_owned, is_claimed=row.claimed_at is not None, sequence=row.sequence,
        )
        for row in session.execute(_STORAGES)
    ]  # fmt: skip
    storages.sort(key=lambda known: known.id)
    if identity is None:
        return Register(None, None, tuple(storages))
    reason = identity.quarantine
    if (identity.system_identifier, identity.database_oid) != (identity.cluster, identity.database):
        reason = (
            f"this database is a restored or copied one: it was confirmed as database {identity.database_oid} of"
            f" cluster {identity.system_identifier} and is database {identity.database} of cluster {identity.cluster}"
        )
    if reason is not None:
        reason = f"{reason}; to decide which of the two owns the storages, run: {_COMMAND} confirm"
    return Register(UUID(str(identity.identity)), reason, tuple(storages))


def identify(register: Register, backend: StorageBackend) -> tuple[KnownStorage, Marker | None] | None:
    """Return the storage that a backend leads to, with its marker; None while the database has no identity.

    Raises ConfigurationError, with both ids, for a place without a marker, with that of a storage which this database
    does not know, or with a damaged one.
    """
    if register.identity is None and not isinstance(backend, MarkedBackend):
        return None
    marker = read_marker(backend)
    if register.identity is None:
        if marker is None:
            return None
        raise ConfigurationError(
            f"{the_place(backend)} is storage {marker.storage} of database {marker.owner} ({marker.database}), and"
            " this database has no identity yet: run init_db with another folder, bucket or prefix. Nothing was done."
        )
    if not isinstance(backend, MarkedBackend):
        known = register.unmarked(backend.name)
        if known is None or not known.is_claimed:
            raise ConfigurationError(
                f"{the_place(backend)} is not registered in database {register.identity}; register it with: {_COMMAND}"
                f" register {backend.name}. Nothing was changed."
            )
        return known, None
    known = register.at(backend) if marker is None else register.find(marker.storage)
    if marker is None:
        raise _without_marker(register, backend, known)
    if known is None:
        expected = register.at(backend)
        raise ConfigurationError(
            f"{the_place(backend)} is storage {marker.storage} of database {marker.owner} ({marker.database});"
            f" this is database {register.identity}"
            + (f", which expects storage {expected.storage} there" if expected else _expected(register, backend.name))
            + ". Correct the folder, bucket or prefix in the settings. Nothing was changed."
        )
    recognise(backend, known.storage)
    return known, marker


def require_owned(
    register: Register, backend: StorageBackend, found: tuple[KnownStorage, Marker | None] | None
) -> None:
    """Raise unless this database may write to the storage that `identify` found.

    ConfigurationError for a storage of another database; Quarantined for a database that nobody confirmed, and for one
    that is older than the number in the marker, which is a copy.
    """
    if register.quarantine is not None:
        raise Quarantined(f"The database is in quarantine: {register.quarantine}. Its storage is read-only.")
    if found is None:
        return
    known, marker = found
    if not known.is_owned or (marker is not None and marker.owner != register.identity):
        owner = f"database {marker.owner} ({marker.database})" if marker is not None else "another database"
        raise ConfigurationError(
            f"{the_place(backend)} is storage {known.storage}, which belongs to {owner}; this is database"
            f" {register.identity}, which may only read it. Set another folder, bucket or prefix and run init_db; or,"
            f" to make this database the owner, run: {_COMMAND} confirm. Nothing was changed."
        )
    reason = None if marker is None else behind(known, marker)
    if reason is not None:
        raise Quarantined(f"{reason}; run: {_COMMAND} confirm. The storage is read-only until then.")


def behind(known: KnownStorage, marker: Marker) -> str | None:
    """Return why the marker shows that this database is a copy; None when it does not."""
    if marker.sequence <= known.sequence:
        return None
    return (
        f"Storage {known.storage} was used by a later state of this database (number {marker.sequence} in the marker,"
        f" {known.sequence} in the database): this is a copy or a restored backup"
    )


def _without_marker(register: Register, backend: StorageBackend, known: KnownStorage | None) -> ConfigurationError:
    if known is not None and known.is_claimed:
        return absent(
            f"{the_place(backend)} has no marker {MARKER_NAME}; database {register.identity} expects storage"
            f" {known.storage} there: the disk is not mounted, or its content was moved. Mount it, or correct the"
            f" settings; if only the marker was deleted, write it again with: {_COMMAND} mark. Nothing was changed, and"
            " nothing counts as missing."
        )
    return ConfigurationError(
        f"{the_place(backend)} has no marker {MARKER_NAME} and is not registered in database {register.identity}"
        f"{_expected(register, backend.name)}. Correct the folder, bucket or prefix in the settings, or {NO_ROOM}."
        " Nothing was changed, and nothing counts as missing."
    )


def _expected(register: Register, name: str) -> str:
    listed = [f"{known.storage} ({place(known)})" for known in register.storages if known.name == name]
    return f", whose storages of this kind are {', '.join(listed)}" if listed else ""


def place(known: KnownStorage) -> str:
    """Return where a storage was registered, for messages."""
    return ", ".join(f"{option} {value}" for option, value in known.location.items() if value) or known.name
