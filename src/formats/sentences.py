"""Grouping of single words into segments, which end at the end of a sentence, a change of speaker or a pause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from src.formats import quality
from src.formats.segments import Reading, Segment, Word

ENDS = frozenset(".?!…。？！؟۔।")
PAUSE_MS = 2000
# Without this limit, a recording without punctuation and pauses would be a single segment.
MOST_WORDS = 120
FARTHEST = 20


class Sentences:
    """Builds segments from words in their order; `reading` belongs to the open segment."""

    def __init__(self, first: int = 0) -> None:
        self._number = first
        self._open()

    def _open(self) -> None:
        self.reading = Reading(f"segment {self._number}")
        self.words: list[Word] = []
        self._text = ""
        self._ended = False
        self.speaker: str | None = None

    def ends_before(self, speaker: str | None, start_ms: int | None) -> bool:
        """Whether the open segment ends before a word of this speaker and time."""
        if not self.words:
            return False
        last = self.words[-1].end_ms
        paused = start_ms is not None and last is not None and start_ms - last >= PAUSE_MS
        return self._ended or paused or speaker != self.speaker or len(self.words) >= MOST_WORDS

    def add(self, word: Word, speaker: str | None, space: str = "") -> None:
        self.speaker = speaker
        self._text += (space if self._text else "") + word.text
        self.words.append(word)
        self._ended = word.text.rstrip()[-1:] in ENDS

    def close(self) -> Iterator[Segment]:
        """End the open segment and yield it, if it has words."""
        if not self.words:
            return
        start_ms, end_ms = extent(self.words)
        quality.doubt(self.reading, {}, self._text, None, self.words)
        yield Segment(self._text, start_ms, end_ms, self.speaker, self.words, flags=tuple(self.reading.flags))
        self._number += 1
        self._open()


def cut(text: str, words: Sequence[Word]) -> list[tuple[str, Sequence[Word]]]:
    """Split a text between its words at ends of sentences and pauses; the joined parts equal the text.

    Returns a single part if the text does not contain all the words in their order.
    """
    places: list[tuple[int, int]] = []
    for word in words:
        spoken = word.text.strip()
        after = places[-1][1] if places else 0
        begin = text.find(spoken, after, after + len(spoken) + FARTHEST)
        if begin < 0:
            return [(text, words)]
        places.append((begin, begin + len(spoken)))
    parts: list[tuple[str, Sequence[Word]]] = []
    start = first = 0
    for number in range(1, len(words)):
        (_, end), (begin, _) = places[number - 1], places[number]
        last, following = words[number - 1].end_ms, words[number].start_ms
        paused = last is not None and following is not None and following - last >= PAUSE_MS
        if paused or not ENDS.isdisjoint(text[end - 1 : begin]) or number - first >= MOST_WORDS:
            # A space belongs to the word after it, as in Whisper's output.
            border = begin - (text[begin - 1 : begin].isspace())
            parts.append((text[start:border], words[first:number]))
            start, first = border, number
    return [*parts, (text[start:], words[first:])]


def extent(words: Sequence[Word]) -> tuple[int | None, int | None]:
    """Return the earliest start and the latest end of the words in milliseconds; None where unknown."""
    starts = [word.start_ms for word in words if word.start_ms is not None]
    ends = [word.end_ms for word in words if word.end_ms is not None]
    start_ms = min(starts, default=None)
    end_ms = max([*ends, *starts], default=None) if ends else None
    return start_ms, end_ms
