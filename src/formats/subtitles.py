"""WebVTT and SRT: cues with times. What cannot be read as a cue is refused with its place, never dropped."""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterator

from src.errors import InvalidInput
from src.formats import quality
from src.formats.values import Parsed, Reading, Segment

_STAMP = r"(?:(\d{1,10}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
TIMES = re.compile(rf"[ \t]*{_STAMP}[ \t]*-->[ \t]*{_STAMP}(?:[ \t].*)?", re.ASCII)
_TAG = re.compile(r"</?(?:c|i|b|u|v|lang|ruby|rt|font|\d[\d:.]*)(?:[ .\t][^<>]*)?>")
# SRT has no tags of its own; players know these from HTML and the placing codes of ASS.
_SRT_TAG = re.compile(r"</?(?:i|b|u|s|font)(?:[ \t][^<>]*)?>|\{\\[^{}]*\}", re.IGNORECASE)
_VOICE = re.compile(r"<v(?:\.[^ \t<>]*)?[ \t]([^<>]+)>")
_NUMBER = re.compile(r"[ \t]*\d+[ \t]*", re.ASCII)
# Our writer puts it where a text itself looks like a tag or an arrow, which SRT cannot escape.
JOINER = "\u2060"
_JOINED = re.compile(rf"(?<=[<{{]){JOINER}|(?<=--){JOINER}(?=>)")


def parse(content: bytes, dialect: str) -> Parsed:
    """Read `webvtt` or `srt`. Tags leave the text, a voice becomes the speaker; CR, LF and CRLF end lines.

    Raises InvalidInput that names the cue, for bytes that are not UTF-8 (or UTF-16 with its mark) and for a WebVTT
    text without a time line. In SRT, which has no rule for it, such a text goes on with the cue before it.
    """
    lines = _decoded(content).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if dialect == "srt":
        return Parsed(dialect, list(_srt(lines)))
    language = None
    head = next((n for n, line in enumerate(lines) if "-->" in line), len(lines))
    blank = next((n for n, line in enumerate(lines) if not line.strip()), len(lines))
    for line in lines[: min(head, blank)]:
        if line.startswith("Language:"):
            language = Reading("the header").text(line.partition(":")[2].strip()) or None
    # A header may be followed by rules that are no cues; the first blank line or time line ends it.
    return Parsed(dialect, list(_webvtt(lines[min(head, blank) :])), language)


def _decoded(content: bytes) -> str:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"These subtitles are not UTF-8 (byte {error.start}); convert them first.") from error


def _webvtt(lines: list[str]) -> Iterator[Segment]:
    count = number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if not line.strip():
            continue
        if re.match(r"(NOTE|STYLE|REGION)\b|##$", line) and "-->" not in line:
            while number < len(lines) and lines[number].strip():
                number += 1
            continue
        place = f"segment {count}"
        if "-->" not in line and number < len(lines) and "-->" in lines[number]:
            line = lines[number]
            number += 1
        reading, start_ms, end_ms = _times(line, place)
        start = number
        while number < len(lines) and lines[number].strip() and "-->" not in lines[number]:
            number += 1
        for speaker, text in _voices("\n".join(lines[start:number])):
            named = reading.text(html.unescape(speaker).strip(), ", speaker") or None if speaker else None
            yield _segment(reading, html.unescape(_TAG.sub("", text)), start_ms, end_ms, named)
            count += 1
            reading = Reading(f"segment {count}")


def _voices(raw: str) -> list[tuple[str | None, str]]:
    """The parts of a cue with who speaks them; a cue in which two people speak is two segments of the same time."""
    first, *parts = _VOICE.split(raw)
    spoken: list[tuple[str | None, str]] = list(zip(parts[::2], parts[1::2], strict=True))
    if not spoken or _TAG.sub("", first).strip():
        return [(None, first), *spoken]
    return spoken


def _srt(lines: list[str]) -> Iterator[Segment]:
    """Yield the cues: all lines from one time line to the next one's number, blank lines between them included."""
    begins = [number for number, line in enumerate(lines) if "-->" in line]
    head = [line for line in lines[: begins[0] if begins else len(lines)] if line.strip()]
    if len(head) > 1 or (head and not _NUMBER.fullmatch(head[0])):
        raise InvalidInput(f"segment 0: {head[0]!r:.80} is neither a time line nor the number of one.")
    number = head[0] if head else ""
    for count, begin in enumerate(begins):
        reading, start_ms, end_ms = _times(lines[begin], f"segment {count}")
        end = begins[count + 1] if count + 1 < len(begins) else len(lines)
        body = lines[begin + 1 : end]
        # A number is the next cue's where a blank line sets it apart; else it may have been said.
        numbered = count + 1 < len(begins) and body and _NUMBER.fullmatch(body[-1])
        if numbered and (_follows(number, body[-1]) or (len(body) > 1 and not body[-2].strip())):
            number, body = body[-1], body[:-1]
        else:
            number = ""
        text = _SRT_TAG.sub("", "\n".join(body).strip("\n"))
        yield _segment(reading, _JOINED.sub("", text), start_ms, end_ms, None)


def _follows(number: str, other: str) -> bool:
    # Compared as far as a number can be: a line of thousands of digits is none.
    return 0 < len(number) < 12 and len(other) < 12 and int(other) == int(number) + 1


def _times(line: str, place: str) -> tuple[Reading, int | None, int | None]:
    found = TIMES.fullmatch(line)
    if found is None:
        raise InvalidInput(f"{place}: {line!r:.80} is neither a time line nor the text of one.")
    reading = Reading(place)
    start, end = (
        ((int(h or 0) * 60 + int(m)) * 60 + int(s)) * 1000 + int((ms or "0").ljust(3, "0"))
        for h, m, s, ms in (found.groups()[:4], found.groups()[4:])
    )
    return reading, *reading.span(start, end, 1)


def _segment(reading: Reading, raw: str, start_ms: int | None, end_ms: int | None, speaker: str | None) -> Segment:
    text = reading.text(raw)
    quality.doubt(reading, {}, text, None, ())
    return Segment(text, start_ms, end_ms, speaker, flags=tuple(reading.flags))
