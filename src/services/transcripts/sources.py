"""The bytes that a version was imported from: read or serialised, stored, and found by their sha256."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from operator import methodcaller
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from src.database.connection.timeouts import extend_statement_timeout
from src.database.models import AudioFile, Transcription, TranscriptionSource
from src.errors import IntegrityFailure, InvalidInput
from src.formats.segments import UNSTORABLE, named, opened, require_unused, whole
from src.services.transcripts.staging import copy_in

# A dump writes bytea as hex text, twice as long, and a row of a dump must be smaller than 1 GB.
LARGEST_BYTES = 500_000_000
# The driver converts parameters to text, which takes several times their size.
LARGEST_PARAMETER_BYTES = 1 << 20
LONGEST_NAME = 1024
_PART_BYTES = 1 << 20
_STAGE = text(
    "DROP TABLE IF EXISTS pg_temp.staged_source;"
    " CREATE TEMPORARY TABLE pg_temp.staged_source (position bigint, part bytea) ON COMMIT DROP"
)
# Python does not convert larger integers to text.
_LARGEST_INTEGER_BITS = 4096
# Streamed down to this depth: to each segment of `(segments, info)`.
_DEPTH = 2
_SCALARS = (str, int, float, type(None))
_SIMPLE = frozenset((str, float, bool, type(None)))
# Decimals as text, to keep their digits: the parser also accepts numbers as text.
_AS_TEXT: Mapping[type, Callable[[Any], str]] = {
    Decimal: str,
    UUID: str,
    date: methodcaller("isoformat"),
    os.PathLike: os.fspath,
}
_JSON = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
_ASCII = json.JSONEncoder()
_NOT_ASCII = re.compile("[\x7f-\U0010ffff]+")
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf]")


@dataclass(frozen=True)
class Source:
    """The unchanged bytes of a result, their sha256, and the file's name if it has one."""

    content: bytes
    sha256: str
    name: str | None = None


