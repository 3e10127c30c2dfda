"""Uploads: bytes made durable before a recording exists, and addresses to which clients upload by themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import BinaryIO

from sqlalchemy.orm import Session

from src.audio.facts import AudioFacts
from src.database.connection.actor_tokens import Actor
from src.database.connection.session import Database
from src.database.models import Case
from src.errors import Forbidden, IntegrityFailure, InvalidInput
from src.services.parameters import id_of
from src.services.recordings.audit import FAILURES, logged_attempt
from src.services.recordings.context import (
    CaseContext,
    announce,
    current_backend,
    lock_object,
    probe_timeout,
    require_writable,
)
from src.services.recordings.source_files import Source, content_type_of, facts_of, name_of, opened, size_of
from src.storage import StorageBackend, keys

LONGEST_UPLOAD = timedelta(hours=12)
"""How long an upload URL may be valid: half of what a sweep waits by default, so that it never meets an upload."""


@dataclass(frozen=True, slots=True)
class Received:
    """Durable bytes without a recording yet: `ingest` makes them one, or a sweep removes them after a day."""

    case_id: int
    key: str
    backend: str
    name: str
    size_bytes: int
    sha256: str
    facts: AudioFacts | None
    storage: str | None = None
    """The id of the storage that has the bytes."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The key of an object that a client reports to have uploaded to the address from `upload_url`."""

    key: str


@dataclass(frozen=True, slots=True)
class UploadAddress:
    """Where a client uploads a recording by itself: an HTTP PUT to `url` with `headers`; then the key is ingested."""

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

    For uploads that take long: while bytes travel, a connection of the side pool is held and none of the sessions'
    pool. What is not attached within the time that a sweep waits (a day) is removed. Raises what `ingest` raises.
    """
    case_id = id_of(Case, case)
    with database.session(actor=actor) as session:
        require_writable(session, case_id)
    user, file_name = Actor(actor), None
    try:
        file_name = name_of(source, name)
        storage = current_backend(database)
        with opened(source) as file:
            facts = facts_of(file, probe_timeout(database), allow_non_audio=allow_non_audio)
            key = keys.case_key(case_id, keys.extension_of(file_name))
            storage_id = announce(database, user, case_id, key, storage)
            with database.side_session(user) as side:
                lock_object(side, key)
                received = stored(storage, file, key, case_id=case_id, name=file_name, facts=facts)
                return replace(received, storage=storage_id)
    except Forbidden:
        raise
    except FAILURES:
        # The side session that failed has ended; this one only logs.
        with database.side_session(user) as side, logged_attempt(side, "audio.ingested", case_id, name=file_name):
            raise


def upload_url(
    session: Session,
    case: Case | int,
    name: str,
    *,
    size: int,
    content_type: str | None = None,
    expires_in: timedelta = timedelta(hours=1),
) -> UploadAddress:
    """Announce an object and return where a client uploads it: `size` bytes, at most once.

    Call `ingest(session, case, Uploaded(address.key))` when the client is done: the bytes are then read, hashed and
    decoded here, and nothing that the client reports about them is trusted. Raises UnsupportedOperation where the
    backend has no addresses, InvalidInput for a size or a time out of range, NotFound and Forbidden for the case.
    """
    if not timedelta(0) < expires_in <= LONGEST_UPLOAD:
        raise InvalidInput(
            f"expires_in: {expires_in}; an upload URL is valid for at most 12 hours.",
            field="expires_in",
            value=expires_in,
            limit=LONGEST_UPLOAD,
        )
    if size <= 0:
        raise InvalidInput(
            f"size: {size}; pass how many bytes the client will send, at least 1.", field="size", value=size, limit=1
        )
    context = CaseContext.for_writing(session, case)
    key = keys.case_key(context.case_id, keys.extension_of(name_of(b"", name)))
    url = context.storage.url(key, expires_in=expires_in, method="PUT", size=size, content_type=content_type)
    headers = context.storage.upload_headers(size=size, content_type=content_type)
    announce(context.database, session, context.case_id, key, context.storage)
    return UploadAddress(key, url, headers)


def stored(
    storage: StorageBackend, file: BinaryIO, key: str, *, case_id: int, name: str, facts: AudioFacts | None
) -> Received:
    """Store the whole of `file` under an object that is locked; durable on return."""
    file.seek(0)
    put = storage.put(key, file, size=size_of(file), content_type=content_type_of(facts))
    if put.sha256 is None:
        raise IntegrityFailure(f"The storage {storage.name!r} stored {key} without a SHA-256; its put() must hash.")
    return Received(case_id, key, storage.name, name, put.size, put.sha256, facts)
