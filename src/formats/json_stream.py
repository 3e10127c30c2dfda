"""JSON of any size, decoded window by window: long lists stay in the source and are decoded again on iteration.

A list whose text is longer than `KEPT` characters becomes `Elements`, which decodes one element at a time. A large
result therefore takes the memory of its bytes plus what the reader keeps, at the price of two passes over the bytes. A
list of up to `FEW` elements is kept, because it may wrap a long one: `[result]`, `[segments, info]`, or one segment
with all words.
"""

from __future__ import annotations

import codecs
import itertools
import json
import mmap
import re
from collections.abc import Iterator
from typing import Any

from src.errors import InvalidInput

WINDOW = 1 << 20
KEPT = 1 << 18
FEW = 2
# How deep in objects long lists are searched for: `{result: {segments: []}}`, `{results: {speaker_labels: {}}}`.
DEPTH = 4
Source = bytes | bytearray | memoryview | mmap.mmap

# Signatures of other formats that can be converted to JSON.
_SIGNATURES = {
    codecs.BOM_UTF16_LE: "UTF-16, convert it to UTF-8 first",
    codecs.BOM_UTF16_BE: "UTF-16, convert it to UTF-8 first",
    b"\x1f\x8b": "compressed by gzip, decompress it first",
    b"PK\x03\x04": "a ZIP archive, unpack it first",
}
_BLANKS = re.compile(r"[ \t\r\n]*")
# No token other than a string is longer when the window cuts it: `-Infinity`, two escapes of a surrogate pair.
_LONGEST_CUT = 16
# The longest part of a number that can be missing although the rest is a valid number: `.`, `e`, `e-`.
_LONGEST_TAIL = 3


def _integer(digits: str) -> int | float:
    # Python does not convert more than 4300 digits; no time and no identifier is that long.
    return int(digits) if len(digits) < 400 else float(digits)


_DECODER = json.JSONDecoder(strict=False)  # whisper.cpp does not escape control characters
_BIG_INTEGER_DECODER = json.JSONDecoder(strict=False, parse_int=_integer)


class Elements:
    """The elements of a list in the source, decoded again by each iteration."""

    __slots__ = ("_count", "_errors", "_source", "_start")

    def __init__(self, source: Source, start: int, errors: str, count: int) -> None:
        self._source, self._start, self._errors, self._count = source, start, errors, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        yield from _Reader(self._source, self._start, self._errors).elements()


def read(source: Source) -> Any:
    """Return the value of a JSON text in UTF-8. Raises InvalidInput with the byte position for invalid input."""
    start = 3 if bytes(source[:3]) == codecs.BOM_UTF8 else 0
    # whisper.cpp splits a character between two tokens: they are valid UTF-8 only after they are joined.
    errors = "surrogateescape" if b'"transcription"' in bytes(source[: 1 << 14]) else "strict"
    reader = _Reader(source, start, errors)
    for beginning, reason in _SIGNATURES.items():
        if bytes(source[: len(beginning)]) == beginning:
            raise reader.syntax_error(reason)
    if not reader.peek():
        raise reader.syntax_error("the input is empty")
    found = reader.document(0)
    if reader.peek():
        raise reader.syntax_error("data after the end of the value")
    return found


class _Reader:
    def __init__(self, source: Source, start: int, errors: str) -> None:
        self._source, self._errors = source, errors
        self._next = start  # the first byte after the window
        self._counted = 0, start  # a position in the window and its byte
        self._text, self._index = "", 0
        self._passed = 0

    def syntax_error(self, reason: str) -> InvalidInput:
        return InvalidInput(
            f"The input is not valid JSON in UTF-8 (byte {self._byte()}: {reason}); pass the recogniser's output "
            f"unchanged."
        )

    def _byte(self) -> int:
        # Counted from the previous call on: a source may contain millions of lists.
        at, byte = self._counted
        self._counted = self._index, byte + len(self._text[at : self._index].encode("utf-8", self._errors))
        return self._counted[1]

    def _more(self) -> bool:
        """Advance the window; return False at the end of the source."""
        if self._next >= len(self._source):
            return False
        begin = self._byte()
        self._passed += self._index
        rest = self._text[self._index :]
        # A value longer than the window doubles it, which keeps the work linear.
        end = self._next + max(WINDOW, len(rest))
        window, final = bytes(self._source[self._next : end]), end >= len(self._source)
        try:
            text, used = codecs.utf_8_decode(window, self._errors, final)
        except UnicodeDecodeError as error:
            raise self.syntax_error(f"byte {self._next + error.start} is not UTF-8") from error
        self._next += used
        self._text, self._index, self._counted = rest + text, 0, (0, begin)
        return True

    def peek(self) -> str:
        """Return the next character that is not white space, '' at the end."""
        while True:
            found = _BLANKS.match(self._text, self._index)
            self._index = found.end() if found is not None else self._index
            if self._index < len(self._text):
                return self._text[self._index]
            if not self._more():
                return ""

    def _take(self, expected: str) -> str:
        found = self.peek()
        if not found or found not in expected:
            raise self.syntax_error(f"found {found or 'the end'!r}, expected one of {expected!r}")
        self._index += 1
        return found

    def value(self) -> Any:
        """Return the next value, decoded completely."""
        self.peek()
        decoder = _DECODER
        while True:
            try:
                found, end = decoder.raw_decode(self._text, self._index)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - _LONGEST_CUT
                if cut and self._more():
                    continue
                raise self.syntax_error(error.msg) from error
            except RecursionError as error:
                raise self.syntax_error("nested too deeply") from error
            except ValueError:
                # An integer of thousands of digits: decode again with the slower decoder, which supports it.
                decoder = _BIG_INTEGER_DECODER
                continue
            if end > len(self._text) - _LONGEST_TAIL and self._more():
                continue  # the number may continue in the next window
            self._index = end
            return found

    def document(self, depth: int) -> Any:
        """Return the next value; its long lists stay in the source as `Elements`."""
        opening = self.peek()
        if opening == "[" and depth < DEPTH:
            return self._list(depth)
        if opening != "{" or depth >= DEPTH:
            return self.value()
        self._take("{")
        found: dict[str, Any] = {}
        if self.peek() == "}":
            self._take("}")
            return found
        while True:
            if self.peek() != '"':
                raise self.syntax_error("expected a name in quotes")
            name = self.value()
            self._take(":")
            found[name] = self.document(depth + 1)
            if self._take(",}") == "}":
                return found

    def _list(self, depth: int) -> list[Any] | Elements:
        start, passed, count = self._byte(), self._passed + self._index, 0
        kept: list[Any] | None = []
        for count, value in enumerate(self.elements(depth + 1), 1):
            if kept is not None:
                kept.append(value)
                if count > FEW and self._passed + self._index - passed > KEPT:
                    kept = None
        return kept if kept is not None else Elements(self._source, start, self._errors, count)

    def elements(self, depth: int = DEPTH) -> Iterator[Any]:
        """Yield the elements of the list that begins here; long lists in the first `FEW` stay in the source."""
        self._take("[")
        if self.peek() == "]":
            self._take("]")
            return
        for number in itertools.count():
            yield self.document(depth) if number < FEW else self.value()
            if self._take(",]") == "]":
                return
