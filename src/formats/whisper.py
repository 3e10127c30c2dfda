"""The Whisper family: Whisper, verbose_json, WhisperX, whisper-timestamped. Times are in seconds."""

from __future__ import annotations

from typing import Any

from src.formats.values import Parsed, Reading, Segment, Word, listed, named

# The defaults of Whisper's own decoder, beyond which it takes its result for a failure.
NO_SPEECH_PROBABILITY = 0.6
LEAST_LOGPROB = -1.0
MOST_COMPRESSION = 2.4


def parse(document: dict[str, Any], dialect: str) -> Parsed:
    """Read a result. Raises InvalidInput that names segment and word."""
    segments = [_segment(raw, index) for index, raw in enumerate(listed(document.get("segments"), "segments"))]
    whole = Reading("the result")
    if not segments and (document.get("text") or document.get("words")):
        segments = [_segment({"text": document.get("text"), "words": document.get("words")}, 0)]
    elif document.get("words") is not None:
        segments = _placed(segments, document["words"])
    language = whole.text(document.get("language")) or None
    return Parsed(dialect, segments, language)


def _segment(value: Any, index: int) -> Segment:
    reading = Reading(f"segment {index}")
    raw = named(value, reading.place)
    start_ms, end_ms = reading.span(raw.get("start"), raw.get("end"), 1000)
    words = None
    if raw.get("words") is not None:
        words = [_word(reading, word, n) for n, word in enumerate(listed(raw["words"], f"{reading.place}, words"))]
    text = reading.text(raw.get("text"))
    _doubt(reading, raw, text)
    return Segment(
        text,
        start_ms,
        end_ms,
        speaker=reading.text(raw.get("speaker"), ", speaker") or None,
        words=words,
        confidence=reading.confidence(raw.get("confidence")),
        flags=tuple(reading.flags),
    )


def _word(reading: Reading, value: Any, number: int) -> Word:
    place = f", word {number}"
    raw = named(value, reading.place + place)
    start_ms, end_ms = reading.span(raw.get("start"), raw.get("end"), 1000, place)
    confidence = next((raw[key] for key in ("probability", "score", "confidence") if raw.get(key) is not None), None)
    text = raw["word"] if "word" in raw else raw.get("text")
    return Word(reading.text(text, place), start_ms, end_ms, reading.confidence(confidence, place))


def _doubt(reading: Reading, raw: dict[str, Any], text: str) -> None:
    silence = reading.number(raw.get("no_speech_prob"), "measure", "")
    logprob = reading.number(raw.get("avg_logprob"), "measure", "")
    compression = reading.number(raw.get("compression_ratio"), "measure", "")
    if not text.strip():
        reading.flag("empty")
    if silence is not None and silence > NO_SPEECH_PROBABILITY and (logprob is None or logprob < LEAST_LOGPROB):
        reading.flag("no_speech")
    if logprob is not None and logprob < LEAST_LOGPROB:
        reading.flag("low_confidence")
    if compression is not None and compression > MOST_COMPRESSION:
        reading.flag("repetition")


def _placed(segments: list[Segment], value: Any) -> list[Segment]:
    """Words that lie beside the segments go to the last one that begins no later; no word is lost."""
    reading = Reading("the result")
    words = [_word(reading, word, number) for number, word in enumerate(listed(value, "words"))]
    share: list[list[Word]] = [[] for _ in segments]
    current = 0
    for word in words:
        while (
            current + 1 < len(segments)
            and word.start_ms is not None
            and (following := segments[current + 1].start_ms) is not None
            and following <= word.start_ms
        ):
            current += 1
        share[current].append(word)
    return [
        Segment(s.text, s.start_ms, s.end_ms, s.speaker, s.words or mine, s.confidence, (*s.flags, *reading.flags))
        for s, mine in zip(segments, share, strict=True)
    ]
