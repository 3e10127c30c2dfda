"""whisper.cpp (`transcription`, milliseconds, tokens) and Hugging Face pipelines (`chunks`, seconds)."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator, Mapping
from typing import Any

from src.errors import InvalidInput
from src.formats import quality
from src.formats.packed_segments import Segments
from src.formats.segments import Parsed, Reading, Segment, Word, listed, named
from src.formats.sentences import Sentences

_SPECIAL = re.compile(r"\[_\w+\]|<\|[^|]*\|>", re.ASCII)
# Scripts without spaces between words: Thai to Khmer, Japanese, Chinese, full-width forms.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff\uff01-\uffef]")
# The longest median length of a list of single words; such a list also has hardly any spaces inside its elements.
WORD_LENGTH, UNSPACED_WORD_LENGTH = 12, 4


def parse_whisper_cpp(document: Mapping[str, Any]) -> Parsed:
    """Parse `-oj` and `-ojf`; the tokens of the latter become words. Raises InvalidInput with segment and word."""
    source = listed(document.get("transcription"), "transcription")
    segments = Segments(_spoken(raw, index) for index, raw in enumerate(source))
    whole = Reading("the result")
    result, params, model = (_part(document, name) for name in ("result", "params", "model"))
    language = whole.text(result.get("language") or params.get("language")) or None
    name = whole.text(params.get("model") or model.get("type"), ", model") or None
    return Parsed("whisper-cpp", segments, language, name)


def _spoken(value: Any, index: int) -> Segment:
    reading = Reading(f"segment {index}")
    raw = named(value, reading.place)
    times = _offsets(reading, raw, "")
    text = reading.text(_whole(raw.get("text")))
    words = _words(reading, raw["tokens"]) if raw.get("tokens") is not None else None
    speaker = reading.label(raw.get("speaker"), ", speaker")
    quality.doubt(reading, {}, text, None, words or ())
    # whisper.cpp writes `?` if both channels are equally loud.
    return Segment(text, *times, None if speaker == "?" else speaker, words, flags=tuple(reading.flags))


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return named(document[name], name) if document.get(name) is not None else {}


def _offsets(reading: Reading, raw: Mapping[str, Any], place: str) -> tuple[int | None, int | None]:
    if raw.get("offsets") is not None:
        offsets = named(raw["offsets"], f"{reading.place}{place}, offsets")
        return reading.span(offsets.get("from"), offsets.get("to"), 1, place)
    if raw.get("timestamps"):
        stamps = named(raw["timestamps"], f"{reading.place}{place}, timestamps")
        return reading.span(_seconds(stamps.get("from")), _seconds(stamps.get("to")), 1000, place)
    return None, None


def _seconds(stamp: Any) -> Any:
    found = re.fullmatch(r"(\d{1,6}):(\d\d):(\d\d[.,]\d{1,3})", stamp) if isinstance(stamp, str) else None
    if found is None:
        return stamp
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3].replace(",", "."))


def _whole(text: Any) -> Any:
    """Join the bytes of characters that were split between tokens; `Reading` replaces incomplete ones."""
    if not isinstance(text, str) or text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text  # an unpaired surrogate that was written as an escape


def _words(reading: Reading, tokens: Any) -> list[Word]:
    """Return words: a token with a leading space, or in a script without spaces, begins one; confidence is the mean."""
    words: list[Word] = []
    group: list[tuple[str, tuple[int | None, int | None], float | None]] = []

    def close() -> None:
        if not group:
            return
        confidences = [p for _, _, p in group if p is not None]
        starts = [times[0] for _, times, _ in group if times[0] is not None]
        ends = [times[1] for _, times, _ in group if times[1] is not None]
        text = reading.text(_whole("".join(text for text, _, _ in group)))
        start_ms, end_ms = (starts[0] if starts else None), (ends[-1] if ends else None)
        if start_ms is not None and end_ms is not None and end_ms < start_ms:
            reading.flag("invalid_time")
            end_ms = None
        words.append(Word(text, start_ms, end_ms, sum(confidences) / len(confidences) if confidences else None))
        group.clear()

    for number, value in enumerate(listed(tokens, f"{reading.place}, tokens")):
        place = f", word {number}"
        raw = named(value, reading.place + place)
        text = raw.get("text")
        if not isinstance(text, str):
            raise InvalidInput(
                f"{reading.place}{place}: the token is {type(text).__name__}; a str is required.",
                field=f"{reading.place}{place}",
            )
        if _SPECIAL.fullmatch(text):
            continue
        if text[:1].isspace() or (UNSPACED.match(text) and not _broken("".join(part for part, _, _ in group))):
            close()
        group.append((text, _offsets(reading, raw, place), reading.confidence(raw.get("p"), place)))
    close()
    return words


def _broken(text: str) -> bool:
    whole = _whole(text)
    return any("\udc80" <= character <= "\udcff" for character in whole)


def parse_chunks(document: Mapping[str, Any]) -> Parsed:
    """Parse `chunks`; a list of single words is grouped into sentences. Raises InvalidInput with the segment."""
    source = listed(document.get("chunks"), "chunks")
    languages: collections.Counter[str] = collections.Counter()
    segments = Segments(_chunk(raw, index, languages) for index, raw in enumerate(source))
    whole = Reading("the result")
    # With `return_language`, each chunk has a language.
    most_common = next((name for name, _ in languages.most_common(1)), None)
    language = whole.text(document.get("language"), ", language") or most_common
    if not segments and document.get("text"):
        segments = Segments([Segment(whole.text(document["text"]), flags=tuple(whole.flags))])
    elif _are_words(segments):
        segments = Segments(_gathered(segments))
    return Parsed("hf-chunks", segments, language)


def _chunk(value: Any, index: int, languages: collections.Counter[str]) -> Segment:
    reading = Reading(f"segment {index}")
    raw = named(value, reading.place)
    if raw.get("language"):
        languages[reading.text(raw["language"], ", language")] += 1
    start, end = [*listed(raw.get("timestamp"), f"{reading.place}, timestamp"), None, None][:2]
    times = reading.span(start, end, 1000)
    text = reading.text(raw.get("text"))
    speaker = reading.label(raw.get("speaker"), ", speaker")
    quality.doubt(reading, {}, text, None, ())
    return Segment(text, *times, speaker, flags=tuple(reading.flags))


def _are_words(segments: Segments) -> bool:
    lengths: collections.Counter[int] = collections.Counter()
    spaced = unspaced = 0
    for text in map(str.strip, segments.texts()):
        lengths[len(text)] += 1
        spaced += " " in text
        unspaced += UNSPACED.search(text) is not None
    if len(segments) < 2 or spaced > len(segments) / 10:
        return False
    longest = UNSPACED_WORD_LENGTH if unspaced > len(segments) / 2 else WORD_LENGTH
    return sum(count for length, count in lengths.items() if length <= longest) > len(segments) // 2


def _gathered(chunks: Segments) -> Iterator[Segment]:
    has_spaces = any(text[:1].isspace() for text in chunks.texts())
    # Single characters with spaces among them: segments end between words only, and `3.14` is one word.
    single_characters = has_spaces and all(len(text) <= 1 for text in chunks.texts())
    sentences = Sentences()
    for chunk in chunks:
        joins = single_characters and not chunk.text.isspace() and UNSPACED.match(chunk.text) is None
        if sentences.ends_before(chunk.speaker, chunk.start_ms) and not (joins and chunk.speaker == sentences.speaker):
            yield from sentences.close()
        unspaced = has_spaces or UNSPACED.match(chunk.text) is not None
        for flag in chunk.flags:
            if flag not in {"empty", "no_speech", "repetition"}:
                sentences.reading.flag(flag)
        sentences.add(Word(chunk.text, chunk.start_ms, chunk.end_ms), chunk.speaker, "" if unspaced else " ")
    yield from sentences.close()
