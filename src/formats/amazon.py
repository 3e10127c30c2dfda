"""Amazon Transcribe: batch (seconds as text) and Call Analytics (milliseconds, PascalCase)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from src.formats import quality
from src.formats.packed_segments import Segments
from src.formats.segments import Parsed, Reading, Segment, Word, filled, listed, named
from src.formats.sentences import Sentences, extent

Moment = tuple[int | None, int | None]


def parse_call_analytics(document: Mapping[str, Any]) -> Parsed:
    """Parse Call Analytics: one segment per turn, its role as the speaker. Raises InvalidInput with the position."""
    source = listed(document.get("Transcript"), "Transcript")
    segments = Segments(_turn(value, index) for index, value in enumerate(source))
    language = Reading("LanguageCode").text(document.get("LanguageCode")) or None
    return Parsed("amazon-call-analytics", segments, language)


def _turn(value: Any, index: int) -> Segment:
    reading = Reading(f"segment {index}")
    turn = named(value, reading.place)
    words = []
    said = ""
    for number, item in enumerate(listed(turn.get("Items"), f"{reading.place}, Items")):
        place = f", word {number}"
        raw = named(item, reading.place + place)
        times = reading.span(raw.get("BeginOffsetMillis"), raw.get("EndOffsetMillis"), 1, place)
        punctuation = raw.get("Type") == "punctuation"
        # Amazon writes 0.0 for punctuation, which is not a measured confidence.
        confidence = None if punctuation else raw.get("Confidence")
        words.append(Word(reading.text(raw.get("Content"), place), *times, reading.confidence(confidence, place)))
        said += (" " if said and not punctuation else "") + words[-1].text
    start_ms, end_ms = reading.span(turn.get("BeginOffsetMillis"), turn.get("EndOffsetMillis"), 1)
    text = reading.text(turn.get("Content")) or said
    if turn.get("BeginOffsetMillis") is None and turn.get("EndOffsetMillis") is None:
        start_ms, end_ms = extent(words)
    speaker = reading.label(turn.get("ParticipantRole"), ", speaker")
    quality.doubt(reading, {}, text, None, words)
    turn_words = words if turn.get("Items") is not None else None
    return Segment(text, start_ms, end_ms, speaker, turn_words, flags=tuple(reading.flags))


def parse_batch(document: Mapping[str, Any]) -> Parsed:
    """Parse a batch result; a segment ends at a change of speaker, at the end of a sentence and at a pause.

    If the result has `audio_segments`, they determine the segments. Channels are merged by time. Raises InvalidInput.
    """
    results = named(document.get("results"), "results")
    turns = _Turns(results)
    tracks = _tracks(results)
    if len(tracks) == 1:
        segments: Sequence[Segment] = Segments(_sentences(tracks[0][1], tracks[0][0], turns, 0))
    else:
        merged: list[Segment] = []
        for label, items in tracks:
            merged += _sentences(items, label, turns, len(merged))
        segments = sorted(merged, key=lambda segment: segment.start_ms or 0)
    if not segments:
        segments = _texts(results)
    return Parsed("amazon-batch", segments, *_language(results))


def _tracks(results: Mapping[str, Any]) -> list[tuple[str | None, Iterable[Any]]]:
    """Return the items of each channel with its label; all items under None if channels are not separated."""
    tracks: list[tuple[str | None, Iterable[Any]]] = []
    if results.get("channel_labels") is not None:
        channels = listed(named(results["channel_labels"], "channel_labels").get("channels"), "channels")
        for number, value in enumerate(channels):
            channel = named(value, f"channel {number}")
            label = Reading(f"channel {number}").label(channel.get("channel_label"), ", label")
            tracks.append((label, listed(channel.get("items"), f"channel {number}, items")))
    if any(filled(items) for _, items in tracks):
        return tracks
    return [(None, _in_parts(results, listed(results.get("items"), "items")))]


class _SegmentBorder:
    """Marks the border between the items of two `audio_segments`."""


def _in_parts(results: Mapping[str, Any], items: Iterable[Any]) -> Iterable[Any]:
    """Yield the items, with a `_SegmentBorder` where one of the `audio_segments` begins."""
    if not filled(results.get("audio_segments")):
        yield from items
        return
    begins = set()
    for number, value in enumerate(listed(results["audio_segments"], "audio_segments")):
        part = named(value, f"audio segment {number}")
        numbers = list(listed(part.get("items"), f"audio segment {number}, items"))
        begins |= {numbers[0]} if numbers and isinstance(numbers[0], int | str) else set()
    for index, item in enumerate(items):
        raw = named(item, f"item {index}")
        identity = raw.get("id", index)
        if isinstance(identity, int | str) and identity in begins:
            yield _SegmentBorder()
        yield item


class _Turns:
    """The speaker of each item by its times, for items that do not name one. Read on first use."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self._results = results
        self._speakers: dict[Moment, str | None] | None = None

    def speaker(self, item: Mapping[str, Any], place: str) -> str | None:
        if item.get("start_time") is None:
            return None
        if self._speakers is None:
            self._speakers = dict(self._read())
        return self._speakers.get(_item_times(item, place)) if self._speakers else None

    def _read(self) -> Iterator[tuple[Moment, str | None]]:
        labels = self._results.get("speaker_labels")
        turns = named(labels, "speaker_labels").get("segments") if labels is not None else None
        names: dict[str | None, str | None] = {}
        for number, value in enumerate(listed(turns, "speaker_labels, segments")):
            place = f"speaker_labels, segment {number}"
            turn = named(value, place)
            for count, raw in enumerate(listed(turn.get("items"), f"{place}, items")):
                item = named(raw, f"{place}, item {count}")
                name = Reading(place).label(item.get("speaker_label") or turn.get("speaker_label"), ", speaker")
                yield _item_times(item, f"{place}, item {count}"), names.setdefault(name, name)