def read_source(source: Any, name: str | None) -> Source:
    """Return the bytes of a path, bytes, an open binary file or, as canonical JSON, of a recogniser's objects.

    Raises InvalidInput for a source that cannot be read, cannot be converted to JSON, or exceeds `LARGEST_BYTES`.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(os.fsdecode(source))
        with opened(path) as file:
            content = whole(file, LARGEST_BYTES + 1)
        name = name or path.name
    elif isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
    elif callable(getattr(source, "read", None)):
        content = whole(source, LARGEST_BYTES + 1)
        named_file = getattr(source, "name", None)
        name = name or (Path(named_file).name if isinstance(named_file, str) else None)
    else:
        content = canonical(source)
    if len(content) > LARGEST_BYTES:
        raise InvalidInput(
            f"source: more than {LARGEST_BYTES} bytes, the maximum; split it.", field="source", limit=LARGEST_BYTES
        )
    if name is not None:
        # A file name may contain undecodable bytes, which must not prevent the import.
        name = UNSTORABLE.sub("\ufffd", name)[:LONGEST_NAME]
    return Source(content, hashlib.sha256(content).hexdigest(), name)


def canonical(result: Any) -> bytes:
    """Return a recogniser's objects as JSON in UTF-8; deterministic: equal values give equal bytes.

    Keys are sorted, whitespace between tokens is omitted, NaN and Infinity are written literally. Dataclasses and
    named tuples become objects, tuples and iterators lists, numpy numbers plain numbers, decimals and dates text;
    `(segments, info)` becomes `{"info": …, "segments": […]}`. If there are unpaired surrogates, the output is ASCII
    with escapes. Raises InvalidInput for values that cannot be converted to JSON.
    """
    if isinstance(result, tuple) and not hasattr(result, "_fields") and len(result) == 2:
        result = {"segments": result[0], "info": result[1]}
    try:
        content = b"".join(piece.encode("utf-8", "surrogatepass") for piece in _written(result, "the result", 0))
    except RecursionError as error:
        raise InvalidInput("The result is nested too deeply; give a transcript.", field="source") from error
    if _SURROGATE.search(content) is None:
        return content
    return _NOT_ASCII.sub(_escaped, content.decode("utf-8", "surrogatepass")).encode()


def _escaped(found: re.Match[str]) -> str:
    return _ASCII.encode(found[0])[1:-1]


def _written(value: Any, place: str, depth: int) -> Iterator[str]:
    """Yield the JSON in pieces: segments of a generator are written one by one, and not kept as objects."""
    opened = _opened(value, place)
    if depth == _DEPTH or isinstance(opened, _SCALARS):
        yield _JSON.encode(_plain(opened, place))
    elif isinstance(opened, Mapping):
        for index, (key, item) in enumerate(sorted({str(key): item for key, item in opened.items()}.items())):
            yield f"{',' if index else '{'}{_JSON.encode(key)}:"
            yield from _written(item, f"{place}, {key:.40}", depth + 1)
        yield "}" if opened else "{}"
    else:
        index = -1
        for index, item in enumerate(opened):
            yield "," if index else "["
            yield from _written(item, f"{place}, element {index}", depth + 1)
        yield "]" if index >= 0 else "[]"


def _plain(value: Any, place: str) -> Any:
    opened = _opened(value, place)
    if isinstance(opened, _SCALARS):
        return opened
    # Most values are simple: no call, and no text for their place.
    if isinstance(opened, Mapping):
        return {
            str(key): item if type(item) in _SIMPLE else _plain(item, f"{place}, {key!s:.40}")
            for key, item in opened.items()
        }
    return [
        item if type(item) in _SIMPLE else _plain(item, f"{place}, element {index}")
        for index, item in enumerate(opened)
    ]


def _opened(value: Any, place: str) -> Any:
    """Return the fields of an object, the elements of an iterable, or a JSON scalar."""
    if isinstance(value, int) and value.bit_length() > _LARGEST_INTEGER_BITS:
        raise InvalidInput(
            f"{place}: an integer of {value.bit_length()} bits; at most {_LARGEST_INTEGER_BITS}.",
            field=place,
            limit=_LARGEST_INTEGER_BITS,
        )
    if isinstance(value, _SCALARS):
        return value
    for kinds, written in _AS_TEXT.items():
        if isinstance(value, kinds):
            return written(value)
    for to_plain in ("tolist", "item"):  # numpy, torch: duck-typed, to avoid the dependency
        if callable(getattr(value, to_plain, None)):
            return _opened(getattr(value, to_plain)(), place)
    if isinstance(value, bytes | bytearray):
        raise InvalidInput(f"{place}: bytes cannot be converted to JSON; give text or numbers.", field=place)
    require_unused(value, place)
    try:
        return named(value, place)
    except InvalidInput:
        if isinstance(value, Iterable):
            return value
        raise


def imported_before(session: Session, audio: AudioFile, sha256: str) -> Transcription | None:
    """Return the version of this recording that was imported from these bytes, or None."""
    query = (
        select(Transcription)
        .join(Transcription.sources)
        .where(
            TranscriptionSource.case_id == audio.case_id,
            TranscriptionSource.audio_file_id == audio.id,
            TranscriptionSource.sha256 == sha256,
        )
    )
    return session.scalars(query).one_or_none()


class StagedSource:
    """The source of a version before it is stored: a large one is sent with COPY in parts, without a copy in memory."""

    def __init__(self, session: Session, source: Source) -> None:
        self._session, self._source = session, source
        self._staged = len(source.content) > LARGEST_PARAMETER_BYTES
        if self._staged:
            extend_statement_timeout(session)
            session.execute(_STAGE)
            copy_in(session, "COPY pg_temp.staged_source FROM STDIN (FORMAT binary)", _Parts(source.content))

    def store(self, transcription: Transcription, dialect: str) -> None:
        """Insert the source of this version."""
        about = {
            "case_id": transcription.case_id,
            "transcription_id": transcription.id,
            "dialect": dialect,
            "name": self._source.name,
            "sha256": self._source.sha256,
        }
        if self._staged:
            columns = ", ".join(about)
            values = ", ".join(f":{name}" for name in about)
            whole = "(SELECT string_agg(part, ''::bytea ORDER BY position) FROM pg_temp.staged_source)"
            self._session.execute(
                text(f"INSERT INTO public.transcription_sources ({columns}, content) VALUES ({values}, {whole})"),  # noqa: S608 - only column names of this package
                about,
            )
        else:
            self._session.execute(insert(TranscriptionSource), [{**about, "content": self._source.content}])

    def drop(self) -> None:
        if self._staged:
            self._session.execute(text("DROP TABLE pg_temp.staged_source"))


class _Parts:
    """A file in PostgreSQL's binary COPY format, with the columns position and part."""

    def __init__(self, content: bytes) -> None:
        self._pieces = self._written(content)

    @staticmethod
    def _written(content: bytes) -> Iterator[bytes]:
        yield b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
        for position, start in enumerate(range(0, len(content), _PART_BYTES)):
            part = content[start : start + _PART_BYTES]
            yield struct.pack("!hiqi", 2, 8, position, len(part)) + part
        yield struct.pack("!h", -1)

    def read(self, size: int) -> bytes:
        del size  # parts have a fixed size
        return next(self._pieces, b"")


def stored_content(session: Session, transcription: Transcription) -> bytes | None:
    """Return the bytes that a version was imported from; None for a version that was not imported.

    Raises IntegrityFailure when they do not match their sha256.
    """
    query = select(TranscriptionSource.content, TranscriptionSource.sha256).where(
        TranscriptionSource.case_id == transcription.case_id,
        TranscriptionSource.transcription_id == transcription.id,
    )
    found = session.execute(query.order_by(TranscriptionSource.id).limit(1)).one_or_none()
    if found is None:
        return None
    content = bytes(found.content)
    if hashlib.sha256(content).hexdigest() != found.sha256:
        raise IntegrityFailure(
            f"The source of transcription {transcription.id} does not match its sha256; restore it from a backup."
        )
    return content
