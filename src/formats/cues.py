"""Subtitle cues: segments divided into texts that fit on a screen, with their times."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from src.formats.line_breaking import clean, grouped, lines, width
from src.formats.segments import LONGEST_MS, Segment, Word

LINES = 2
# The duration of a text without a known end: reading speed, and a minimum.
MS_PER_COLUMN = 60
SHORTEST_MS = 1000
FARTHEST = 40


class Cue(NamedTuple):
    """The lines shown from `start_ms` to `end_ms`; the end is always after the start."""

    start_ms: int
    end_ms: int
    speaker: str | None
    lines: Sequence[str]


class _Timed(NamedTuple):
    start_ms: int
    end_ms: int
    segment: Segment


def cues(segments: Iterable[Segment], columns: int, *, labelled: bool) -> list[Cue]:
    """Return the cues ordered by start. `labelled` puts `Name: ` before the text.

    Segments without text are omitted. A segment without a start begins at the end of the previous one. A segment
    without an end or duration lasts until the next one begins, at most as long as it takes to read.
    """
    timed = _timed([segment for segment in segments if clean(segment.text)])
    return sorted(_cues(timed, columns, labelled=labelled), key=lambda cue: cue.start_ms)


def _cues(timed: Iterable[_Timed], columns: int, *, labelled: bool) -> Iterator[Cue]:
    for start_ms, end_ms, segment in timed:
        text, speaker = clean(segment.text), clean(segment.speaker or "") or None
        label = f"{speaker}: " if labelled and speaker else ""
        shown = grouped(lines(label + text, columns), LINES)
        moments = _moments(text, segment.words or (), start_ms, end_ms)
        begin = start_ms
        for number, group in enumerate(shown):
            last = number + 1 == len(shown)
            until = end_ms if last else _at(moments, shown[number + 1][0].begin - len(label))
            # A cue is shown until the next one; players require a duration of at least a millisecond.
            until = max(until, begin + 1)
            yield Cue(begin, until, speaker, [(label + text)[line.begin : line.end] for line in group])
            begin = until


def _timed(segments: Sequence[Segment]) -> Iterator[_Timed]:
    following: list[int | None] = [None] * len(segments)
    known: int | None = None
    for index in range(len(segments) - 1, -1, -1):
        following[index] = known
        start = segments[index].start_ms
        known = start if start is not None else known
    before = 0
    for segment, after in zip(segments, following, strict=True):
        start, end = segment.start_ms, segment.end_ms
        if start is None:
            start = min(before, end) if end is not None else before
        if end is None or end <= start:
            end = start + max(SHORTEST_MS, width(clean(segment.text)) * MS_PER_COLUMN)
            if after is not None and start < after < end:
                end = after
        before = max(before, end)
        yield _Timed(start, end, segment)


def _moments(text: str, words: Iterable[Word], start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """Return positions in the text with the time in ms at which each is spoken, both ascending."""
    found, position, latest = [(0, start_ms)], 0, start_ms
    for word in words:
        spoken = clean(word.text)
        # A match farther away is another occurrence of the same word.
        begin = text.find(spoken, position, position + 2 * len(spoken) + FARTHEST) if spoken else -1
        if begin < 0:
            continue
        position = begin + len(spoken)
        for place, moment in ((begin, word.start_ms), (position, word.end_ms)):
            if moment is not None and latest <= moment <= end_ms and place > found[-1][0]:
                latest = moment
                found.append((place, moment))
    return [*found, (len(text), end_ms)] if found[-1][0] < len(text) else found


def _at(moments: list[tuple[int, int]], position: int) -> int:
    """Return the time of a position: that of its word, or interpolated between the nearest known times."""
    index = bisect.bisect_right(moments, (position, LONGEST_MS)) - 1
    place, moment = moments[max(index, 0)]
    if index < 0 or index + 1 == len(moments) or place == position:
        return moment
    next_place, next_moment = moments[index + 1]
    return moment + (next_moment - moment) * (position - place) // (next_place - place)
