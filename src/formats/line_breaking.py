"""Line breaking of texts, in scripts with and without spaces between words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from src.formats.segments import UNSTORABLE
from src.formats.whisper_variants import UNSPACED

# Not allowed at the beginning of a line: closing marks, and small letters that belong to the character before them.
_NOT_FIRST = frozenset("、。，．・：；？！）］｝」』】〉》〕ーっッゃゅょャュョァィゥェォ々…,.:;?!)]}%")
_NOT_LAST = frozenset("（［｛「『【〈《〔([{")
_UNIT = re.compile(r" ?[^ ]+")
_JOINING = "\u200d\u2060"  # ZERO WIDTH JOINER (emoji sequences) and WORD JOINER, which prohibits a break


class Line(NamedTuple):
    """A range of a text, from `begin` (inclusive) to `end` (exclusive), without surrounding spaces."""

    begin: int
    end: int


def clean(text: str) -> str:
    """Return a text in one line: runs of white space become one space, NUL and surrogates become U+FFFD."""
    return " ".join(UNSTORABLE.sub("\ufffd", text).split())


def width(text: str) -> int:
    """Return the width of a text in columns: 2 for a wide character, 0 for a combining one, 1 for others."""
    return len(text) if text.isascii() else sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def lines(text: str, columns: int, first: int | None = None) -> list[Line]:
    """Break a text in one line (`clean`) into lines of at most `columns`; `first` is the width left in the first line.

    A word longer than a line is split. No character is omitted except spaces at breaks.
    """
    found: list[Line] = []
    left = columns if first is None else first
    begin = end = used = 0
    for unit in _units(text):
        blank = text[unit.begin] == " "
        size = width(text[unit.begin : unit.end])
        if end > begin and used + size <= left:
            end, used = unit.end, used + size
            continue
        if end > begin:
            found.append(Line(begin, end))
            left = columns
        begin = unit.begin + blank
        for cut in _cuts(text, begin, unit.end, left if found else max(left, 1), columns):
            found.append(Line(begin, cut))
            begin, left = cut, columns
        end, used = unit.end, width(text[begin : unit.end])
    return [*found, Line(begin, end)] if end > begin else found


def _units(text: str) -> Iterator[Line]:
    """Yield the unbreakable units with the space before each: words, or characters in scripts without spaces."""
    for word in _UNIT.finditer(text):
        begin = word.start()
        if UNSPACED.search(word[0]) is None:
            yield Line(begin, word.end())
            continue
        for position in range(word.start() + 1, word.end()):
            if position - begin > (text[begin] == " ") and _may_break(text, position):
                yield Line(begin, position)
                begin = position
        yield Line(begin, word.end())


def _may_break(text: str, position: int) -> bool:
    before, after = text[position - 1], text[position]
    if not (UNSPACED.match(before) or UNSPACED.match(after)) or before in _NOT_LAST or after in _NOT_FIRST:
        return False
    return _whole(before, after)


def _whole(before: str, after: str) -> bool:
    """Whether a break between two characters splits neither a joined sequence nor a combining character."""
    return before not in _JOINING and after not in _JOINING and unicodedata.category(after) not in {"Mn", "Mc", "Me"}


def _cuts(text: str, begin: int, end: int, left: int, columns: int) -> Iterator[int]:
    """Yield the positions at which a unit longer than a line is split."""
    used = 0
    for position in range(begin, end):
        size = _columns(text[position])
        if used + size > left and position > begin and _whole(text[position - 1], text[position]):
            yield position
            used, left = 0, columns
        used += size


def grouped(found: Sequence[Line], most: int) -> list[Sequence[Line]]:
    """Return the lines in groups of at most `most` lines."""
    return [found[start : start + most] for start in range(0, len(found), most)]
