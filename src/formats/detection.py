"""Detection of a result's dialect, and of the result inside a wrapper object."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Literal, get_args

from src.errors import InvalidInput
from src.formats import json_stream
from src.formats.native_json import DIALECT, SCHEMA_FAMILY
from src.formats.segments import named

SUBTITLES = frozenset({"webvtt", "srt"})
WHISPER_FAMILY = frozenset({"whisper", "verbose-json", "whisperx", "whisper-timestamped", "faster-whisper"})
Dialect = Literal[
    "whisper", "verbose-json", "whisperx", "whisper-timestamped", "faster-whisper", "whisper-cpp", "hf-chunks",
    "amazon-batch", "amazon-call-analytics", "webvtt", "srt", "speech-to-information",
]  # fmt: skip
"""The dialects of recognisers that `parse` reads."""
DIALECTS: frozenset[Dialect] = frozenset(get_args(Dialect))
# Fields in which services and queues wrap the result.
_WRAPPER_FIELDS = ("result", "body", "output", "response", "data", "payload", "transcription", "transcript")
# The time field of a segment → the list of the dialect that uses it.
_LISTS = {
    "start": "segments",
    "timestamp": "chunks",
    "offsets": "transcription",
    "timestamps": "transcription",
}
_MAX_WRAPPERS = 4
_SAMPLE_SIZE = 300
_BYTE_ORDER_MARK = rb"(?:\xef\xbb\xbf)?"


def subtitle_dialect(head: bytes) -> str | None:
    """Return `webvtt` or `srt` for the first bytes of such a file, None for any other content."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            head = head[: len(head) // 2 * 2].decode("utf-16").encode("utf-8", "replace")
        except UnicodeDecodeError:
            return None
    if re.match(_BYTE_ORDER_MARK + rb"WEBVTT(\s|$)", head):
        return "webvtt"
    if re.match(_BYTE_ORDER_MARK + rb"\s*(\d+[ \t]*(\r\n|\r|\n)+)?[ \t]*-?(\d+:)?\d+:\d+([.,]\d+)?[ \t]*-->", head):
        return "srt"
    return None


def located(value: Any, wrappers: int = 0) -> tuple[str, Mapping[str, Any]]:
    """Return the dialect and the unwrapped document. Raises InvalidInput for an unknown format."""
    document = _as_document(value)
    dialect = _dialect(document)
    if dialect is not None:
        return dialect, document
    inner = []
    if wrappers < _MAX_WRAPPERS:
        for name in _WRAPPER_FIELDS:
            try:
                inner.append(located(_decoded_body(document.get(name)), wrappers + 1))
            except InvalidInput:
                continue
    if len(inner) != 1:
        raise InvalidInput(
            "Unknown transcript format: found neither a list of segments nor a text; pass the recogniser's output "
            "unchanged."
        )
    return inner[0]


def _decoded_body(value: Any) -> Any:
    # An API gateway passes the body as a JSON string.
    return json_stream.read(value.encode("utf-8", "replace")) if isinstance(value, str) and value[:1] in "{[" else value


def _as_document(value: Any) -> Mapping[str, Any]:
    """Return a mapping for an object, a list of segments, or the `(segments, info)` of faster-whisper."""
    if isinstance(value, list | tuple | json_stream.Elements) and not hasattr(value, "_fields"):
        return _of_list(value)
    if isinstance(value, Iterable) and not _is_object(value):
        return {"segments": value}
    document = named(value, "the result")
    # Pipelines store the unprocessed output of the recogniser under this name.
    raw = document.get("raw_segments")
    return {**document, "segments": raw} if _is_list(raw) and "segments" not in document else document


def _of_list(value: Any) -> Mapping[str, Any]:
    """Return a mapping for `(segments, info)`, a list of segments (by the fields of the first), or a single result."""
    first = list(islice(value, 2))
    if not first:
        return {"segments": []}
    if len(value) == 2 and _is_list(first[0]) and not hasattr(first[0], "_fields"):
        return {"segments": first[0], "info": first[1]}
    try:
        document = named(first[0], "")
    except InvalidInput:
        document = {}
    name = next((name for time, name in _LISTS.items() if {"text", time} <= document.keys()), None)
    if name is not None:
        return {name: value}
    if len(value) > 1 or not document:
        raise InvalidInput(
            f"The result is a list of {len(value)}, not an object with segments; pass each result separately."
        )
    return document


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping | str | bytes | tuple) or hasattr(value, "segments") or hasattr(value, "text")


def _dialect(document: Mapping[str, Any]) -> str | None:
    schema = document.get("schema")
    if isinstance(schema, str) and schema.startswith(SCHEMA_FAMILY):
        return DIALECT
    if _is_list(document.get("Transcript")):
        return "amazon-call-analytics"
    results = document.get("results")
    if isinstance(results, Mapping) and {"items", "transcripts", "channel_labels"} & results.keys():
        return "amazon-batch"
    if _is_list(document.get("transcription")):
        return "whisper-cpp"
    if _is_list(document.get("chunks")):
        return "hf-chunks"
    return _whisper_dialect(document)


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _whisper_dialect(document: Mapping[str, Any]) -> str | None:
    segments = document.get("segments")
    if not _is_list(segments) and not isinstance(document.get("text"), str):
        return None
    # Only faster-whisper returns a generator of segments; inspecting it would consume it.
    streaming = _is_list(segments) and not isinstance(segments, list | tuple | json_stream.Elements)
    if streaming or {"info", "language_probability", "all_language_probs", "duration_after_vad"} & document.keys():
        return "faster-whisper"
    sample = islice(segments, _SAMPLE_SIZE) if isinstance(segments, Iterable) else ()
    listed = [item for item in sample if isinstance(item, Mapping)]
    words = [w for item in listed for w in _list_or_empty(item.get("words")) if isinstance(w, Mapping)]
    if "word_segments" in document or any("score" in word for word in words):
        return "whisperx"
    if any("confidence" in item for item in (*listed, *words)):
        return "whisper-timestamped"
    if {"words", "task", "duration", "usage"} & document.keys():
        return "verbose-json"
    return "whisper"


def _list_or_empty(words: Any) -> Iterable[Any]:
    return words if isinstance(words, list | tuple) else ()
