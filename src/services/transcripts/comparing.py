"""Word-level diff of two versions, with times.

A patience diff: runs of three words, then single words, that are unique on both sides are anchors; the blocks between
anchors are compared in the same way, and finally by `difflib`. Three hours of speech take a second instead of minutes.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Literal

from sqlalchemy.orm import Session

from src.database.connection.access_log import notes_itself
from src.database.models import Transcription
from src.errors import InvalidInput
from src.formats.segments import Segment
from src.services.parameters import in_session, row_of
from src.services.transcripts.text_reading import note_reads, stored_segments

# Scripts without spaces between words are compared character by character.
_SIGNS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORDS = re.compile(rf"[{_SIGNS}]|[^\s{_SIGNS}]+")
# The limit of pairs of equal words that difflib compares between two anchors; beyond it the passages share only common
# words, and are reported as replaced.
MOST_PAIRS = 400_000
_RUN = 3

Operation = Literal["equal", "insert", "delete", "replace"]
_Block = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word with its times, or else those of its segment."""

    text: str = field(repr=False)
    start_ms: int | None
    end_ms: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """A passage of two versions: `before` are the words of the first one, `after` those of the second."""

    operation: Operation
    before: tuple[Spoken, ...]
    after: tuple[Spoken, ...]

    @property
    def start_ms(self) -> int | None:
        """The start of the passage in the second version, else in the first; None when no word has a time."""
        return next((word.start_ms for word in (*self.after, *self.before) if word.start_ms is not None), None)

    @property
    def end_ms(self) -> int | None:
        """The end of the passage, by the same rule."""
        words = self.after if any(word.end_ms is not None for word in self.after) else self.before
        return next((word.end_ms for word in reversed(words) if word.end_ms is not None), None)

    def __str__(self) -> str:
        old, new = (" ".join(word.text for word in words) for words in (self.before, self.after))
        return {"equal": f"  {new}", "insert": f"+ {new}", "delete": f"- {old}"}.get(
            self.operation, f"- {old}\n+ {new}"
        )


@notes_itself
def diff(session: Session, before: Transcription | int, after: Transcription | int) -> list[Change]:
    """Return equal and different passages in order; together they contain all words of both versions.

    Words are compared literally, those of Chinese, Japanese, Thai, Lao, Burmese and Khmer character by character. The
    two versions may differ in language and recogniser, but must belong to the same recording.

    Raises InvalidInput for versions of two recordings, NotFound for a version that the actor may not see.
    """
    after = row_of(Transcription, after)
    before = row_of(Transcription, before)
    before, after = in_session(session, before), in_session(session, after)
    if before.audio_file_id != after.audio_file_id:
        raise InvalidInput(
            "before and after: versions of two recordings; give versions of the same recording.", field="before"
        )
    note_reads(session, [before, after] if before is not after else [after])
    return compare(*(list(spoken_words(stored_segments(session, each))) for each in (before, after)))


def spoken_words(segments: Iterable[Segment]) -> Iterator[Spoken]:
    """Yield the words of segments; for a segment without words, the words of its text."""
    for segment in segments:
        for word in segment.words or ():
            start = word.start_ms if word.start_ms is not None else segment.start_ms
            end = word.end_ms if word.end_ms is not None else segment.end_ms
            for text in _WORDS.findall(word.text):
                yield Spoken(text, start, end)
        if not segment.words:
            for text in _WORDS.findall(segment.text):
                yield Spoken(text, segment.start_ms, segment.end_ms)


def compare(before: Sequence[Spoken], after: Sequence[Spoken]) -> list[Change]:
    """Return the passages that turn one sequence of words into the other."""
    numbers: dict[str, int] = {}
    mine, theirs = ([numbers.setdefault(word.text, len(numbers)) for word in words] for words in (before, after))
    changes: list[Change] = []
    at = other = 0
    for start, start_after, length in (*_joined(_matches(mine, theirs)), (len(mine), len(theirs), 0)):
        old, new = tuple(before[at:start]), tuple(after[other:start_after])
        if old or new:
            changes.append(Change("replace" if old and new else "delete" if old else "insert", old, new))
        at, other = start + length, start_after + length
        if length:
            changes.append(Change("equal", tuple(before[start:at]), tuple(after[start_after:other])))
    return changes


