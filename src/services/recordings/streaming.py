"""Playback in a browser: the answer to a request for a recording or a range of it (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import BinaryIO

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from src.database.connection.access_log import NOTED
from src.database.connection.session import actor_of
from src.database.models import ActivityLog, AudioFile
from src.errors import IntegrityFailure
from src.services.recordings.locations import AudioLocation, location_of
from src.services.recordings.playback import log_opened, open_window
from src.storage.content_disposition import content_disposition

CHUNK_BYTES = 256 << 10
# A player asks for many ranges; the first one of a playback is logged. A playback lasts as long as the recording, and
# this much longer for pauses and repetitions.
PAUSES = timedelta(hours=1)

_RANGE = re.compile(r"bytes=[ \t]*(?:(\d{1,19})-(\d{0,19})|-(\d{1,19}))[ \t]*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ranged:
    """An answer of HTTP: the status (200, 206 or 416), the headers, and the bytes in chunks of at most 256 KiB.

    `iterator` holds an open object until it is exhausted or closed; `close()` may be called at any time.
    """

    status: int
    headers: dict[str, str]
    iterator: Iterator[bytes]

    def close(self) -> None:
        """Release the object without reading the rest, for example when the request was HEAD."""
        if isinstance(self.iterator, _Chunks):
            self.iterator.close()


def stream(
    session: Session, audio: AudioFile | int, range_header: str | None = None, *, if_range: str | None = None
) -> Ranged:
    """Return the answer to a request for a recording, with its `Range` and `If-Range` headers as they came.

    One range is answered with 206, a range beyond the end with 416; without a valid range, with several ranges, or when
    `if_range` is not the ETag of the recording, the answer is the whole recording. The bytes can be read after the
    session. The log has one entry "opened" per playback: by this user, and for as long as the recording and an hour.

    Raises NotFound when the recording does not exist, is deleted or the actor may not read it, ObjectNotFound when its
    bytes are gone. Reading the iterator raises IntegrityFailure when the object is shorter than the recording.
    """
    location = location_of(session, audio)
    entity_tag = f'"{location.sha256}"'
    size = location.size_bytes
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": content_disposition(location.name),
        "Content-Type": location.content_type or "application/octet-stream",
        "ETag": entity_tag,
        "X-Content-Type-Options": "nosniff",
    }
    span = None if if_range is not None and if_range.strip() != entity_tag else _span(range_header, size)
    if span is not None and span.start >= span.stop:
        headers |= {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
        return Ranged(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE.value, headers, iter(()))
    window = range(size) if span is None else span
    file = open_window(session, location, offset=window.start, length=len(window))
    if not _is_playing(session, location):
        log_opened(session, location, {"playback": True})
    headers["Content-Length"] = str(len(window))
    status = HTTPStatus.OK.value
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
        status = HTTPStatus.PARTIAL_CONTENT.value
    return Ranged(status, headers, _Chunks(file, location.audio_id, len(window)))


def _span(header: str | None, size: int) -> range | None:
    """Return the requested bytes, empty when the range lies beyond the end; None when the header does not apply."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    first, last, final = match.groups()
    if final is not None:
        return range(max(0, size - int(final)), size)
    if last and int(last) < int(first):
        return None
    return range(min(int(first), size), min(int(last) + 1, size) if last else size)


def _is_playing(session: Session, location: AudioLocation) -> bool:
    """Whether the log has an entry of this user's current playback of this recording."""
    length = PAUSES + timedelta(milliseconds=location.duration_ms or 0)
    playback = exists().where(
        ActivityLog.case_id == location.case_id,
        ActivityLog.entity == AudioFile.__tablename__,
        ActivityLog.entity_id == location.audio_id,
        ActivityLog.created_at > func.now() - length,
        ActivityLog.actor_id == actor_of(session),
        ActivityLog.new["playback"].as_boolean(),
    )
    # The log contains the playback, not this question.
    return bool(session.scalar(select(playback).execution_options(**NOTED)))


class _Chunks(Iterator[bytes]):
    """The bytes of an open object. Not a generator: one that was never started would not close the object."""

    def __init__(self, file: BinaryIO, audio_id: int, length: int) -> None:
        self._file, self._audio_id, self._left = file, audio_id, length

    def __next__(self) -> bytes:
        if self._left == 0:
            self.close()
            raise StopIteration
        chunk = self._file.read(min(CHUNK_BYTES, self._left))
        if not chunk:
            self.close()
            raise IntegrityFailure(
                f"The object of recording {self._audio_id} ends {self._left} bytes too early; verify() compares it."
            )
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        self._file.close()
