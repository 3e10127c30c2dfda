"""Readers and writers for the formats of speech recognisers. Independent of the database.

`parse` reads a result in any dialect; `write` produces one of `FORMATS`. docs/formats.md describes, for each dialect,
how each field is read and which rules set the flags.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
from collections.abc import Mapping
from typing import Any

from src.errors import InvalidInput
from src.formats import amazon, detection, json_stream, native_json, quality, subtitles, whisper, whisper_variants
from src.formats.detection import DIALECTS, Dialect
from src.formats.languages import code_of, differ
from src.formats.packed_segments import Segments
from src.formats.packed_words import Words
from src.formats.segments import Parsed, Segment, Word, opened, whole
from src.formats.writing import FORMATS, Format, pieces, write

__all__ = [
    "DIALECTS", "FORMATS", "Dialect", "Format", "Parsed", "Segment", "Word", "Words", "code_of", "detect", "differ",
    "parse", "pieces", "write",
]  # fmt: skip


def detect(source: Any) -> str:
    """Return the dialect, one of `DIALECTS`, of any source that `parse` accepts.

    Iterators are not consumed; a file object is read to its end. Raises InvalidInput for an unknown dialect.
    """
    source = _content(source)
    if _is_content(source):
        found = detection.subtitle_dialect(bytes(source[:4096]))
        return found or detection.located(json_stream.read(source))[0]
    return detection.located(source)[0]


def parse(source: Any, *, dialect: Dialect | None = None, expected_language: str | None = None) -> Parsed:
    """Parse a result in the given dialect, or detect the dialect.

    `source` is bytes, an open binary file, a path (os.PathLike; the file must not change during parsing), or the
    Python objects that a recogniser returns: a dict, a list of segments, or faster-whisper's `(segments, info)`, whose
    generator is consumed. `expected_language` is a code or a name; a result in another language is flagged
    `wrong_language`. Segments keep the order of the source. Every segment that has text is returned.

    Raises InvalidInput for invalid input; the message names the segment and the word.
    """
    if dialect is not None and dialect not in DIALECTS:
        raise InvalidInput(
            f"dialect: unknown value {dialect!r:.40}; use one of {', '.join(sorted(DIALECTS))}.",
            field="dialect",
            value=dialect,
        )
    source = _content(source)
    try:
        parsed = _parse(source, dialect)
    except RecursionError as error:
        raise InvalidInput("The result is nested too deeply; pass the recogniser's output unchanged.") from error
    segments = parsed.segments if isinstance(parsed.segments, Segments) else Segments(parsed.segments)
    if parsed.dialect != native_json.DIALECT:  # our own JSON already contains the flags
        quality.judged(segments, parsed.language, parsed.language_probability, expected_language)
    return dataclasses.replace(parsed, segments=segments)


def _parse(source: Any, dialect: str | None) -> Parsed:
    if _is_content(source):
        found = dialect or detection.subtitle_dialect(bytes(source[:4096]))
        if found in detection.SUBTITLES:
            return subtitles.parse(bytes(source), found)
        source = json_stream.read(source)
    elif dialect in detection.SUBTITLES:
        raise InvalidInput("Subtitles are parsed from bytes, not from objects; pass bytes, a path or a file.")
    found, document = detection.located(source)
    if dialect is not None and dialect != found:
        if not {dialect, found} <= detection.WHISPER_FAMILY:
            raise InvalidInput(
                f"dialect: the result is {found}, not {dialect}; pass {found}, or None to detect it.", field="dialect"
            )
        found = dialect
    return _read(document, found)


def _read(document: Mapping[str, Any], dialect: str) -> Parsed:
    readers = {
        "amazon-call-analytics": amazon.parse_call_analytics,
        "amazon-batch": amazon.parse_batch,
        "whisper-cpp": whisper_variants.parse_whisper_cpp,
        "hf-chunks": whisper_variants.parse_chunks,
        native_json.DIALECT: native_json.parse,
    }
    reader = readers.get(dialect)
    return reader(document) if reader is not None else whisper.parse(document, dialect)


def _is_content(source: Any) -> bool:
    return isinstance(source, bytes | bytearray | memoryview | mmap.mmap)


def _content(source: Any) -> Any:
    """Return the content of a path or a file; return objects unchanged."""
    if isinstance(source, str):
        raise InvalidInput(
            "source: a str is ambiguous (path or content); pass a pathlib.Path or bytes.", field="source"
        )
    if isinstance(source, os.PathLike):
        with opened(source) as file:
            try:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError):
                return whole(file)  # an empty file and a pipe cannot be mapped
    if callable(getattr(source, "read", None)):
        return whole(source)
    return source
