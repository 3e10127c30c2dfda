"""Writers for WebVTT, SRT, plain text, the project's own JSON and Whisper's JSON."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from src.errors import InvalidInput
from src.formats import native_json
from src.formats.cues import cues
from src.formats.line_breaking import clean, lines
from src.formats.segments import Segment, Word
from src.formats.subtitles import JOINER

Format = Literal["webvtt", "srt", "text", "json", "whisper"]
"""The formats that `write` returns."""

# The usual limit of subtitling guidelines, and the width of a terminal.
SUBTITLE_COLUMNS = 42
TEXT_COLUMNS = 80
FEWEST_COLUMNS = 10
_LIKE_SYNTAX = re.compile(r"(?<=[<{])(?=[/\\a-zA-Z])|(?<=--)(?=>)")


def write(
    format: Format,  # noqa: A002 - the usual name of this parameter
    segments: Iterable[Segment],
    *,
    language: str | None = None,
    language_probability: float | None = None,
    model_name: str | None = None,
    duration_ms: int | None = None,
    columns: int | None = None,
) -> str:
    """Return the segments in one of `FORMATS`: `webvtt`, `srt`, `text`, `json` or `whisper`.

    `columns` is the maximum width of a line; the default is 42 in subtitles, whose cues have at most 2 lines, and 80
    in plain text. `json` is lossless: `parse` returns equal segments. The other formats omit values that they cannot
    express (docs/formats.md). Raises InvalidInput for an unknown format.
    """
    return "".join(
        pieces(
            format,
            segments,
            language=language,
            language_probability=language_probability,
            model_name=model_name,
            duration_ms=duration_ms,
            columns=columns,
        )
    )


def pieces(
    format: Format,  # noqa: A002 - the usual name of this parameter
    segments: Iterable[Segment],
    *,
    language: str | None = None,
    language_probability: float | None = None,
    model_name: str | None = None,
    duration_ms: int | None = None,
    columns: int | None = None,
) -> Iterator[str]:
    """Yield the text of `write` in pieces. `json` and `text` keep only one segment in memory at a time."""
    writer = FORMATS.get(format)
    if writer is None:
        raise InvalidInput(
            f"format: unknown value {format!r:.40}; use one of {', '.join(FORMATS)}.", field="format", value=format
        )
    if columns is not None and columns < FEWEST_COLUMNS:
        raise InvalidInput(
            f"columns: {columns}; at least {FEWEST_COLUMNS}.", field="columns", value=columns, limit=FEWEST_COLUMNS
        )
    head = {
        "language": language,
        "language_probability": language_probability,
        "model_name": model_name,
        "duration_ms": duration_ms,
    }
    return writer(segments, {name: value for name, value in head.items() if value is not None}, columns)


def _webvtt(segments: Iterable[Segment], head: Mapping[str, Any], columns: int | None) -> Iterator[str]:
    yield "WEBVTT\n"
    if "language" in head:
        yield f"Language: {clean(head['language']).replace('-->', '')}\n"
    for cue in cues(segments, columns or SUBTITLE_COLUMNS, labelled=False):
        yield f"\n{_stamp(cue.start_ms, '.')} --> {_stamp(cue.end_ms, '.')}\n"
        voice = f"<v {html.escape(cue.speaker, quote=False)}>" if cue.speaker else ""
        yield voice + "\n".join(html.escape(line, quote=False) for line in cue.lines) + "\n"


def _srt(segments: Iterable[Segment], head: Mapping[str, Any], columns: int | None) -> Iterator[str]:
    del head  # SRT has no header
    for number, cue in enumerate(cues(segments, columns or SUBTITLE_COLUMNS, labelled=True), 1):
        text = "\n".join(_LIKE_SYNTAX.sub(JOINER, line) for line in cue.lines)
        yield f"{number}\n{_stamp(cue.start_ms, ',')} --> {_stamp(cue.end_ms, ',')}\n{text}\n\n"


def _stamp(moment: int, point: str) -> str:
    seconds, milliseconds = divmod(moment, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"


def _text(segments: Iterable[Segment], head: Mapping[str, Any], columns: int | None) -> Iterator[str]:
    """Yield each segment on a new line; a change of speaker adds an empty line and the name."""
    del head
    before: str | None = None
    first = True
    for segment in segments:
        text, speaker = clean(segment.text), clean(segment.speaker or "") or None
        if not text:
            continue
        if speaker != before:
            yield "" if first else "\n"
            text = f"{speaker}: {text}" if speaker else text
        before, first = speaker, False
        for line in lines(text, columns or TEXT_COLUMNS):
            yield text[line.begin : line.end] + "\n"


def _json(segments: Iterable[Segment], head: Mapping[str, Any], columns: int | None) -> Iterator[str]:
    del columns  # JSON has no line width
    yield from native_json.pieces(segments, head)


def _whisper(segments: Iterable[Segment], head: Mapping[str, Any], columns: int | None) -> Iterator[str]:
    """Yield Whisper's fields, as far as the values are known; `speaker` as in WhisperX."""
    del columns
    texts = []
    yield '{"segments": ['
    for index, segment in enumerate(segments):
        texts.append(segment.text)
        yield (",\n" if index else "\n") + native_json.compact(_whisper_fields(index, segment))
    trailer = {"text": "".join(texts), **{name: value for name, value in head.items() if name == "language"}}
    yield "\n], " + native_json.compact(trailer)[1:] + "\n"


def _whisper_fields(index: int, segment: Segment) -> dict[str, Any]:
    confidence = segment.confidence
    fields: dict[str, Any] = {
        "start": _seconds(segment.start_ms),
        "end": _seconds(segment.end_ms),
        "text": segment.text,
        "avg_logprob": math.log(confidence) if confidence else None,
        "speaker": segment.speaker,
        "words": None if segment.words is None else list(_whisper_words(segment.text, segment.words)),
    }
    return {"id": index, **{name: value for name, value in fields.items() if value is not None}}


def _whisper_words(text: str, words: Iterable[Word]) -> Iterator[dict[str, Any]]:
    """Yield words with the space that precedes each in the text, so that the joined words equal the text."""
    position = 0
    for word in words:
        spoken = word.text.strip()
        begin = position
        while text[begin : begin + 1].isspace():
            begin += 1
        leading_space = word.text[:1].isspace()
        if text.startswith(spoken, begin):
            leading_space, position = leading_space or begin > position, begin + len(spoken)
        fields = {
            "word": (" " if leading_space else "") + word.text.lstrip(),
            "start": _seconds(word.start_ms),
            "end": _seconds(word.end_ms),
            "probability": word.confidence,
            "speaker": word.speaker,
        }
        yield {name: value for name, value in fields.items() if value is not None}


def _seconds(moment: int | None) -> float | None:
    return None if moment is None else moment / 1000


FORMATS: Mapping[Format, Callable[[Iterable[Segment], Mapping[str, Any], int | None], Iterator[str]]] = {
    "webvtt": _webvtt,
    "srt": _srt,
    "text": _text,
    "json": _json,
    "whisper": _whisper,
}
