"""What callers pass as a recording: opened as a regular file, named, hashed and decoded."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from src.audio.facts import AudioFacts, read_facts
from src.errors import InvalidInput, NotAudio
from src.storage import StorageBackend

Source = str | os.PathLike[str] | bytes | BinaryIO
LONGEST_NAME = 1024


def name_of(source: object, name: str | None) -> str:
    """Return the file name to store. Raises InvalidInput when it is empty, too long or holds invalid characters."""
    if name is None:
        if isinstance(source, str | os.PathLike):
            name = Path(source).name
        else:
            named = getattr(source, "name", None)
            name = Path(named).name if isinstance(named, str) else "recording"
    if not name or len(name) > LONGEST_NAME:
        raise InvalidInput(
            f"name: {len(name)} characters; the file name must have 1 to {LONGEST_NAME}; pass name=….",
            field="name",
            limit=LONGEST_NAME,
        )
    if "\0" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise InvalidInput(
            "name: the file name holds a NUL or an unpaired surrogate; pass another one with name=….", field="name"
        )
    return name


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """Yield the source as a regular file with a descriptor; bytes and streams are spooled to a temporary file."""
    if isinstance(source, str | os.PathLike):
        try:
            # Non-blocking: opening a FIFO would block forever; it is rejected below.
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "the path holds a NUL"
            raise InvalidInput(f"{os.fspath(source)!r} cannot be read: {reason}.", field="source") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InvalidInput(f"{os.fspath(source)!r} is not a regular file.", field="source")
        with os.fdopen(descriptor, "rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as spool:
        if isinstance(source, bytes):
            spool.write(source)
        elif hasattr(source, "read"):
            shutil.copyfileobj(source, spool, 1 << 20)
        else:
            raise InvalidInput(
                f"A recording is a path, bytes or a binary file, not {type(source).__name__}.", field="source"
            )
        spool.flush()
        spool.seek(0)
        yield spool


@contextmanager
def fetched(storage: StorageBackend, key: str) -> Iterator[tuple[BinaryIO, str]]:
    """Yield a stored object as a temporary file, and the SHA-256 of what was read."""
    with tempfile.TemporaryFile() as spool:
        digest = hashlib.sha256()
        with storage.get(key) as stored:
            while chunk := stored.read(1 << 20):
                digest.update(chunk)
                spool.write(chunk)
        spool.flush()
        spool.seek(0)
        yield spool, digest.hexdigest()


def size_of(file: BinaryIO) -> int:
    """Return the size of an open regular file in bytes."""
    return os.fstat(file.fileno()).st_size


def sha256_of(file: BinaryIO) -> tuple[str, int]:
    """Return the SHA-256 of the rest of `file`, and how many bytes that was."""
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(1 << 20):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def facts_of(file: BinaryIO, timeout_seconds: float, *, allow_non_audio: bool) -> AudioFacts | None:
    """Return the facts of the audio; None for input that is not audio when that is allowed. Raises NotAudio."""
    try:
        return read_facts(file, timeout_seconds=timeout_seconds)
    except NotAudio:
        if not allow_non_audio or size_of(file) == 0:
            raise
        return None


def content_type_of(facts: AudioFacts | None) -> str:
    """Return the media type of what was decoded."""
    return facts.content_type if facts is not None else "application/octet-stream"
