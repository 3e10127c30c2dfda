"""The files of archived months, which may lie in several storages; new ones go to that of the settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from sqlalchemy import text
from sqlalchemy.orm import Session

from src.errors import ConfigurationError
from src.maintenance.served_storages import ServedStorages
from src.services.recordings.registered import identify, read_register
from src.storage import ObjectInfo, StorageBackend

# Qualified: verification pins a search_path without public.
_PLACE = text("SELECT a.storage_id, a.storage_type FROM public.activity_archives a WHERE a.storage_key = :key")


class ArchiveStorage:
    """Reads each archived month where its row says, lists and deletes in all storages, and writes to one.

    Other operations are those of the storage for new files.
    """

    def __init__(self, session: Session, storages: ServedStorages, current: StorageBackend) -> None:
        self.current = current
        self._session = session
        self._storages = storages

    def __getattr__(self, operation: str) -> Any:
        return getattr(self.current, operation)

    def get(self, key: str) -> BinaryIO:
        """Return the file of a month. Raises ConfigurationError when its storage is not described here."""
        row = self._session.execute(_PLACE, {"key": key}).one_or_none()
        storage = self.current if row is None else self._storages.find(*row)
        if storage is None:
            raise ConfigurationError(f"The storage of {key} is not described here; storage show names it.")
        return storage.get(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects of all storages."""
        for storage in self._storages.every():
            yield from storage.list(prefix)

    def delete(self, key: str) -> bool:
        """Remove the object wherever it is."""
        return sum(storage.delete(key) for storage in self._storages.every()) > 0


def storage_id_of(session: Session, storage: Any) -> int | None:
    """Return the id of the row of a storage; None while the database has no identity."""
    register = read_register(session)
    backend = storage.current if isinstance(storage, ArchiveStorage) else storage
    found = None if register is None else identify(register, backend)
    return None if found is None else found[0].id
