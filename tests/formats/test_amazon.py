"""Amazon Transcribe: every item is kept in order, and confidences are kept only for items that have one."""

from __future__ import annotations

import json

from src import formats


def test_every_item_of_a_real_batch_is_kept(shared_data):
    content = (shared_data / "amazon" / "batch.json").read_bytes()
    results, parsed = json.loads(content)["results"], formats.parse(content)
    words = [word for segment in parsed.segments for word in segment.words]

    assert [w.text for w in words] == [item["alternatives"][0]["content"] for item in results["items"]]
    assert [w.start_ms for w in words] == [
        round(float(item["start_time"]) * 1000) if "start_time" in item else None for item in results["items"]
    ]
    assert sum(w.confidence is not None for w in words) == 1791
    # One sentence with words of low confidence.
    assert [(s.text, s.flags) for s in parsed.segments if s.flags] == [("That's it.", ("low_confidence",))]


def test_every_turn_of_a_real_call_is_kept(shared_data):
    content = (shared_data / "amazon" / "call-analytics.json").read_bytes()
    turns, parsed = json.loads(content)["Transcript"], formats.parse(content)

    assert parsed.language == "en-US"
    assert [(s.text, s.start_ms, s.end_ms, s.speaker) for s in parsed.segments] == [
        (t["Content"], t["BeginOffsetMillis"], t["EndOffsetMillis"], t["ParticipantRole"]) for t in turns
    ]
    words = [word for segment in parsed.segments for word in segment.words]
    assert [w.text for w in words] == [item["Content"] for turn in turns for item in turn["Items"]]
    assert all(w.confidence is None for w in words if w.text == "[PII]")


def test_speakers_channels_and_redactions():
    def item(content, start, **more):
        return {"type": "pronunciation", "start_time": start, "end_time": start,
                "alternatives": [{"content": content, **more}]}  # fmt: skip

    items = [item("a", "0.5", confidence="0.9"), item("[PII]", "1.0", redactions=[{"confidence": "0.8"}])]
    turns = [{"items": [{"start_time": t, "end_time": t, "speaker_label": s}]} for t, s in (("0.5", "A"), ("1.0", "B"))]
    by_speaker = formats.parse({"results": {"items": items, "speaker_labels": {"segments": turns}}})
    channels = [{"channel_label": f"ch_{n}", "items": [one]} for n, one in enumerate(items)]
    by_channel = formats.parse({"results": {"items": items, "channel_labels": {"channels": channels}}})

    assert [(s.speaker, s.text, s.words[0].confidence) for s in by_speaker.segments] == [
        ("A", "a", 0.9), ("B", "[PII]", None)
    ]  # fmt: skip
    assert [(s.speaker, s.start_ms) for s in by_channel.segments] == [("ch_0", 500), ("ch_1", 1000)]


def item(content, start=None, **more):
    times = {} if start is None else {"start_time": str(start), "end_time": str(start + 0.5)}
    kind = "punctuation" if start is None else "pronunciation"
    return {"type": kind, **times, "alternatives": [{"content": content, "confidence": "0.9"}], **more}


def batch(*items, **more):
    return formats.parse({"results": {"transcripts": [{"transcript": "x"}], "items": list(items), **more}})


def test_channels_that_overlap_are_merged_by_time():
    channels = [
        {"channel_label": "ch_0", "items": [item("a", 0), item("."), item("c", 5)]},
        {"channel_label": "ch_1", "items": [item("b", 0.2), item("d", 5.1)]},
    ]
    segments = batch(channel_labels={"channels": channels}).segments

    assert [(s.speaker, s.text, s.start_ms) for s in segments] == [
        ("ch_0", "a.", 0), ("ch_1", "b", 200), ("ch_0", "c", 5000), ("ch_1", "d", 5100)
    ]  # fmt: skip


def test_audio_segments_are_kept_with_every_item():
    items = [item("a", 0, id=0), item("b", 4, id=1), item(".", id=2), item("c", 9, id=3), item("d", 10, id=4)]
    parts = [{"id": 0, "transcript": "a b.", "items": [0, 1, 2]}, {"id": 1, "transcript": "c d", "items": [3, 4]}]

    assert [s.text for s in batch(*items, audio_segments=parts).segments] == ["a b.", "c d"]
    assert [s.text for s in batch(*items, audio_segments=parts[:1]).segments] == ["a b. c d"]
    assert [s.text for s in batch(*items).segments] == ["a", "b.", "c d"]


def test_the_language_and_its_probability():
    guesses = [{"score": "0.2", "code": "en-US"}, {"score": "0.8", "code": "de-DE"}]
    parsed = batch(item("a", 0), language_identification=guesses)
    assert (parsed.language, parsed.language_code, parsed.language_probability) == ("de-DE", "de-DE", 0.8)
    assert batch(item("a", 0), language_identification=guesses, language_code="en-US").language_probability == 0.2
    assert batch(item("a", 0), language_code="en-US").language_probability is None


def test_a_transcript_without_items_is_not_lost():
    assert [(s.text, s.start_ms) for s in batch().segments] == [("x", None)]


def test_a_recording_without_punctuation_or_pauses_is_divided():
    segments = batch(*[item("a", n) for n in range(300)]).segments

    assert [len(segment.words) for segment in segments] == [120, 120, 60]
