"""The marker of a local storage: a file at its root, created by a link and replaced by a rename."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress

from src.errors import ObjectExists
from src.storage.atomic_file import NamedFile
from src.storage.marker import LARGEST_MARKER, MARKER_NAME

_MODE = 0o640


def read(root: int) -> bytes | None:
    """Return the marker in an open folder; None without one. Raises OSError."""
    try:
        descriptor = os.open(MARKER_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=root)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(LARGEST_MARKER)


def write(incomplete: int, content: bytes, *, replaces: bytes | None) -> None:
    """Store the marker in the parent of the folder of incomplete files; see `MarkedBackend.write_marker`.

    Raises OSError, ObjectExists.
    """
    with ExitStack() as stack:
        root = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=incomplete)
        stack.callback(os.close, root)
        new = stack.enter_context(closing(NamedFile(incomplete)))
        os.write(new.descriptor, content)
        os.fchmod(new.descriptor, _MODE)
        os.fsync(new.descriptor)
        # Where a folder cannot be locked, of two writers that replace the same marker the later one wins.
        with suppress(OSError):
            fcntl.flock(root, fcntl.LOCK_EX)
        if read(root) != replaces:
            raise _exists()
        try:
            if replaces is None:
                new.publish(root, MARKER_NAME)
            else:
                new.replace(root, MARKER_NAME)
        except FileExistsError as error:
            raise _exists() from error
        os.fsync(root)


def recogniser(content: bytes | None) -> Callable[[int], bool] | None:
    """Return a function which says whether an open folder has the marker of the same storage; None without a marker."""
    storage = _storage_in(content)
    return None if storage is None else lambda root: _storage_in(read(root)) == storage


def _storage_in(content: bytes | None) -> str | None:
    try:
        document = json.loads(content or b"null")
        return str(document["storage"])
    except (ValueError, TypeError, KeyError):
        return None


def _exists() -> ObjectExists:
    return ObjectExists(f"Another marker {MARKER_NAME} was written meanwhile; markers are never replaced unread.")
