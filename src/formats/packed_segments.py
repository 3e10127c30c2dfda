"""A compact sequence of segments: as separate objects, a long result takes several times its size in memory."""

from __future__ import annotations

import bisect
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, overload

from src.formats.packed_words import ABSENT, Words
from src.formats.segments import Segment, Word

# The limits of a block: its segments are packed together, and unpacked together on access.
BLOCK_SEGMENTS, BLOCK_WORDS = 256, 4096


class Segments(Sequence[Segment]):
    """A sequence that creates each `Segment` on access. Equal to any sequence of equal segments.

    Takes about 35 bytes per segment, plus the text, plus the size of `Words`. Prefer iteration: an access by index
    unpacks the whole block, unless it is the block of the previous access.
    """

    __slots__ = ("_blocks", "_interned", "_last", "_starts")

    def __init__(self, segments: Iterable[Segment] = ()) -> None:
        self._blocks: list[_Block] = []
        self._starts = [0]
        self._last: tuple[int, Sequence[Segment]] = (-1, ())
        # Interned names and sets of flags: in the source, every segment has its own copy.
        self._interned: dict[Any, Any] = {}
        kept: list[Segment] = []
        words = 0
        for segment in segments:
            added = len(segment.words) if segment.words is not None else 0
            if kept and (len(kept) == BLOCK_SEGMENTS or words + added > BLOCK_WORDS):
                self._pack(kept)
                kept, words = [], 0
            kept.append(segment)
            words += added
        if kept:
            self._pack(kept)

    def _pack(self, segments: list[Segment]) -> None:
        self._blocks.append(_Block(segments, self._interned))
        self._starts.append(self._starts[-1] + len(segments))

    def texts(self) -> Iterator[str]:
        """Yield the texts without creating segments."""
        for block in self._blocks:
            yield from block.texts.split("\0")

    def flag(self, index: int, name: str) -> None:
        """Add a flag to a segment, unless it is already set."""
        number = bisect.bisect_right(self._starts, index) - 1
        self._blocks[number].flag(index - self._starts[number], name, self._interned)
        self._last = (-1, ())

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Segment]:
        for block in self._blocks:
            yield from block.unpack()

    @overload
    def __getitem__(self, index: int) -> Segment: ...
    @overload
    def __getitem__(self, index: slice) -> list[Segment]: ...
    def __getitem__(self, index: int | slice) -> Segment | list[Segment]:
        if isinstance(index, slice):
            return list(self)[index]
        position = range(len(self))[index]
        number = bisect.bisect_right(self._starts, position) - 1
        if self._last[0] != number:
            self._last = (number, list(self._blocks[number].unpack()))
        return self._last[1][position - self._starts[number]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(left == right for left, right in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self.texts()))

    def __repr__(self) -> str:
        return f"Segments({list(self)!r})"


class _Block:
    """Consecutive segments, stored by column."""

    __slots__ = ("_count", "_flags", "_numbers", "_speakers", "_word_counts", "_words", "texts")

    def __init__(self, segments: list[Segment], interned: dict[Any, Any]) -> None:
        count = self._count = len(segments)
        # Texts contain no NUL: `Reading` replaces it.
        self.texts = "\0".join([segment.text for segment in segments])
        times = [ABSENT if time is None else time for each in segments for time in (each.start_ms, each.end_ms)]
        confidence = [math.nan if segment.confidence is None else segment.confidence for segment in segments]
        word_counts = [ABSENT if segment.words is None else len(segment.words) for segment in segments]
        self._numbers = struct.pack(f"={2 * count}q{count}d", *times, *confidence)
        self._word_counts = struct.pack(f"={count}q", *word_counts) if max(word_counts) >= 0 else None
        first = segments[0].words
        if count == 1 and isinstance(first, Words):
            self._words = first
        else:
            self._words = Words(chain.from_iterable(segment.words or () for segment in segments))
        names = [segment.speaker and interned.setdefault(segment.speaker, segment.speaker) for segment in segments]
        self._speakers = names if any(name is not None for name in names) else None
        flags = [interned.setdefault(each, each) for each in (tuple(segment.flags) for segment in segments)]
        self._flags = flags if any(flags) else None

    def flag(self, index: int, name: str, interned: dict[Any, Any]) -> None:
        if self._flags is None:
            self._flags = [()] * self._count
        if name not in self._flags[index]:
            flags = (*self._flags[index], name)
            self._flags[index] = interned.setdefault(flags, flags)

    def unpack(self) -> Iterator[Segment]:
        count = self._count
        numbers = struct.unpack(f"={2 * count}q{count}d", self._numbers)
        word_counts = struct.unpack(f"={count}q", self._word_counts) if self._word_counts else (ABSENT,) * count
        speakers, flags = self._speakers or (None,) * count, self._flags or ((),) * count
        words = iter(self._words)
        for index, (text, word_count) in enumerate(zip(self.texts.split("\0"), word_counts, strict=True)):
            start, end, confidence = numbers[2 * index], numbers[2 * index + 1], numbers[2 * count + index]
            spoken: Sequence[Word] | None = None
            if word_count != ABSENT:
                # A long segment has a block of its own; its words are created one by one during iteration.
                spoken = self._words if count == 1 else list(islice(words, word_count))
            yield Segment(
                text,
                None if start == ABSENT else start,
                None if end == ABSENT else end,
                speakers[index],
                spoken,
                None if math.isnan(confidence) else confidence,
                flags[index],
            )
