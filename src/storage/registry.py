"""Storage backends by name; a deployment can register its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from src.errors import ConfigurationError, InvalidInput
from src.storage.contract import StorageBackend
from src.storage.local import LocalStorage
from src.storage.memory import MemoryStorage
from src.storage.s3 import S3Storage

BackendFactory = Callable[..., StorageBackend]

_NAME = re.compile("[a-z][a-z0-9_-]{0,31}")
_factories: dict[str, BackendFactory] = {"local": LocalStorage, "memory": MemoryStorage, "s3": S3Storage}


def register_backend(name: str, factory: BackendFactory) -> None:
    """Make `open_backend(name, …)` call `factory(…)`; registering the same factory again has no effect.

    The name is stored in the rows of recordings and cannot be changed later. Raises InvalidInput when it is not 1 to 32
    of `a-z 0-9 _ -`, or when another factory has it.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"name: {name!a} is not valid for a backend; use 1 to 32 of a-z, 0-9, _ and -, a letter first.",
            field="name",
            value=name,
            limit=32,
        )
    if _factories.setdefault(name, factory) is not factory:
        raise InvalidInput(
            f"name: {name!a} is registered for another backend, and rows of recordings use it; choose another name.",
            field="name",
            value=name,
        )


def is_registered(name: str) -> bool:
    """Return whether a backend has this name in this process."""
    return name in _factories


def open_backend(name: str, /, **options: Any) -> StorageBackend:
    """The backend of that name, built by its factory from `options`; the built-in ones do not access the storage yet.

    Raises ConfigurationError when no backend has the name, or when the backend built has another name: the rows that
    it writes could not be resolved.
    """
    factory = _factories.get(name)
    if factory is None:
        raise ConfigurationError(
            f"Unknown storage backend {name!a}; use one of {', '.join(sorted(_factories))}, or register_backend()."
        )
    backend = factory(**options)
    if backend.name != name:
        raise ConfigurationError(
            f"The storage backend registered as {name!a} has the name {backend.name!a}; the two must be equal."
        )
    return backend
