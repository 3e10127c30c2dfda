"""The project's own JSON format: all values of a transcription, without loss. Described in docs/formats.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from src.errors import InvalidInput
from src.formats.packed_segments import Segments
from src.formats.segments import Parsed, Reading, Segment, Word, listed, named

DIALECT = "speech-to-information"
SCHEMA_FAMILY = "speech-to-information/transcript/"
SCHEMA = SCHEMA_FAMILY + "1"


def parse(document: Mapping[str, Any]) -> Parsed:
    """Parse the output of `pieces` without loss. Raises InvalidInput for another version of the schema."""
    if document.get("schema") != SCHEMA:
        raise InvalidInput(
            f"schema: unsupported version of {SCHEMA_FAMILY}; this program reads {SCHEMA}.",
            field="schema",
            limit=SCHEMA,
        )
    source = listed(document.get("segments"), "segments")
    segments = Segments(_segment(raw, index) for index, raw in enumerate(source))
    whole = Reading("the result")
    return Parsed(
        DIALECT,
        segments,
        whole.text(document.get("language"), ", language") or None,
        whole.text(document.get("model_name"), ", model_name") or None,
        whole.confidence(document.get("language_probability"), ", language_probability"),
        whole.time(document.get("duration_ms"), 1, ", duration_ms"),
    )


def _segment(value: Any, index: int) -> Segment:
    reading = Reading(f"segment {index}")
    raw = named(value, reading.place)
    for number, flag in enumerate(listed(raw.get("flags"), f"{reading.place}, flags")):
        reading.flag(reading.text(flag, f", flag {number}"))
    times = reading.span(raw.get("start_ms"), raw.get("end_ms"), 1)
    words = None
    if raw.get("words") is not None:
        words = [_word(reading, word, n) for n, word in enumerate(listed(raw["words"], f"{reading.place}, words"))]
    text = reading.text(raw.get("text"))
    speaker = reading.label(raw.get("speaker"), ", speaker")
    confidence = reading.confidence(raw.get("confidence"))
    return Segment(text, *times, speaker, words, confidence, tuple(reading.flags))


def _word(reading: Reading, value: Any, number: int) -> Word:
    place = f", word {number}"
    raw = named(value, reading.place + place)
    return Word(
        reading.text(raw.get("text"), place),
        *reading.span(raw.get("start_ms"), raw.get("end_ms"), 1, place),
        reading.confidence(raw.get("confidence"), place),
        reading.label(raw.get("speaker"), f"{place}, speaker"),
    )


def pieces(segments: Iterable[Segment], head: Mapping[str, Any]) -> Iterator[str]:
    """Yield the JSON text, one line per segment. Unknown values are omitted."""
    yield "{" + compact({"schema": SCHEMA, **head})[1:-1] + ', "segments": ['
    for index, segment in enumerate(segments):
        yield (",\n" if index else "\n") + compact(_fields(segment))
    yield "\n]}\n"


def _fields(segment: Segment) -> dict[str, Any]:
    fields = {
        "text": segment.text,
        "start_ms": segment.start_ms,
        "end_ms": segment.end_ms,
        "speaker": segment.speaker,
        "confidence": segment.confidence,
        "flags": list(segment.flags) or None,
        "words": None if segment.words is None else [_word_fields(word) for word in segment.words],
    }
    return {name: value for name, value in fields.items() if value is not None}


def _word_fields(word: Word) -> dict[str, Any]:
    names = ("text", "start_ms", "end_ms", "confidence", "speaker")
    return {name: value for name in names if (value := getattr(word, name)) is not None}


def compact(value: Any) -> str:
    """Return JSON without escapes of non-ASCII characters. Raises ValueError for NaN, which JSON does not allow."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
