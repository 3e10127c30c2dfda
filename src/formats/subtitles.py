"""WebVTT and SRT: cues with times. A block that cannot be read as a cue is refused with its place, never dropped."""

from __future__ import annotations

import html
import re

from src.errors import InvalidInput
from src.formats.values import Parsed, Reading, Segment

_STAMP = r"(?:(\d{1,4}):)?(\d{2}):(\d{2})[.,](\d{3})"
_TIMES = re.compile(rf"[ \t]*{_STAMP}[ \t]*-->[ \t]*{_STAMP}(?:[ \t].*)?")
_TAG = re.compile(r"</?(?:c|i|b|u|v|lang|ruby|rt|font|\d[\d:.]*)(?:[ .\t][^<>]*)?>")
_VOICE = re.compile(r"<v(?:\.[^ \t<>]*)?[ \t]+([^<>]+)>")


def parse(content: bytes, dialect: str) -> Parsed:
    """Read `webvtt` or `srt`. Tags leave the text, a voice becomes the speaker; CR, LF and CRLF end lines.

    Raises InvalidInput that names the cue, for bytes that are not UTF-8 and for a text without a time line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("These subtitles are not UTF-8; convert them first.") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    language = None
    if dialect == "webvtt":
        head = next((n for n, line in enumerate(lines) if "-->" in line), len(lines))
        blank = next((n for n, line in enumerate(lines) if not line.strip()), len(lines))
        for line in lines[: min(head, blank)]:
            if line.startswith("Language:"):
                language = Reading("the header").text(line.partition(":")[2].strip()) or None
        # A header may be followed by rules that are no cues; the first blank line or time line ends it.
        lines = lines[min(head, blank) :]
    return Parsed(dialect, _cues(lines, dialect), language)


def _cues(lines: list[str], dialect: str) -> list[Segment]:
    segments: list[Segment] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if not line.strip():
            continue
        if dialect == "webvtt" and re.match(r"(NOTE|STYLE|REGION)\b|##$", line) and "-->" not in line:
            while number < len(lines) and lines[number].strip():
                number += 1
            continue
        place = f"segment {len(segments)}"
        if "-->" not in line and number < len(lines) and "-->" in lines[number]:
            line = lines[number]
            number += 1
        found = _TIMES.fullmatch(line)
        if found is None:
            raise InvalidInput(f"{place}: {line!r:.80} is neither a time line nor the text of one.")
        start = number
        while number < len(lines) and lines[number].strip() and "-->" not in lines[number]:
            number += 1
        segments.append(_segment(found, "\n".join(lines[start:number]), place))
    return segments


def _segment(found: re.Match[str], raw: str, place: str) -> Segment:
    reading = Reading(place)
    values = [int(part or 0) for part in found.groups()]
    start, end = (((h * 60 + m) * 60 + s) * 1000 + ms for h, m, s, ms in (values[:4], values[4:]))
    start_ms, end_ms = reading.span(start, end, 1)
    voice = _VOICE.search(raw)
    speaker = reading.text(html.unescape(voice[1]).strip(), ", speaker") or None if voice else None
    text = reading.text(html.unescape(_TAG.sub("", raw)))
    if not text.strip():
        reading.flag("empty")
    return Segment(text, start_ms, end_ms, speaker, flags=tuple(reading.flags))
