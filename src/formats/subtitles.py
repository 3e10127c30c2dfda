"""WebVTT and SRT: cues with times. Text that is not a valid cue raises an error with its position; none is dropped."""

from __future__ import annotations

import codecs
import collections
import html
import io
import itertools
import re
from collections.abc import Iterator, Sequence

from src.errors import InvalidInput
from src.formats import quality
from src.formats.packed_segments import Segments
from src.formats.segments import Parsed, Reading, Segment, Word

_STAMP = r"(-?)(?:(\d{1,10}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9}))?"
_ONE_TIME = re.compile(_STAMP, re.ASCII)
TIMES = re.compile(rf"[ \t]*{_STAMP}[ \t]*-->[ \t]*{_STAMP}(?:[ \t].*)?", re.ASCII)
_TAG = re.compile(r"</?(?:c|i|b|u|v|lang|ruby|rt|font|\d[\d:.]*)(?:[ .\t][^<>]*)?>")
# SRT defines no tags; players support these from HTML, and the positioning codes of ASS.
_SRT_TAG = re.compile(r"</?(?:i|b|u|s|font)(?:[ \t][^<>]*)?>|\{\\[^{}]*\}", re.IGNORECASE)
_VOICE = re.compile(r"<v(?:\.[^ \t<>]*)?[ \t]([^<>]+)>|</v>")
_WORD_TIME = re.compile(r"<((?:\d{1,10}:)?\d\d:\d\d\.\d{3})>", re.ASCII)
_BLOCK = re.compile(r"NOTE([ \t]|$)|(STYLE|REGION)[ \t]*$|##$")
_NUMBER = re.compile(r"[ \t]*\d+[ \t]*", re.ASCII)
# Our writer inserts it where text looks like a tag or an arrow, because SRT has no escapes.
JOINER = "\u2060"
_JOINED = re.compile(rf"(?<=[<{{]){JOINER}|(?<=--){JOINER}(?=>)")


def parse(content: bytes, dialect: str) -> Parsed:
    """Parse `webvtt` or `srt`. Tags are removed, a voice becomes the speaker; CR, LF and CRLF end lines.

    Raises InvalidInput with the cue for bytes that are not UTF-8 (or UTF-16 with a byte order mark) and for a WebVTT
    text without a time line. In SRT, which has no rule for this case, such a text belongs to the cue before it.
    """
    lines = _Lines(_decoded(content))
    if dialect == "srt":
        return Parsed(dialect, Segments(_srt(lines)))
    language = None
    # The header may contain settings, which are not cues; the first blank line or time line ends it.
    while (lines.peek() or "").strip() and not lines.at_time():
        name, _, value = str(lines.take()).partition(":")
        if name == "Language":
            language = Reading("the header").text(value.strip()) or None
    return Parsed(dialect, Segments(_webvtt(lines)), language)


def _decoded(content: bytes) -> Iterator[str]:
    """Yield the lines without line ends, decoding the content incrementally."""
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if wide else "utf-8-sig"
    try:
        for line in io.TextIOWrapper(io.BytesIO(content), encoding, newline=None):
            yield line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"These subtitles are not UTF-8 (byte {_unreadable(content, encoding)}); convert them to UTF-8 first."
        ) from error


def _unreadable(content: bytes, encoding: str) -> int:
    # The error of an incremental decoder contains only the position in its chunk.
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        return error.start
    return len(content)


