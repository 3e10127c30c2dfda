"""Convert segments to table rows; validation errors name the segment and word."""

from __future__ import annotations

import math
from collections.abc import Iterable
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from src.errors import InvalidInput
from src.formats.segments import LONGEST_MS, Segment, Word
from src.services.parameters import validate_text

LONGEST_SPEAKER = 200


class Row(NamedTuple):
    """The columns of a segment: `words` is JSON text, `flags` a PostgreSQL array literal."""

    position: int
    start_ms: int | None
    end_ms: int | None
    speaker: str | None
    text: str
    words: str | None
    confidence: float | None
    flags: str


def segment_row(position: int, segment: Segment) -> Row:
    """Return the row of a segment. Raises InvalidInput, which names segment and word, for invalid values."""
    try:
        return _row(position, segment)
    except (TypeError, ValueError, AttributeError) as error:
        # Validate again, more slowly, to report the invalid value and its place.
        require(segment, f"segment {position}")
        raise InvalidInput(f"segment {position}: invalid value: {error}.", field=f"segment {position}") from error


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
        # Raises for an unpaired surrogate; isascii() above takes constant time.
        f"{text}{speaker}{words}".encode()
    return Row(position, start, end, speaker, text, words, None if sure is None else float(sure), _array(segment.flags))


def words_json(words: Iterable[Word]) -> str:
    """Return the words as JSON. Missing values are omitted instead of written as null."""
    objects = []
    for word in words:
        start, end, sure = word.start_ms, word.end_ms, word.confidence
        if (
            type(start) is type(end) is int
            and type(sure) is float
            and 0 <= start <= end < LONGEST_MS
            and 0 <= sure <= 1
            and word.speaker is None
        ):
            # The common case: formatted at once, in half the time.
            quoted = encode_basestring(word.text)
            objects.append(f'{{"text": {quoted}, "start_ms": {start}, "end_ms": {end}, "confidence": {sure!r}}}')
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
        objects.append(fields + "}")
    return f"[{', '.join(objects)}]"


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
    """Raise InvalidInput, which names the place, unless every value of the segment can be stored."""
    if not isinstance(segment, Segment):
        raise InvalidInput(f"{place}: {type(segment).__name__} is not a Segment.", field=place)
    _require_span(segment.start_ms, segment.end_ms, place)
    require_probability(segment.confidence, place)
    validate_text(segment.text, place)
    if segment.speaker is not None and len(validate_text(segment.speaker, f"{place}, speaker")) > LONGEST_SPEAKER:
        length = len(segment.speaker)
        raise InvalidInput(
            f"{place}, speaker: {length} characters; at most {LONGEST_SPEAKER}. Shorten it.",
            field="speaker",
            limit=LONGEST_SPEAKER,
        )
    for flag in segment.flags:
        validate_text(flag, f"{place}, flags")
    for index, word in enumerate(segment.words if segment.words is not None else ()):
        at = f"{place}, word {index}"
        if not isinstance(word, Word):
            raise InvalidInput(f"{at}: {type(word).__name__} is not a Word.", field=at)
        _require_span(word.start_ms, word.end_ms, at)
        require_probability(word.confidence, at)
        validate_text(word.text, at)
        if word.speaker is not None:
            validate_text(word.speaker, f"{at}, speaker")


def _require_span(start_ms: Any, end_ms: Any, place: str) -> None:
    for time in (start_ms, end_ms):
        if time is not None and (type(time) is not int or not 0 <= time < LONGEST_MS):
            raise InvalidInput(
                f"{place}: the time {time!r:.60} is not an integer of milliseconds from 0 to {LONGEST_MS - 1}.",
                field=place,
                value=time,
            )
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise InvalidInput(f"{place}: end_ms {end_ms} is less than start_ms {start_ms}.", field=place, value=end_ms)


def require_probability(value: Any, place: str) -> None:
    """Raise InvalidInput, which names the place, unless the value is None or a number from 0 to 1."""
    if value is None:
        return
    try:
        valid = math.isfinite(value) and 0 <= value <= 1
    except TypeError:
        valid = False
    if not valid:
        raise InvalidInput(
            f"{place}: confidence {value!r:.60} is not a number from 0 to 1.", field=place, value=value, limit=1
        )
