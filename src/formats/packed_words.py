"""A compact sequence of words: as separate objects, a long result takes several times its size in memory."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

from src.formats.segments import Word

ABSENT = -1
_PART = 4096


class Words(Sequence[Word]):
    """A sequence that creates each `Word` on access. Equal to any sequence of equal words.

    Takes about 24 bytes per word, plus the text. Prefer iteration: an access by index unpacks all the words.
    """

    __slots__ = ("_count", "_numbers", "_speakers", "_texts")

    def __init__(self, words: Iterable[Word]) -> None:
        kept = list(words)
        self._count = len(kept)
        # Texts contain no NUL: `Reading` replaces it.
        self._texts = "\0".join([word.text for word in kept])
        times = [ABSENT if time is None else time for word in kept for time in (word.start_ms, word.end_ms)]
        confidence = [math.nan if word.confidence is None else word.confidence for word in kept]
        self._numbers = struct.pack(f"={len(times)}q{len(confidence)}d", *times, *confidence)
        # Interned names: in the source, every word has its own copy.
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
            start, end, confidence = numbers[2 * index], numbers[2 * index + 1], numbers[2 * count + index]
            yield Word(
                text,
                None if start == ABSENT else start,
                None if end == ABSENT else end,
                None if math.isnan(confidence) else confidence,
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
        return len(self) == len(other) and all(left == right for left, right in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash((self._texts, self._numbers, self._speakers))

    def __repr__(self) -> str:
        return f"Words({list(self)!r})"


def in_parts(words: Iterable[Word]) -> Iterator[Words]:
    """Yield the words packed, in parts of `_PART` words, so that they are never all unpacked in memory."""
    remaining = iter(words)
    while part := Words(islice(remaining, _PART)):
        yield part
