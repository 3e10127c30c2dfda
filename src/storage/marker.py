"""The marker of a storage: an object outside the keys that says which storage this is, and which database owns it.

Without it an unmounted disk looks like an empty storage, another prefix like a loss of all recordings, and a copy of a
database like its original. A backend keeps a marker when it has the operations of `MarkedBackend`; others are used by
their name alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from uuid import UUID
from weakref import WeakKeyDictionary

from src.errors import ConfigurationError
from src.storage.contract import StorageBackend

MARKER_NAME = ".storage.json"
LARGEST_MARKER = 64 << 10
_FORMAT = "speech-to-information/storage"
_VERSION = 1


@runtime_checkable
class MarkedBackend(StorageBackend, Protocol):
    """A `StorageBackend` that keeps a marker; `src.storage.conformance` tests both."""

    @property
    def location(self) -> dict[str, Any]:
        """The options of `open_backend(name, …)` that lead to the same place, as JSON; never a credential."""
        ...

    def read_marker(self) -> bytes | None:
        """Return the marker; None when there is none, or no place: nothing is created by reading.

        Raises StorageUnavailable when the storage does not answer.
        """
        ...

    def write_marker(self, content: bytes, *, replaces: bytes | None) -> None:
        """Store the marker, durable and complete on return; readers see the old one or the new one.

        With `replaces` None the storage must have no marker yet, and otherwise exactly that one. Raises ObjectExists
        when it is another: two databases that claim a storage at the same moment do not both succeed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Marker:
    """Which storage this is, the database that owns it, and a number that the owner raises here and in its own row."""

    storage: UUID
    owner: UUID
    sequence: int
    database: str
    """Name and cluster of the owner, for people."""

    def to_bytes(self) -> bytes:
        """Return the content of the marker."""
        document = {
            "format": _FORMAT,
            "version": _VERSION,
            "storage": str(self.storage),
            "owner": {"id": str(self.owner), "database": self.database},
            "sequence": self.sequence,
        }
        return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes, place: str) -> Marker:
        """Parse a marker. Raises ConfigurationError, which names `place`, for one that is cut off or unknown."""
        try:
            document = json.loads(content)
            known = (document["format"], document["version"]) == (_FORMAT, _VERSION)
            owner = document["owner"]
            found = cls(UUID(document["storage"]), UUID(owner["id"]), int(document["sequence"]), str(owner["database"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigurationError(
                f"The marker {MARKER_NAME} of {place} cannot be read, it is damaged or cut off ({len(content)} bytes);"
                " restore it from a backup, or write it again with: python -m src.database.scripts.storage mark ID"
                " (storage show lists the ids)."
                " Nothing was changed."
            ) from error
        if not known:
            raise ConfigurationError(
                f"The marker {MARKER_NAME} of {place} has an unknown format; install the newer version of the package."
                " Nothing was changed."
            )
        return found


def place_of(backend: StorageBackend) -> str:
    """Return where a storage is, for messages."""
    if not isinstance(backend, MarkedBackend):
        return f"the storage {backend.name!a}"
    listed = ", ".join(f"{option} {value}" for option, value in backend.location.items() if value)
    return f"the storage {backend.name!a}" + (f" ({listed})" if listed else "")


def read_marker(backend: StorageBackend) -> Marker | None:
    """Return the marker of a storage; None without one, and for a backend that keeps none.

    Raises ConfigurationError for a damaged one.
    """
    content = backend.read_marker() if isinstance(backend, MarkedBackend) else None
    return None if content is None else Marker.from_bytes(content, place_of(backend))


def the_place(backend: StorageBackend) -> str:
    """Return the same at the beginning of a sentence."""
    place = place_of(backend)
    return place[0].upper() + place[1:]


_recognised: WeakKeyDictionary[object, UUID] = WeakKeyDictionary()


def recognise(backend: StorageBackend, storage: UUID) -> None:
    """Remember which storage a backend leads to. Raises ConfigurationError when it led to another one before."""
    before = _recognised.setdefault(backend, storage)
    if before != storage:
        raise ConfigurationError(
            f"{the_place(backend)} was storage {before} when this program began to use it and is storage"
            f" {storage} now; mount the right disk, or restart the program. Nothing was changed."
        )


def absent(message: str) -> ConfigurationError:
    """Return the error for a storage that is not at its place: `retryable`, since its disk may be mounted again."""
    error = ConfigurationError(message)
    error.retryable = True
    return error


def require_recognised(backend: StorageBackend) -> None:
    """Raise ConfigurationError unless the marker is still that of the storage which was recognised.

    To be called before an absent object is reported or counted as removed: it may be the storage that is absent.
    """
    before = _recognised.get(backend)
    if before is None:
        return
    found = read_marker(backend)
    if found is None or found.storage != before:
        sentence = (
            f"{the_place(backend)} was storage {before} and"
            f" {'has no marker' if found is None else f'is storage {found.storage}'} now: its disk is not mounted, or"
            " its folder or prefix was changed. Nothing was changed, and nothing counts as missing."
        )
        raise absent(sentence) if found is None else ConfigurationError(sentence)
