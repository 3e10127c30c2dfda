"""The Whisper family: Whisper, verbose_json, WhisperX, whisper-timestamped, faster-whisper. Times are in seconds."""

from __future__ import annotations

import bisect
import collections
import dataclasses
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any

from src.errors import InvalidInput
from src.formats import quality
from src.formats.languages import code_of
from src.formats.packed_segments import Segments
from src.formats.packed_words import Words, in_parts
from src.formats.segments import Parsed, Reading, Segment, Word, filled, listed, named
from src.formats.sentences import cut, extent

CONFIDENCES = ("probability", "score", "confidence")
OF_EVERY_PART = frozenset({"invalid_time", "invalid_confidence", "replaced_characters"})


def parse(document: Mapping[str, Any], dialect: str) -> Parsed:
    """Parse a result. Raises InvalidInput with segment and word."""
    info = document.get("info")
    metadata = {**named(info, "info"), **_without_none(document)} if info is not None else document
    source = listed(document.get("segments"), "segments")
    segments = Segments(_segment(raw, index) for index, raw in enumerate(source))
    loose_words = document.get("words")
    if not filled(loose_words) and filled(document.get("word_segments")) and not any(each.words for each in segments):
        loose_words = document["word_segments"]
    if not segments and (metadata.get("text") or filled(loose_words)):
        segments = Segments(_segments_from_text(metadata.get("text"), loose_words))
    elif filled(loose_words):
        segments = _assign_words(segments, loose_words)
    whole = Reading("the result")
    language = whole.text(metadata.get("language", metadata.get("detected_language")), ", language") or None
    model = metadata.get("model", metadata.get("model_name"))
    return Parsed(
        dialect,
        segments,
        language,
        whole.text(model) or None if isinstance(model, str) else None,
        _language_probability(whole, metadata, language),
        _duration(whole, metadata.get("duration")),
    )


def _duration(whole: Reading, value: Any) -> int | None:
    # Services use various notations ("00:01:02"). An unreadable duration is ignored, because it is not essential.
    try:
        return whole.time(value, 1000, ", duration")
    except InvalidInput:
        return None


def _without_none(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value is not None}


def _language_probability(whole: Reading, metadata: Mapping[str, Any], language: str | None) -> float | None:
    stated = metadata.get("language_probability")
    if stated is None and isinstance(metadata.get("language_probs"), Mapping):
        probabilities = metadata["language_probs"]
        stated = probabilities.get(language, probabilities.get(code_of(language)))
    return whole.confidence(stated, ", language probability")


def _segment(value: Any, index: int) -> Segment:
    reading = Reading(f"segment {index}")
    raw = named(value, reading.place)
    start_ms, end_ms = reading.span(raw.get("start"), raw.get("end"), 1000)
    words: list[Word] | None = None
    if raw.get("words") is not None:
        words = [_word(reading, word, n) for n, word in enumerate(listed(raw["words"], f"{reading.place}, words"))]
    text = reading.text(raw.get("text"))
    if words and not text:
        text = joined([word.text for word in words])
    if words and raw.get("start") is None and raw.get("end") is None:
        start_ms, end_ms = extent(words)
    speaker = reading.label(raw.get("speaker"), ", speaker")
    if words and speaker is None:
        speakers = {word.speaker for word in words}
        speaker = speakers.pop() if len(speakers) == 1 else None
    confidence = reading.confidence(raw.get("confidence"))
    quality.doubt(reading, raw, text, confidence, words or ())
    if confidence is None:
        confidence = _mean_probability(reading, raw)
    return Segment(text, start_ms, end_ms, speaker, words, confidence, tuple(reading.flags))


def _mean_probability(reading: Reading, raw: Mapping[str, Any]) -> float | None:
    """Return `avg_logprob` as a confidence: the geometric mean probability of a token, as measured by Whisper."""
    logprob = reading.number(raw.get("avg_logprob"), "measure", "")
    return math.exp(logprob) if logprob is not None and logprob <= 0 else None


