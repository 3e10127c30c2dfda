"""What differs between two versions, word by word, with times.

Words that are rare enough to be unique on both sides, in runs of three first, tie the two together; what lies between
the ties is compared in the same way, and at last by `difflib`. So three hours of speech take a second and not minutes.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from sqlalchemy.orm import Session

from src.database.models import Transcription
from src.errors import InvalidInput
from src.formats.values import Segment
from src.services.lookup import in_session
from src.services.transcripts.text_reading import note_read, stored_segments

# Scripts without blanks between words are compared sign by sign.
_SIGNS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORDS = re.compile(rf"[{_SIGNS}]|[^\s{_SIGNS}]+")
# Pairs of equal words that difflib may have to look at between two ties; beyond them the passages share nothing but
# what every text holds, and are told as replaced.
MOST_PAIRS = 400_000
_RUN = 3

Operation = Literal["equal", "insert", "delete", "replace"]
_Block = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word and when it was said: its own times where it has some, else those of its segment."""

    text: str
    start_ms: int | None
    end_ms: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """A passage of two versions: `before` is what the first says there, `after` what the second does."""

    operation: Operation
    before: tuple[Spoken, ...]
    after: tuple[Spoken, ...]

    @property
    def start_ms(self) -> int | None:
        """When the passage begins, by the second version, else by the first; None where no word has a time."""
        return next((word.start_ms for word in (*self.after, *self.before) if word.start_ms is not None), None)

    @property
    def end_ms(self) -> int | None:
        """When the passage ends, by the same rule."""
        words = self.after if any(word.end_ms is not None for word in self.after) else self.before
        return next((word.end_ms for word in reversed(words) if word.end_ms is not None), None)

    def __str__(self) -> str:
        was, is_now = (" ".join(word.text for word in words) for words in (self.before, self.after))
        return {"equal": f"  {is_now}", "insert": f"+ {is_now}", "delete": f"- {was}"}.get(
            self.operation, f"- {was}\n+ {is_now}"
        )


def diff(session: Session, before: Transcription, after: Transcription) -> list[Change]:
    """Return what is the same and what differs, in order: joined, the passages are all words of both versions.

    Words are compared as they are written, those of Chinese, Japanese, Thai, Lao, Burmese and Khmer sign by sign. The
    two versions may be of different languages or recognisers, but are of one recording.

    Raises InvalidInput for versions of two recordings, NotFound for one that is not the actor's.
    """
    before, after = in_session(session, before), in_session(session, after)
    if before.audio_file_id != after.audio_file_id:
        raise InvalidInput("These are versions of two recordings; compare versions of one.")
    sides = []
    for transcription in (before, after):
        note_read(session, transcription)
        sides.append(list(spoken_words(stored_segments(session, transcription))))
    return compare(*sides)


def spoken_words(segments: Iterable[Segment]) -> Iterator[Spoken]:
    """Yield the words of segments; of one without words, those of its text."""
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
    """Return the passages by which one sequence of words becomes the other."""
    numbers: dict[str, int] = {}
    mine, theirs = ([numbers.setdefault(word.text, len(numbers)) for word in words] for words in (before, after))
    changes: list[Change] = []
    at = other = 0
    for start, start_after, length in (*_joined(_matches(mine, theirs)), (len(mine), len(theirs), 0)):
        was, is_now = tuple(before[at:start]), tuple(after[other:start_after])
        if was or is_now:
            changes.append(Change("replace" if was and is_now else "delete" if was else "insert", was, is_now))
        at, other = start + length, start_after + length
        if length:
            changes.append(Change("equal", tuple(before[start:at]), tuple(after[start_after:other])))
    return changes


def _joined(matches: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Join matches that follow one another on both sides."""
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
    """Yield (place, place, length) of what is equal, in order."""
    waiting: list[tuple[_Block, int]] = [((0, len(mine), 0, len(theirs)), _RUN)]
    while waiting:
        (low, high, first, last), run = waiting.pop()
        if run == 0:
            yield low, first, high - low
            continue
        head = _common(mine, theirs, (low, high, first, last), 1)
        tail = _common(mine, theirs, (low + head, high, first + head, last), -1)
        inner = (low + head, high - tail, first + head, last - tail)
        # Taken from the end: what comes first is put there last. A run of 0 stands for words that are equal.
        if tail:
            waiting.append(((high - tail, high, last - tail, last), 0))
        waiting += _between(mine, theirs, inner, run)
        if head:
            waiting.append(((low, low + head, first, first + head), 0))


def _between(mine: Sequence[int], theirs: Sequence[int], block: _Block, run: int) -> list[tuple[_Block, int]]:
    """Cut a block, which begins and ends differently, at its ties; in reverse order."""
    low, high, first, last = block
    if low == high or first == last:
        return []
    ties = _ties(mine, theirs, block, run)
    if not ties:
        if run > 1:
            return [(block, 1)]
        return [(found, 0) for found in reversed(_small(mine, theirs, block))]
    cut: list[tuple[_Block, int]] = []
    for place, other in ties:
        cut.append(((low, place, first, other), run))
        cut.append(((place, place + 1, other, other + 1), 0))
        low, first = place + 1, other + 1
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


def _ties(mine: Sequence[int], theirs: Sequence[int], block: _Block, run: int) -> list[tuple[int, int]]:
    """Places of runs of words that are unique on both sides and stand in the same order on both."""
    low, high, first, last = block
    places, others = _unique(mine, low, high, run), _unique(theirs, first, last, run)
    pairs = [(place, others[words]) for words, place in places.items() if words in others]
    # The longest sequence that rises on both sides, by patience.
    tops: list[int] = []
    piles: list[int] = []
    before: list[int] = []
    for number, (_, other) in enumerate(pairs):
        pile = bisect_left(tops, other)
        tops[pile : pile + 1] = [other]
        piles[pile : pile + 1] = [number]
        before.append(piles[pile - 1] if pile else -1)
    found = []
    number = piles[-1] if piles else -1
    while number >= 0:
        found.append(pairs[number])
        number = before[number]
    return found[::-1]


def _unique(words: Sequence[int], low: int, high: int, run: int) -> dict[tuple[int, ...], int]:
    runs = list(zip(*(words[low + shift : high] for shift in range(run)), strict=False))
    often = Counter(runs)
    return {each: place for place, each in enumerate(runs, low) if often[each] == 1}


def _small(mine: Sequence[int], theirs: Sequence[int], block: _Block) -> list[_Block]:
    low, high, first, last = block
    here, there = mine[low:high], theirs[first:last]
    often, others = Counter(here), Counter(there)
    if sum(count * others[word] for word, count in often.items()) > MOST_PAIRS:
        return []
    matcher = SequenceMatcher(None, here, there, autojunk=False)
    return [
        (low + match.a, low + match.a + match.size, first + match.b, first + match.b + match.size)
        for match in matcher.get_matching_blocks()
        if match.size
    ]
