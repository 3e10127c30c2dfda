"""Recordings: the one room where bytes and rows meet, in a written order.

Storing: the object is announced in a transaction of its own, its bytes are made durable, and then the caller's
transaction adds the recording and with it turns the object live. So a committed recording has its bytes, and whatever a
kill or a rollback leaves behind has a row that a sweep finds. No file effect hangs on a session event: these lose
committed files when a SAVEPOINT is released.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from src.database.models import AudioFile, Case
from src.database.session import actor_of, database_of
from src.errors import InvalidInput, NotFound
from src.services import activity
from src.services.audio_facts import AudioFacts, read_facts
from src.services.lookup import language_by_code
from src.storage import StorageBackend, keys, open_backend

Source = str | os.PathLike[str] | bytes | BinaryIO

PROBE_TIMEOUT_SECONDS = 300.0


def ingest(
    session: Session,
    case: Case,
    source: Source,
    *,
    name: str | None = None,
    language: str | None = None,
    recorded_at: datetime | None = None,
) -> AudioFile:
    """Store a recording in a case: a path, bytes, or a binary file object.

    The audio is decoded once for its facts, and hashed while it is stored. When the session commits, the bytes are
    durable; when it does not, a sweep removes them. `language` is a BCP 47 code. Raises NotAudio for bytes that no
    decoder reads, NotFound for a case that is not the actor's, InvalidInput for a name or language that cannot be, and
    a StorageError when the bytes cannot be stored.
    """
    actor_of(session)
    if session.scalar(select(Case.id).where(Case.id == case.id)) is None:
        raise NotFound("There is no such case, or it is not yours to see.")
    spoken = language_by_code(session, language) if language is not None else None
    file_name = _file_name(source, name)
    storage = storage_of(session)
    with _opened(source) as file:
        facts = read_facts(file, timeout_seconds=_probe_timeout(session))
        key = keys.case_key(case.id, keys.extension_of(file_name))
        size = os.fstat(file.fileno()).st_size
        # The upload may take longer than a transaction may idle; nobody else waits for this one.
        session.execute(select(func.set_config("idle_in_transaction_session_timeout", "0", True)))
        database = database_of(session)
        with database.side_session(session) as side:
            side.execute(select(func.public.announce_object(case.id, key, storage.name)))
        with database.side_session(session) as side:
            # Held by a transaction while the bytes travel: the sweeper must get this lock before it takes the object.
            side.execute(select(func.set_config("idle_in_transaction_session_timeout", "0", True)))
            side.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))
            file.seek(0)
            stored = storage.put(key, file, size=size)
            audio = AudioFile(
                case_id=case.id,
                name=file_name,
                path=key,
                size_bytes=stored.size,
                sha256=stored.sha256,
                storage_type=storage.name,
                language=spoken,
                recorded_at=recorded_at,
                **_columns(facts),
            )
            session.add(audio)
            session.flush()  # adopts the object while the lock is held; from here on its row is locked
    # The status is the server's default; a caller may want to read it when the session is closed.
    session.refresh(audio, ["status"])
    activity.record(
        session,
        "audio.ingested",
        case=case,
        entity=audio,
        detail={"name": file_name, "size_bytes": audio.size_bytes, "sha256": audio.sha256},
    )
    return audio


def open(session: Session, audio: AudioFile) -> BinaryIO:  # noqa: A001 - the verb of the contract
    """Return the recording's bytes as a seekable file, to be closed by the caller; it outlives the session.

    Raises NotFound when the recording is not there or not the actor's to read, ObjectNotFound when its bytes are gone.
    """
    actor_of(session)
    found = session.execute(select(AudioFile.path, AudioFile.case_id).where(AudioFile.id == audio.id)).one_or_none()
    if found is None:
        raise NotFound("There is no such recording, or it is not yours to see.")
    file = storage_of(session).get(found.path)
    activity.note_read(session, "audio.opened", case_id=found.case_id, entity=audio, detail={"name": audio.name})
    return file


def storage_of(session: Session) -> StorageBackend:
    """Return the backend that this session's database keeps recordings in; opened once per Database."""
    database = database_of(session)
    if database.storage is None:
        if database.settings is None:
            database.storage = open_backend("local", root=Path("storage/audio"))
        else:
            database.storage = open_backend(database.settings.audio_storage_type, **database.settings.storage_options())
    backend: StorageBackend = database.storage
    return backend


def _columns(facts: AudioFacts) -> dict[str, object]:
    return {
        "content_type": facts.content_type,
        "duration_ms": facts.duration_ms,
        "sample_rate_hz": facts.sample_rate_hz,
        "channels": facts.channels,
        "codec": facts.codec,
        "is_truncated": facts.truncated,
    }


def _probe_timeout(session: Session) -> float:
    settings = database_of(session).settings
    return settings.probe_timeout_seconds if settings is not None else PROBE_TIMEOUT_SECONDS


def _file_name(source: Source, name: str | None) -> str:
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
def _opened(source: Source) -> Iterator[BinaryIO]:
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