def _joined(matches: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Join matches that are adjacent on both sides."""
    start = start_after = length = 0
    for begin, begin_after, count in matches:
        if length and (begin, begin_after) == (start + length, start_after + length):
            length += count
            continue
        if length:
            yield start, start_after, length
        start, start_after, length = begin, begin_after, count
    if length:
        yield start, start_after, length


def _matches(mine: Sequence[int], theirs: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (index, index, length) of equal runs, in order."""
    stack: list[tuple[_Block, int]] = [((0, len(mine), 0, len(theirs)), _RUN)]
    while stack:
        (low, high, first, last), run = stack.pop()
        if run == 0:
            yield low, first, high - low
            continue
        head = _common(mine, theirs, (low, high, first, last), 1)
        tail = _common(mine, theirs, (low + head, high, first + head, last), -1)
        inner = (low + head, high - tail, first + head, last - tail)
        # Pushed in reverse order. A run of 0 marks equal words.
        if tail:
            stack.append(((high - tail, high, last - tail, last), 0))
        stack += _between(mine, theirs, inner, run)
        if head:
            stack.append(((low, low + head, first, first + head), 0))


def _between(mine: Sequence[int], theirs: Sequence[int], block: _Block, run: int) -> list[tuple[_Block, int]]:
    """Split a block, without common ends, at its anchors; in reverse order."""
    low, high, first, last = block
    if low == high or first == last:
        return []
    anchors = _anchors(mine, theirs, block, run)
    if not anchors:
        if run > 1:
            return [(block, 1)]
        return [(found, 0) for found in reversed(_small(mine, theirs, block))]
    cut: list[tuple[_Block, int]] = []
    for index, other in anchors:
        cut.append(((low, index, first, other), run))
        cut.append(((index, index + 1, other, other + 1), 0))
        low, first = index + 1, other + 1
    cut.append(((low, high, first, last), run))
    return [part for part in reversed(cut) if part[1] == 0 or (part[0][0] < part[0][1] and part[0][2] < part[0][3])]


def _common(mine: Sequence[int], theirs: Sequence[int], block: _Block, step: int) -> int:
    low, high, first, last = block
    most = min(high - low, last - first)
    at, other = (low, first) if step > 0 else (high - 1, last - 1)
    count = 0
    while count < most and mine[at + count * step] == theirs[other + count * step]:
        count += 1
    return count


def _anchors(mine: Sequence[int], theirs: Sequence[int], block: _Block, run: int) -> list[tuple[int, int]]:
    """Return the positions of runs of words that are unique on both sides and in the same order on both."""
    low, high, first, last = block
    ours, others = _unique(mine, low, high, run), _unique(theirs, first, last, run)
    pairs = [(index, others[words]) for words, index in ours.items() if words in others]
    # The longest increasing subsequence, by patience sorting.
    tops: list[int] = []
    piles: list[int] = []
    before: list[int] = []
    for index, (_, other) in enumerate(pairs):
        pile = bisect_left(tops, other)
        tops[pile : pile + 1] = [other]
        piles[pile : pile + 1] = [index]
        before.append(piles[pile - 1] if pile else -1)
    found = []
    index = piles[-1] if piles else -1
    while index >= 0:
        found.append(pairs[index])
        index = before[index]
    return found[::-1]


def _unique(words: Sequence[int], low: int, high: int, run: int) -> dict[tuple[int, ...], int]:
    runs = list(zip(*(words[low + shift : high] for shift in range(run)), strict=False))
    counts = Counter(runs)
    return {each: index for index, each in enumerate(runs, low) if counts[each] == 1}


def _small(mine: Sequence[int], theirs: Sequence[int], block: _Block) -> list[_Block]:
    low, high, first, last = block
    before, after = mine[low:high], theirs[first:last]
    counts, other_counts = Counter(before), Counter(after)
    if sum(count * other_counts[word] for word, count in counts.items()) > MOST_PAIRS:
        return []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    return [
        (low + match.a, low + match.a + match.size, first + match.b, first + match.b + match.size)
        for match in matcher.get_matching_blocks()
        if match.size
    ]