def _item_times(item: Mapping[str, Any], place: str) -> Moment:
    # Compared as numbers: "12.3" and "12.30" are the same time.
    return Reading(place).span(item.get("start_time"), item.get("end_time"), 1000)


def _sentences(items: Iterable[Any], label: str | None, turns: _Turns, first: int) -> Iterator[Segment]:
    sentences = Sentences(first)
    predefined = False  # whether `audio_segments` determine where segments end
    for value in items:
        if isinstance(value, _SegmentBorder):
            yield from sentences.close()
            predefined = True
            continue
        place = f"{sentences.reading.place}, word {len(sentences.words)}"
        raw = named(value, place)
        punctuation = raw.get("type") == "punctuation"
        name = raw.get("speaker_label") or turns.speaker(raw, place) or raw.get("channel_label")
        speaker = sentences.reading.label(name, ", speaker") or label
        if punctuation and sentences.words:
            speaker = sentences.speaker
        start_ms = Reading(sentences.reading.place).time(raw.get("start_time"), 1000)
        if (
            not punctuation
            and sentences.ends_before(speaker, start_ms)
            and (not predefined or speaker != sentences.speaker)
        ):
            yield from sentences.close()
        reading, place = sentences.reading, f", word {len(sentences.words)}"
        best: Mapping[str, Any] = next(
            (named(choice, reading.place + place) for choice in listed(raw.get("alternatives"), reading.place + place)),
            {},
        )
        times = reading.span(raw.get("start_time"), raw.get("end_time"), 1000, place)
        confidence = None if punctuation else best.get("confidence")
        word = Word(reading.text(best.get("content"), place), *times, reading.confidence(confidence, place))
        sentences.add(word, speaker, "" if punctuation else " ")
    yield from sentences.close()


def _texts(results: Mapping[str, Any]) -> list[Segment]:
    """Return the transcripts without times, for a result without items."""
    found = []
    for number, value in enumerate(listed(results.get("transcripts"), "transcripts")):
        reading = Reading(f"segment {number}")
        text = reading.text(named(value, reading.place).get("transcript"))
        if text:
            found.append(Segment(text, flags=tuple(reading.flags)))
    return found


def _language(results: Mapping[str, Any]) -> tuple[str | None, None, float | None]:
    """Return the language, None for the model, and the score of an identified language; of several, the most spoken."""
    reading = Reading("the result")
    code = reading.text(results.get("language_code"), ", language_code") or None
    best, longest = None, -1.0
    for number, value in enumerate(listed(results.get("language_identification"), "language_identification")):
        guess = named(value, f"language {number}")
        score = reading.confidence(guess.get("score"), f", language {number}")
        name = reading.text(guess.get("code"), f", language {number}") or None
        if (name == code or results.get("language_code") is None) and score is not None and score >= (best or 0):
            code, best = name, score
    if code is None:
        for number, value in enumerate(listed(results.get("language_codes"), "language_codes")):
            spoken = named(value, f"language {number}")
            seconds = reading.number(spoken.get("duration_in_seconds"), "time", f", language {number}") or 0
            if seconds > longest:
                code, longest = reading.text(spoken.get("language_code"), f", language {number}") or None, seconds
    return code, None, best
