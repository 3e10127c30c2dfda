"""Amazon Transcribe: batch (seconds as text) and Call Analytics (milliseconds, PascalCase)."""

from __future__ import annotations

from typing import Any

from src.formats.values import Parsed, Reading, Segment, Word, listed, named


def parse_call_analytics(document: dict[str, Any]) -> Parsed:
    """Read Call Analytics: a segment per turn, its role as the speaker. Raises InvalidInput that names the place."""
    segments = []
    for index, value in enumerate(listed(document.get("Transcript"), "Transcript")):
        reading = Reading(f"segment {index}")
        turn = named(value, reading.place)
        words = []
        for number, item in enumerate(listed(turn.get("Items"), f"{reading.place}, Items")):
            place = f", word {number}"
            raw = named(item, reading.place + place)
            times = reading.span(raw.get("BeginOffsetMillis"), raw.get("EndOffsetMillis"), 1, place)
            # Punctuation carries 0.0, which is no judgement of the recogniser.
            sure = None if raw.get("Type") == "punctuation" else raw.get("Confidence")
            words.append(Word(reading.text(raw.get("Content"), place), *times, reading.confidence(sure, place)))
        start_ms, end_ms = reading.span(turn.get("BeginOffsetMillis"), turn.get("EndOffsetMillis"), 1)
        text = reading.text(turn.get("Content"))
        speaker = reading.text(turn.get("ParticipantRole"), ", speaker") or None
        segments.append(Segment(text, start_ms, end_ms, speaker, words, flags=tuple(reading.flags)))
    language = Reading("LanguageCode").text(document.get("LanguageCode")) or None
    return Parsed("amazon-call-analytics", segments, language)


def parse_batch(document: dict[str, Any]) -> Parsed:
    """Read a batch result; a segment ends at a change of speaker and after a sentence. Raises InvalidInput."""
    results = named(document.get("results"), "results")
    channels = listed(named(results.get("channel_labels") or {}, "channel_labels").get("channels"), "channels")
    tracks: list[tuple[str | None, list[Any]]] = [(None, listed(results.get("items"), "items"))]
    if channels:
        tracks = []
        for number, value in enumerate(channels):
            channel = named(value, f"channel {number}")
            label = Reading(f"channel {number}").text(channel.get("channel_label")) or None
            tracks.append((label, listed(channel.get("items"), f"channel {number}, items")))
    spoken = _speakers(results)
    segments: list[Segment] = []
    for label, items in tracks:
        segments += _sentences(items, label, spoken, len(segments))
    language = Reading("language_code").text(results.get("language_code")) or None
    return Parsed("amazon-batch", segments, language)


def _speakers(results: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """Who speaks from when to when, where the items do not say it themselves."""
    labels = named(results.get("speaker_labels") or {}, "speaker_labels")
    spoken = {}
    for number, value in enumerate(listed(labels.get("segments"), "speaker_labels, segments")):
        turn = named(value, f"speaker_labels, segment {number}")
        for raw in listed(turn.get("items"), f"speaker_labels, segment {number}, items"):
            item = named(raw, f"speaker_labels, segment {number}, item")
            spoken[(str(item.get("start_time")), str(item.get("end_time")))] = item.get("speaker_label")
    return spoken


def _sentences(items: list[Any], label: str | None, spoken: dict[tuple[str, str], Any], first: int) -> list[Segment]:
    segments: list[Segment] = []
    words: list[Word] = []
    text, speaker, ended = "", label, False
    reading = Reading(f"segment {first}")

    def close() -> None:
        nonlocal reading
        times = [word for word in words if word.start_ms is not None]
        start_ms, end_ms = (times[0].start_ms, times[-1].end_ms) if times else (None, None)
        segments.append(Segment(text, start_ms, end_ms, speaker, list(words), flags=tuple(reading.flags)))
        words.clear()
        reading = Reading(f"segment {first + len(segments)}")

    for value in items:
        raw = named(value, f"{reading.place}, word {len(words)}")
        punctuation = raw.get("type") == "punctuation"
        who = raw.get("speaker_label") or spoken.get((str(raw.get("start_time")), str(raw.get("end_time"))))
        mine = (reading.text(who, ", speaker") or label) if not punctuation else speaker
        if words and not punctuation and (ended or mine != speaker):
            close()
            text = ""
        speaker, place = mine, f", word {len(words)}"
        choices = listed(raw.get("alternatives"), f"{reading.place}{place}, alternatives")
        best = named(choices[0], f"{reading.place}{place}") if choices else {}
        content = reading.text(best.get("content"), place)
        times = reading.span(raw.get("start_time"), raw.get("end_time"), 1000, place)
        sure = None if punctuation else best.get("confidence")
        words.append(Word(content, *times, reading.confidence(sure, place)))
        text += content if punctuation or not text else f" {content}"
        ended = punctuation and content in {".", "?", "!", "。", "؟"}
    if words:
        close()
    return segments
