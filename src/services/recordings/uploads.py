"""Bytes on their way in: sources, the announcement of their object, and the lock that guards it from the sweep."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.audio.facts import AudioFacts, read_facts
from src.database.connection.actor_tokens import Actor
from src.database.connection.session import Database, actor_of, database_of
from src.database.connection.timeouts import disable_idle_timeout
from src.database.models import Case
from src.errors import Conflict, Forbidden, IntegrityFailure, InvalidInput, NotAudio, NotFound
from src.services.recordings.audit import FAILURES, logged_attempt
from src.services.recordings.locations import require, storage_in, storage_of
from src.storage import ObjectInfo, StorageBackend, keys

Source = str | os.PathLike[str] | bytes | BinaryIO

PROBE_TIMEOUT_SECONDS = 300.0
ORPHANED = "These bytes are nobody's any more: they were ingested already, or a sweep removed them; send them anew."
LONGEST_UPLOAD = timedelta(hours=12)
"""How long an upload URL may be valid: half of what a sweep waits by default, so that no upload is swept on its way."""


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes that are durable and nobody's yet: `ingest` makes them a recording, or a sweep removes them after a day."""

    case_id: int
    key: str
    backend: str
    name: str
    size_bytes: int
    sha256: str
    facts: AudioFacts | None


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The key of an object that a client says it uploaded through the URL of `upload_url`."""

    key: str


@dataclass(frozen=True, slots=True)
class UploadAddress:
    """Where a client puts a recording by itself: an HTTP PUT to `url` with `headers`; then the key is ingested."""

    key: str
    url: str
    headers: dict[str, str]


def receive(
    database: Database,
    case: Case | int,
    source: Source,
    *,
    actor: str,
    name: str | None = None,
    allow_non_audio: bool = False,
) -> Received:
    """Make the bytes of a recording durable without an open session; `ingest` attaches them in a short transaction.

    For uploads that take long: no connection of the sessions' pool is held meanwhile, one of the side pool is. Raises
    what `ingest` raises. What is not attached within the time that a sweep waits (a day) is removed.
    """
    case_id = case if isinstance(case, int) else case.id
    with database.session(actor=actor) as session:
        require_case(session, case_id)
        timeout = probe_timeout(database)
    who, file_name = Actor(actor), None
    try:
        file_name = name_of(source, name)
        storage = storage_in(database)
        with opened(source) as file:
            facts = facts_of(file, timeout, allow_non_audio=allow_non_audio)
            key = keys.case_key(case_id, keys.extension_of(file_name))
            announce(database, who, case_id, key, storage)
            with database.side_session(who) as side:
                lock_object(side, key)
                stored = put(storage, key, file, facts)
    except Forbidden:
        raise
    except FAILURES:
        # The side session that failed is over; this one only tells.
        with (
            database.side_session(who) as side,
            logged_attempt(side, "audio.ingested", case_id=case_id, name=file_name),
        ):
            raise
    return Received(case_id, key, storage.name, file_name, stored.size, sha256_known(stored), facts)


def upload_url(
    session: Session,
    case: Case,
    name: str,
    *,
    size: int,
    content_type: str | None = None,
    expires_in: timedelta = timedelta(hours=1),
) -> UploadAddress:
    """Announce an object and return where a client uploads it, `size` bytes at most once.

    Call `ingest(session, case, Uploaded(address.key))` when the client is done: the bytes are then read, hashed and
    decoded here, and nothing that the client says about them is believed. Raises UnsupportedOperation where the backend
    has no addresses, InvalidInput for a size or a time that cannot be, NotFound and Forbidden for the case.
    """
    if not timedelta(0) < expires_in <= LONGEST_UPLOAD:
        raise InvalidInput("An upload URL is valid for at most 12 hours, so that no sweep takes what is on its way.")
    if size <= 0:
        raise InvalidInput("A recording has at least one byte; say how many the client will send.")
    require_case(session, case.id)
    storage = storage_of(session)
    key = keys.case_key(case.id, keys.extension_of(name_of(b"", name)))
    url = storage.url(key, expires_in=expires_in, method="PUT", size=size, content_type=content_type)
    headers = storage.upload_headers(size=size, content_type=content_type)
    announce(database_of(session), session, case.id, key, storage)
    return UploadAddress(key, url, headers)


def require_case(session: Session, case_id: int) -> None:
    """Raise NotFound for a case that the actor may not see, Forbidden for one that he may not write."""
    actor_of(session)
    if session.scalar(select(Case.id).where(Case.id == case_id)) is None:
        raise NotFound("There is no such case, or it is not yours to see.")
    require(session, case_id, "write")


def announce(database: Database, actor: Session | Actor, case_id: int, key: str, storage: StorageBackend) -> None:
    """Commit the row that names an object, before its first byte is written."""
    with database.side_session(actor) as side:
        side.execute(select(func.public.announce_object(case_id, key, storage.name)))


def lock_object(session: Session, key: str) -> None:
    """Keep the sweep from an announced object until this transaction ends.

    The transaction may idle from here on. Raises Conflict when a sweep was here first, or the case is not the actor's.
    """
    disable_idle_timeout(session)
    if not session.scalar(select(func.public.lock_object(key))):
        raise Conflict(ORPHANED)


def put(storage: StorageBackend, key: str, file: BinaryIO, facts: AudioFacts | None) -> ObjectInfo:
    """Store the whole of `file`; durable when it returns."""
    file.seek(0)
    size = os.fstat(file.fileno()).st_size
    return storage.put(key, file, size=size, content_type=content_type_of(facts))


def facts_of(file: BinaryIO, timeout_seconds: float, *, allow_non_audio: bool) -> AudioFacts | None:
    """Return what the audio is; None for bytes that are no audio, when the caller insists. Raises NotAudio."""
    try:
        return read_facts(file, timeout_seconds=timeout_seconds)
    except NotAudio:
        if not allow_non_audio or os.fstat(file.fileno()).st_size == 0:
            raise
        return None


def content_type_of(facts: AudioFacts | None) -> str:
    return facts.content_type if facts is not None else "application/octet-stream"


def probe_timeout(database: Database) -> float:
    return database.settings.probe_timeout_seconds if database.settings is not None else PROBE_TIMEOUT_SECONDS


def sha256_of(file: BinaryIO) -> tuple[str, int]:
    """Return the digest of the rest of `file` and how many bytes that was."""
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(1 << 20):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


@contextmanager
def fetched(storage: StorageBackend, key: str) -> Iterator[tuple[BinaryIO, str]]:
    """Yield a stored object as a temporary file, and the digest of what was read."""
    with tempfile.TemporaryFile() as spool:
        digest = hashlib.sha256()
        with storage.get(key) as stored:
            while chunk := stored.read(1 << 20):
                digest.update(chunk)
                spool.write(chunk)
        spool.flush()
        spool.seek(0)
        yield spool, digest.hexdigest()


def name_of(source: object, name: str | None) -> str:
    """Return the file name to remember. Raises InvalidInput for one that cannot be stored."""
    if name is None:
        if isinstance(source, str | os.PathLike):
            name = Path(source).name
        else:
            named = getattr(source, "name", None)
            name = Path(named).name if isinstance(named, str) else "recording"
    if not name or len(name) > 1024:
        raise InvalidInput("The file name must have 1 to 1024 characters; give another with name=….")
    if "\0" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise InvalidInput("The file name holds a character that cannot be stored; give another with name=….")
    return name


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """Yield the source as a regular file with a descriptor: what is no file is spooled to a temporary one."""
    if isinstance(source, str | os.PathLike):
        try:
            # Not blocking, since a FIFO would keep us here for ever; it is refused below.
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "the path holds a NUL"
            raise InvalidInput(f"{os.fspath(source)!r} cannot be read: {reason}.") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InvalidInput(f"{os.fspath(source)!r} is not a file.")
        with os.fdopen(descriptor, "rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as spool:
        if isinstance(source, bytes):
            spool.write(source)
        elif hasattr(source, "read"):
            shutil.copyfileobj(source, spool, 1 << 20)
        else:
            raise InvalidInput(f"A recording is a path, bytes or a binary file, not {type(source).__name__}.")
        spool.flush()
        spool.seek(0)
        yield spool


def sha256_known(stored: ObjectInfo) -> str:
    if stored.sha256 is None:
        raise IntegrityFailure(f"The storage took {stored.key} without saying what it took; its put() must hash.")
    return stored.sha256
