"""Words of a segment in few bytes: a long result would else cost several times its size in small objects."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

from src.formats.values import Word

ABSENT = -1
_PART = 4096


class Words(Sequence[Word]):
    """A sequence of words that makes each `Word` when asked for it. Equal to any sequence of equal words.

    About 24 bytes and the text for a word. Iterate: an access by index reads the segment from its beginning.
    """

    __slots__ = ("_count", "_numbers", "_speakers", "_texts")

    def __init__(self, words: Iterable[Word]) -> None:
        kept = list(words)
        self._count = len(kept)
        # NUL is in no text: `Reading` replaces it.
        self._texts = "\0".join([word.text for word in kept])
        times = [ABSENT if time is None else time for word in kept for time in (word.start_ms, word.end_ms)]
        sure = [math.nan if word.confidence is None else word.confidence for word in kept]
        self._numbers = struct.pack(f"={len(times)}q{len(sure)}d", *times, *sure)
        # One object for each name: of the source, every word brings its own.
        names = {word.speaker: word.speaker for word in kept}
        self._speakers = tuple(names[word.speaker] for word in kept) if names.keys() - {None} else None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Word]:
        if not self._count:
            return
        count = self._count
        numbers = struct.unpack(f"={2 * count}q{count}d", self._numbers)
        speakers = self._speakers or (None,) * count
        for index, (text, speaker) in enumerate(zip(self._texts.split("\0"), speakers, strict=True)):
            start, end, sure = numbers[2 * index], numbers[2 * index + 1], numbers[2 * count + index]
            yield Word(
                text,
                None if start == ABSENT else start,
                None if end == ABSENT else end,
                None if math.isnan(sure) else sure,
                speaker,
            )

    @overload
    def __getitem__(self, index: int) -> Word: ...
    @overload
    def __getitem__(self, index: slice) -> list[Word]: ...
    def __getitem__(self, index: int | slice) -> Word | list[Word]:
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash((self._texts, self._numbers, self._speakers))

    def __repr__(self) -> str:
        return f"Words({list(self)!r})"


def in_parts(words: Iterable[Word]) -> Iterator[Words]:
    """Yield the words packed, some thousand at a time, so that they never all are there as they are."""
    remaining = iter(words)
    while part := Words(islice(remaining, _PART)):
        yield part
