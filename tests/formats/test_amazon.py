"""Amazon Transcribe: every item accounted for, in order; confidences only where there are any."""

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
    # One sentence whose words the recogniser itself was not sure of.
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
