"""Segments as rows that the database can take: each checked once, with an error that names its place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from src.errors import InvalidInput
from src.formats.values import LONGEST_MS, Segment, Word
from src.services.lookup import validate_text

LONGEST_SPEAKER = 200


class Row(NamedTuple):
    """A segment as its columns: `words` is JSON text, `flags` an array as PostgreSQL writes it."""

    position: int
    start_ms: int | None
    end_ms: int | None
    speaker: str | None
    text: str
    words: str | None
    confidence: float | None
    flags: str


def row_of(position: int, segment: Segment) -> Row:
    """Return the row of a segment. Raises InvalidInput that names segment and word for what cannot be stored."""
    try:
        return _row(position, segment)
    except (TypeError, ValueError, AttributeError) as error:
        # Looked at again, slowly, only to say what is wrong and where.
        require(segment, f"segment {position}")
        raise InvalidInput(f"segment {position}: it cannot be stored: {error}.") from error


def _row(position: int, segment: Segment) -> Row:
    start, end, sure, speaker = segment.start_ms, segment.end_ms, segment.confidence, segment.speaker
    if not (_is_span(start, end) and (sure is None or 0 <= sure <= 1)):
        raise ValueError(segment)
    text = segment.text
    words = None if segment.words is None else words_json(segment.words)
    if "\0" in text or (words is not None and "\\u0000" in words) or (speaker is not None and "\0" in speaker):
        validate_text(text, f"segment {position}")
        require(segment, f"segment {position}")
    if speaker is not None and len(speaker) > LONGEST_SPEAKER:
        raise ValueError(speaker)
    if not (text.isascii() and (words is None or words.isascii()) and (speaker is None or speaker.isascii())):
        # Half a character shows here; whether a text is ASCII is known without looking.
        f"{text}{speaker}{words}".encode()
    return Row(position, start, end, speaker, text, words, None if sure is None else float(sure), _array(segment.flags))


def words_json(words: Iterable[Word]) -> str:
    """Return the words as JSON. Absent stays absent: a null would claim that somebody looked."""
    told = []
    for word in words:
        start, end, sure = word.start_ms, word.end_ms, word.confidence
        if (
            type(start) is type(end) is int
            and type(sure) is float
            and 0 <= start <= end < LONGEST_MS
            and 0 <= sure <= 1
            and word.speaker is None
        ):
            # Nearly every word: at once, in half the time.
            said = encode_basestring(word.text)
            told.append(f'{{"text": {said}, "start_ms": {start}, "end_ms": {end}, "confidence": {sure!r}}}')
            continue
        if not (_is_span(start, end) and (sure is None or 0 <= sure <= 1)):
            raise ValueError(word)
        fields = f'{{"text": {encode_basestring(word.text)}'
        if start is not None:
            fields += f', "start_ms": {start}'
        if end is not None:
            fields += f', "end_ms": {end}'
        if sure is not None:
            fields += f', "confidence": {float(sure)!r}'
        if word.speaker is not None:
            fields += f', "speaker": {encode_basestring(word.speaker)}'
        told.append(fields + "}")
    return f"[{', '.join(told)}]"


def _is_span(start: Any, end: Any) -> bool:
    if start is not None and (type(start) is not int or not 0 <= start < LONGEST_MS):
        return False
    return end is None or (type(end) is int and (start or 0) <= end < LONGEST_MS)


def _array(flags: Iterable[str]) -> str:
    if not flags:
        return "{}"
    quoted = [flag.replace("\\", "\\\\").replace('"', '\\"') for flag in flags]
    if any("\0" in flag for flag in quoted):
        raise ValueError(quoted)
    return '{"' + '","'.join(quoted) + '"}'


def require(segment: Any, place: str) -> None:
    """Raise InvalidInput, naming the place, unless every value of the segment can be stored."""
    if not isinstance(segment, Segment):
        raise InvalidInput(f"{place}: it is {type(segment).__name__}, not a Segment.")
    _require_span(segment.start_ms, segment.end_ms, place)
    require_probability(segment.confidence, place)
    validate_text(segment.text, place)
    if segment.speaker is not None and len(validate_text(segment.speaker, f"{place}, speaker")) > LONGEST_SPEAKER:
        raise InvalidInput(f"{place}: the speaker's name is longer than {LONGEST_SPEAKER} characters; shorten it.")
    for flag in segment.flags:
        validate_text(flag, f"{place}, flags")
    for number, word in enumerate(segment.words if segment.words is not None else ()):
        at = f"{place}, word {number}"
        if not isinstance(word, Word):
            raise InvalidInput(f"{at}: it is {type(word).__name__}, not a Word.")
        _require_span(word.start_ms, word.end_ms, at)
        require_probability(word.confidence, at)
        validate_text(word.text, at)
        if word.speaker is not None:
            validate_text(word.speaker, f"{at}, speaker")


def _require_span(start_ms: Any, end_ms: Any, place: str) -> None:
    for time in (start_ms, end_ms):
        if time is not None and (type(time) is not int or not 0 <= time < LONGEST_MS):
            raise InvalidInput(f"{place}: {time!r:.60} is not a time in whole milliseconds from 0 on.")
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise InvalidInput(f"{place}: it ends at {end_ms} ms, before it starts at {start_ms} ms.")


def require_probability(value: Any, place: str) -> None:
    """Raise InvalidInput, naming the place, unless the value is None or a number from 0 to 1."""
    if value is None:
        return
    try:
        fits = math.isfinite(value) and 0 <= value <= 1
    except TypeError:
        fits = False
    if not fits:
        raise InvalidInput(f"{place}: the confidence {value!r:.60} is not a number from 0 to 1.")
