"""The Whisper family: every word is kept, and hostile values are normalised or raise errors with their position."""

from __future__ import annotations

import json
import random

import pytest

from src import formats
from src.errors import InvalidInput

NAMES = ["apollo11", "arabic", "bonjour", "empty", "japanese", "radio_short.fr"]


@pytest.mark.parametrize("name", NAMES)
def test_every_segment_word_and_time_of_a_real_output_is_kept(shared_data, name):
    content = (shared_data / "whisper" / f"{name}.words.json").read_bytes()
    raw, parsed = json.loads(content), formats.parse(content)

    assert (parsed.dialect, parsed.language) == ("whisper-timestamped", raw["language"])
    assert [(s.text, s.start_ms, s.end_ms, s.confidence) for s in parsed.segments] == [
        (s["text"], round(s["start"] * 1000), round(s["end"] * 1000), s["confidence"]) for s in raw["segments"]
    ]
    assert [[(w.text, w.start_ms, w.end_ms, w.confidence) for w in s.words] for s in parsed.segments] == [
        [(w["text"], round(w["start"] * 1000), round(w["end"] * 1000), w["confidence"]) for w in s["words"]]
        for s in raw["segments"]
    ]


def test_words_without_times_are_kept_and_no_values_are_invented():
    (segment,) = formats.parse(
        b'{"word_segments": [], "segments": [{"start": "1.5", "end": NaN, "text": "a\\u0000 7", "speaker": "S",'
        b'"words": [{"word": "a", "start": 2, "end": 1, "score": 7}, {"word": "7"}]}]}'
    ).segments
    assert (segment.start_ms, segment.end_ms, segment.text, segment.speaker) == (1500, None, "a\ufffd 7", "S")
    assert segment.words == [formats.Word("a", 2000), formats.Word("7")]
    assert set(segment.flags) == {"invalid_time", "invalid_confidence", "replaced_characters"}


def test_top_level_words_are_assigned_to_segments():
    parsed = formats.parse({
        "task": "transcribe", "language": "english",
        "segments": [{"start": 0, "end": 1, "text": "a"}, {"start": 1, "end": 2, "text": "b c"}],
        "words": [{"word": w, "start": t, "end": t} for w, t in (("a", 0), ("b", 1), ("c", 1.5))],
    })  # fmt: skip
    assert parsed.dialect == "verbose-json"
    assert [[w.text for w in s.words] for s in parsed.segments] == [["a"], ["b", "c"]]


@pytest.mark.parametrize(
    ("source", "place"),
    [
        (b"", "the input is empty"), (b"\xff", "not valid JSON"), (b"[" * 100_000, "not valid JSON"),
        (b"[1]", "not an object"), (b"{}", "Unknown transcript format"),
        ({"segments": [{"text": "x"}, 5]}, "segment 1"),
        ({"segments": [{"text": "x", "start": True}]}, "segment 0"),
        ({"segments": [{"text": "x", "words": [{"word": "y"}, {"word": 5}]}]}, "segment 0, word 1"),
    ],
)  # fmt: skip
def test_invalid_input_is_rejected_with_its_position(source, place):
    with pytest.raises(InvalidInput, match=place):
        formats.parse(source)


def test_mutations_never_crash():
    seed = json.dumps({"language": "en", "segments": [
        {"start": 0.5, "end": 2, "text": "a b", "words": [{"word": "a", "start": 0.5, "end": 1, "probability": 0.5}]},
    ]}).encode()  # fmt: skip
    rng, read = random.Random(6), 0
    values = [b"NaN", b"1e999", b"-5", b'"x"', b"null", b"[]", b"{}", b"true", b'"\\ud800"', b"9" * 400]
    for _ in range(500):
        mutant = bytearray(seed)
        at = rng.randrange(len(mutant))
        mutant[at : at + rng.randrange(6)] = rng.choice(values) if rng.random() < 0.8 else b"\xff"
        try:
            formats.parse(bytes(mutant))
            read += 1
        except InvalidInput:
            continue
    assert 0 < read < 500