def _segments_from_text(text: Any, loose_words: Any) -> list[Segment]:
    """Return a text and its loose words as one segment, or as sentences if the text contains all the words."""
    whole = _segment({"text": text, "words": loose_words}, 0)
    if not whole.words or not text:
        return [whole]
    segments: list[Segment] = []
    for part, words in cut(whole.text, list(whole.words)):
        reading = Reading(f"segment {len(segments)}")
        quality.doubt(reading, {}, part, None, words)
        # These flags apply to every part, because the position of the cause is no longer known.
        flags = dict.fromkeys((*reading.flags, *(flag for flag in whole.flags if flag in OF_EVERY_PART)))
        segments.append(Segment(part, *extent(words), whole.speaker, Words(words), flags=tuple(flags)))
    return segments


def _word(reading: Reading, value: Any, number: int) -> Word:
    place = f", word {number}"
    raw = named(value, reading.place + place)
    start_ms, end_ms = reading.span(raw.get("start"), raw.get("end"), 1000, place)
    confidence = next((raw[key] for key in CONFIDENCES if raw.get(key) is not None), None)
    text = raw["word"] if "word" in raw else raw.get("text")
    speaker = raw.get("speaker")
    return Word(
        reading.text(text, place),
        start_ms,
        end_ms,
        reading.confidence(confidence, place),
        reading.label(speaker, f"{place}, speaker") if speaker is not None else None,
    )


def joined(texts: Sequence[str]) -> str:
    """Return words as one text: unchanged if they have leading spaces, otherwise with spaces between them."""
    has_spaces = any(text[:1].isspace() for text in texts[1:])
    return ("" if has_spaces else " ").join(texts)


def _assign_words(segments: Segments, value: Any) -> Segments:
    """Assign words from outside the segments to the segment that contains their middle. No word is lost.

    A word that any segment already has is not added again.
    """
    known = collections.Counter(_identity(word) for segment in segments for word in segment.words or ())
    starts = array("q", [0])
    for segment in segments:
        starts.append(max(segment.start_ms or 0, starts[-1]))
    del starts[0]
    places = array("q")
    doubts: dict[int, dict[str, None]] = collections.defaultdict(dict)

    def missing() -> Iterator[Word]:
        current = 0
        for number, raw in enumerate(listed(value, "words")):
            reading = Reading("the result")
            word = _word(reading, raw, number)
            if word.start_ms is not None:
                middle = (word.start_ms + (word.end_ms if word.end_ms is not None else word.start_ms)) // 2
                current = max(bisect.bisect_right(starts, middle) - 1, 0)
            if known[_identity(word)]:
                known[_identity(word)] -= 1
                continue
            places.append(current)
            if reading.flags:
                doubts[current].update(dict.fromkeys(reading.flags))
            yield word

    loose_words = list(in_parts(missing()))
    words = (word for part in loose_words for word in part)
    if any(place > after for place, after in pairwise(places)):  # rare
        paired = sorted(zip(places, words, strict=True), key=lambda pair: pair[0])
        places, words = array("q", [place for place, _ in paired]), (word for _, word in paired)
    return Segments(_with_words(segments, places, words, doubts))


def _with_words(
    segments: Segments, places: Sequence[int], words: Iterator[Word], doubts: Mapping[int, Mapping[str, None]]
) -> Iterator[Segment]:
    for index, segment in enumerate(segments):
        count = bisect.bisect_right(places, index) - bisect.bisect_left(places, index)
        added = list(islice(words, count))
        flags = dict.fromkeys((*segment.flags, *doubts.get(index, ())))
        spoken = [*(segment.words or ()), *added] if added else segment.words
        yield dataclasses.replace(segment, words=spoken, flags=tuple(flags))


def _identity(word: Word) -> tuple[str, int | None]:
    return word.text.strip(), word.start_ms
