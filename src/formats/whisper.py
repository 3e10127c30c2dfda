"""The Whisper family in Python: Whisper, verbose_json, WhisperX, whisper-timestamped, faster-whisper. In seconds."""

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
from src.formats.packed_words import Words, in_parts
from src.formats.segments import Segments
from src.formats.sentences import cut, extent
from src.formats.values import Parsed, Reading, Segment, Word, filled, listed, named

CONFIDENCES = ("probability", "score", "confidence")
OF_EVERY_PART = frozenset({"invalid_time", "invalid_confidence", "replaced_characters"})


def parse(document: Mapping[str, Any], dialect: str) -> Parsed:
    """Read a result. Raises InvalidInput that names segment and word."""
    info = document.get("info")
    about = {**named(info, "info"), **_without_none(document)} if info is not None else document
    source = listed(document.get("segments"), "segments")
    segments = Segments(_segment(raw, index) for index, raw in enumerate(source))
    beside = document.get("words")
    if not filled(beside) and filled(document.get("word_segments")) and not any(each.words for each in segments):
        beside = document["word_segments"]
    if not segments and (about.get("text") or filled(beside)):
        segments = Segments(_of_the_whole(about.get("text"), beside))
    elif filled(beside):
        segments = _placed(segments, beside)
    whole = Reading("the result")
    language = whole.text(about.get("language", about.get("detected_language")), ", language") or None
    model = about.get("model", about.get("model_name"))
    return Parsed(
        dialect,
        segments,
        language,
        whole.text(model) or None if isinstance(model, str) else None,
        _language_probability(whole, about, language),
        _duration(whole, about.get("duration")),
    )


def _duration(whole: Reading, value: Any) -> int | None:
    # Services write it as they please ("00:01:02"); no result is refused for what every player finds out.
    try:
        return whole.time(value, 1000, ", duration")
    except InvalidInput:
        return None


def _without_none(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value is not None}


def _language_probability(whole: Reading, about: Mapping[str, Any], language: str | None) -> float | None:
    stated = about.get("language_probability")
    if stated is None and isinstance(about.get("language_probs"), Mapping):
        probabilities = about["language_probs"]
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
        named_ones = {word.speaker for word in words}
        speaker = named_ones.pop() if len(named_ones) == 1 else None
    sure = reading.confidence(raw.get("confidence"))
    quality.doubt(reading, raw, text, sure, words or ())
    if sure is None:
        sure = _mean_probability(reading, raw)
    return Segment(text, start_ms, end_ms, speaker, words, sure, tuple(reading.flags))


def _mean_probability(reading: Reading, raw: Mapping[str, Any]) -> float | None:
    """`avg_logprob` on the scale of a confidence: Whisper's own mean probability of a token."""
    logprob = reading.number(raw.get("avg_logprob"), "measure", "")
    return math.exp(logprob) if logprob is not None and logprob <= 0 else None


def _of_the_whole(text: Any, beside: Any) -> list[Segment]:
    """A text, and words that may lie beside it, as one segment; as sentences where the words are found in it."""
    whole = _segment({"text": text, "words": beside}, 0)
    if not whole.words or not text:
        return [whole]
    segments: list[Segment] = []
    for part, words in cut(whole.text, list(whole.words)):
        reading = Reading(f"segment {len(segments)}")
        quality.doubt(reading, {}, part, None, words)
        # What was replaced in the whole is said of each part: where it stood is not known any more.
        flags = dict.fromkeys((*reading.flags, *(flag for flag in whole.flags if flag in OF_EVERY_PART)))
        segments.append(Segment(part, *extent(words), whole.speaker, Words(words), flags=tuple(flags)))
    return segments


def _word(reading: Reading, value: Any, number: int) -> Word:
    place = f", word {number}"
    raw = named(value, reading.place + place)
    start_ms, end_ms = reading.span(raw.get("start"), raw.get("end"), 1000, place)
    sure = next((raw[key] for key in CONFIDENCES if raw.get(key) is not None), None)
    text = raw["word"] if "word" in raw else raw.get("text")
    speaker = raw.get("speaker")
    return Word(
        reading.text(text, place),
        start_ms,
        end_ms,
        reading.confidence(sure, place),
        reading.label(speaker, f"{place}, speaker") if speaker is not None else None,
    )


def joined(texts: Sequence[str]) -> str:
    """Return words as one text: as they are where they bring their own spaces, else with spaces between them."""
    own = any(text[:1].isspace() for text in texts[1:])
    return ("" if own else " ").join(texts)


def _placed(segments: Segments, value: Any) -> Segments:
    """Words that lie beside the segments go to the one that they are spoken in, by their middle; no word is lost.

    A word that is part of a segment already, wherever its middle is, is not added again.
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

    beside = list(in_parts(missing()))
    words = (word for part in beside for word in part)
    if any(place > after for place, after in pairwise(places)):  # hardly ever
        paired = sorted(zip(places, words, strict=True), key=lambda pair: pair[0])
        places, words = array("q", [place for place, _ in paired]), (word for _, word in paired)
    return Segments(_joined(segments, places, words, doubts))


def _joined(
    segments: Segments, places: Sequence[int], words: Iterator[Word], doubts: Mapping[int, Mapping[str, None]]
) -> Iterator[Segment]:
    for index, segment in enumerate(segments):
        count = bisect.bisect_right(places, index) - bisect.bisect_left(places, index)
        mine = list(islice(words, count))
        flags = dict.fromkeys((*segment.flags, *doubts.get(index, ())))
        spoken = [*(segment.words or ()), *mine] if mine else segment.words
        yield dataclasses.replace(segment, words=spoken, flags=tuple(flags))


def _identity(word: Word) -> tuple[str, int | None]:
    return word.text.strip(), word.start_ms
