"""JSON of any size, decoded a window at a time: long lists are read again when asked for instead of being kept.

A list whose text is longer than `KEPT` characters becomes `Elements`, which decodes one element after another. So a
large result costs its own bytes and what its reader keeps, at two passes over the bytes. A list of up to `FEW` elements
is kept, for it may only wrap what is long: `[result]`, `[segments, info]`, one segment with all the words.
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
# A list is searched for in objects down to here: `{result: {segments: []}}`, `{results: {speaker_labels: {}}}`.
DEPTH = 4
Source = bytes | bytearray | memoryview | mmap.mmap

# Not JSON, but can be converted to it.
_FOREIGN = {
    codecs.BOM_UTF16_LE: "they are UTF-16, to be converted first",
    codecs.BOM_UTF16_BE: "they are UTF-16, to be converted first",
    b"\x1f\x8b": "they are compressed by gzip",
    b"PK\x03\x04": "they are a ZIP archive",
}
_BLANKS = re.compile(r"[ \t\r\n]*")
# Longer than any token but a string can be when the window cuts it: `-Infinity`, two escapes of a surrogate pair.
_LONGEST_CUT = 16
# What of a number the window can cut off so that the rest is still one: `.`, `e`, `e-`.
_LONGEST_TAIL = 3


def _integer(digits: str) -> int | float:
    # Python refuses to convert more than 4300 digits; such a number is neither a time nor an identifier.
    return int(digits) if len(digits) < 400 else float(digits)


_DECODER = json.JSONDecoder(strict=False)  # whisper.cpp does not escape control characters
_PATIENT = json.JSONDecoder(strict=False, parse_int=_integer)


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
    """Return the value of a JSON text in UTF-8. Raises InvalidInput, naming the byte, for any other bytes."""
    start = 3 if bytes(source[:3]) == codecs.BOM_UTF8 else 0
    # whisper.cpp cuts a character between two tokens: no UTF-8 until the tokens are joined again.
    errors = "surrogateescape" if b'"transcription"' in bytes(source[: 1 << 14]) else "strict"
    reader = _Reader(source, start, errors)
    for beginning, reason in _FOREIGN.items():
        if bytes(source[: len(beginning)]) == beginning:
            raise reader.refusal(reason)
    if not reader.peek():
        raise reader.refusal("there is nothing in them")
    found = reader.document(0)
    if reader.peek():
        raise reader.refusal("there is something after the end")
    return found


class _Reader:
    def __init__(self, source: Source, start: int, errors: str) -> None:
        self._source, self._errors = source, errors
        self._next = start  # the byte where what comes after the window begins
        self._counted = 0, start  # a place in the window and its byte
        self._text, self._index = "", 0
        self._passed = 0

    def refusal(self, reason: str) -> InvalidInput:
        return InvalidInput(
            f"These bytes are not valid JSON in UTF-8 (byte {self._byte()}: {reason}); give the "
            f"recogniser's output as it came."
        )

    def _byte(self) -> int:
        # Counted on from where it was asked last: a source may hold millions of lists.
        at, byte = self._counted
        self._counted = self._index, byte + len(self._text[at : self._index].encode("utf-8", self._errors))
        return self._counted[1]

    def _more(self) -> bool:
        """Move the window on; False at the end of the source."""
        if self._next >= len(self._source):
            return False
        begin = self._byte()
        self._passed += self._index
        rest = self._text[self._index :]
        # A value longer than the window doubles it, so that the work stays in proportion.
        end = self._next + max(WINDOW, len(rest))
        window, final = bytes(self._source[self._next : end]), end >= len(self._source)
        try:
            text, used = codecs.utf_8_decode(window, self._errors, final)
        except UnicodeDecodeError as error:
            raise self.refusal(f"byte {self._next + error.start} is not UTF-8") from error
        self._next += used
        self._text, self._index, self._counted = rest + text, 0, (0, begin)
        return True

    def peek(self) -> str:
        """Return the next character that is not blank, '' at the end."""
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
            raise self.refusal(f"{found or 'the end'!r} where one of {expected!r} belongs")
        self._index += 1
        return found

    def value(self) -> Any:
        """Return the next value, whole."""
        self.peek()
        decoder = _DECODER
        while True:
            try:
                found, end = decoder.raw_decode(self._text, self._index)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - _LONGEST_CUT
                if cut and self._more():
                    continue
                raise self.refusal(error.msg) from error
            except RecursionError as error:
                raise self.refusal("it is nested too deeply") from error
            except ValueError:
                # An integer of thousands of digits: read once more by the slower decoder, which bears it.
                decoder = _PATIENT
                continue
            if end > len(self._text) - _LONGEST_TAIL and self._more():
                continue  # a number may go on
            self._index = end
            return found

    def document(self, depth: int) -> Any:
        """Return the next value with its long lists left in the source."""
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
                raise self.refusal("a name in quotes belongs here")
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
        """Yield the elements of the list that begins here; the first `FEW` of a list less deep with theirs left out."""
        self._take("[")
        if self.peek() == "]":
            self._take("]")
            return
        for number in itertools.count():
            yield self.document(depth) if number < FEW else self.value()
            if self._take(",]") == "]":
                return