class _Lines:
    """An iterator of lines with lookahead; None after the last line."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._ahead: collections.deque[str] = collections.deque()

    def peek(self, ahead: int = 0) -> str | None:
        while len(self._ahead) <= ahead and (line := next(self._lines, None)) is not None:
            self._ahead.append(line)
        return self._ahead[ahead] if len(self._ahead) > ahead else None

    def at_time(self, ahead: int = 0) -> bool:
        return "-->" in (self.peek(ahead) or "")

    def take(self) -> str | None:
        return self._ahead.popleft() if self._ahead else next(self._lines, None)


def _webvtt(lines: _Lines) -> Iterator[Segment]:
    count = 0
    while (line := lines.take()) is not None:
        if not line.strip():
            continue
        if "-->" not in line and lines.at_time():
            line = str(lines.take())  # the line before a time line is the cue's identifier, whatever its text
        elif "-->" not in line and _BLOCK.match(line):
            collections.deque(_block(lines), 0)
            continue
        reading, start_ms, end_ms = _times(line, f"segment {count}")
        for speaker, raw in _voices("\n".join(_block(lines)).strip(" \t\n")):
            named = reading.text(html.unescape(speaker).strip(), ", speaker") or None if speaker else None
            words = _timed_words(reading, raw)
            text = "".join(word.text for word in words) if words else reading.text(_plain(raw))
            quality.doubt(reading, {}, text, None, ())
            yield Segment(text, start_ms, end_ms, named, words, flags=tuple(reading.flags))
            count += 1
            reading = Reading(f"segment {count}")


def _block(lines: _Lines) -> Iterator[str]:
    """Take the lines of a block, which ends at an empty line or a time line.

    A line of spaces belongs to the block, because YouTube begins its cues with one, unless a cue follows: some programs
    separate cues with such lines.
    """
    first = True
    while (line := lines.peek()) and not lines.at_time():
        if not line.strip() and (lines.at_time(1) or (not first and lines.at_time(2))):
            break
        yield str(lines.take())
        first = False


def _voices(raw: str) -> list[tuple[str | None, str]]:
    """Return the parts of a cue with their speakers; a cue with two speakers becomes two segments of the same time."""
    first, *others = _VOICE.split(raw)
    parts: list[tuple[str | None, str]] = [(None, first), *zip(others[::2], others[1::2], strict=True)]
    said = [part for part in parts if _TAG.sub("", part[1]).strip()]
    return said or [next((part for part in parts if part[0] is not None), parts[0])]


def _plain(raw: str) -> str:
    return html.unescape(_TAG.sub("", raw))


def _timed_words(reading: Reading, raw: str) -> list[Word] | None:
    """Return the words at the times inside a cue; their ends are None (not in WebVTT). None without such times."""
    first, *others = _WORD_TIME.split(raw)
    if not others:
        return None
    words = [Word(reading.text(_plain(first)))] if _plain(first) else []
    for stamp, part in zip(others[::2], others[1::2], strict=True):
        found = _ONE_TIME.fullmatch(stamp)
        start_ms = reading.time(_milliseconds(found.groups()), 1) if found is not None else None
        words.append(Word(reading.text(_plain(part)), start_ms))
    return words


def _srt(lines: _Lines) -> Iterator[Segment]:
    """Yield the cues: all lines from a time line to the number of the next one, including blank lines."""
    head = [line for line in _text_before_time(lines) if line.strip()]
    if len(head) > 1 or (head and not _NUMBER.fullmatch(head[0])):
        raise InvalidInput(f"segment 0: {head[0]!r:.80} is neither a time line nor a cue number; remove it.")
    number = head[0] if head else ""
    for count in itertools.count():
        line = lines.take()
        if line is None:
            return
        reading, start_ms, end_ms = _times(line, f"segment {count}")
        body = _text_before_time(lines)
        # A number belongs to the next cue if a blank line precedes it; otherwise it may be spoken text.
        numbered = lines.at_time() and body and _NUMBER.fullmatch(body[-1])
        if numbered and (_follows(number, body[-1]) or (len(body) > 1 and not body[-2].strip())):
            number = body.pop()
        else:
            number = ""
        text = _SRT_TAG.sub("", "\n".join(body).strip("\n"))
        text = reading.text(_JOINED.sub("", text))
        quality.doubt(reading, {}, text, None, ())
        yield Segment(text, start_ms, end_ms, flags=tuple(reading.flags))


def _text_before_time(lines: _Lines) -> list[str]:
    found = []
    while lines.peek() is not None and not lines.at_time():
        found.append(str(lines.take()))
    return found


def _follows(number: str, other: str) -> bool:
    # A line of 12 or more digits is not a cue number.
    return 0 < len(number) < 12 and len(other) < 12 and int(other) == int(number) + 1


def _times(line: str, place: str) -> tuple[Reading, int | None, int | None]:
    found = TIMES.fullmatch(line)
    if found is None:
        raise InvalidInput(
            f"{place}: {line!r:.80} is neither a time line nor text of a cue; remove or correct it.",
            field=place,
            value=line,
        )
    reading = Reading(place)
    start, end = _milliseconds(found.groups()[:5]), _milliseconds(found.groups()[5:])
    return reading, *reading.span(start, end, 1)


def _milliseconds(stamp: Sequence[str | None]) -> int:
    sign, hours, minutes, seconds, fraction = stamp
    whole = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    moment = whole * 1000 + round(int((fraction or "0").ljust(9, "0")) / 1_000_000)
    return -moment if sign else moment
