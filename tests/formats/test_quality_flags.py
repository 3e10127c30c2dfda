"""Quality flags, each at its threshold and on real results."""

from __future__ import annotations

import pytest

from src import formats


def flags(**segment):
    return set(formats.parse({"segments": [{"start": 0, "end": 1, "text": "a b c", **segment}]}).segments[0].flags)


@pytest.mark.parametrize(
    ("measures", "expected"),
    [
        ({"no_speech_prob": 0.61, "avg_logprob": -1.01}, {"no_speech", "low_confidence"}),
        ({"no_speech_prob": 0.61, "avg_logprob": -0.5}, set()),
        ({"no_speech_prob": 0.6, "avg_logprob": -0.5}, set()),
        ({"no_speech_prob": 0.61}, {"no_speech"}),
        ({"compression_ratio": 2.41}, {"repetition"}),
        ({"compression_ratio": 2.4}, set()),
        ({"text": "so it is, " * 20}, {"repetition"}),
        ({"confidence": 0.49}, {"low_confidence"}),
        ({"confidence": 0.5}, set()),
        ({"avg_logprob": -1.0}, set()),
        ({"avg_logprob": -1.01}, {"low_confidence"}),
        ({"no_speech_prob": 0.61, "avg_logprob": -1.0}, {"no_speech"}),
        ({"no_speech_prob": 0.6}, set()),
        ({"words": [{"word": "a", "score": 0.2}, {"word": "b", "score": 0.7}, {"word": "c"}]}, {"low_confidence"}),
        ({"text": " "}, {"empty"}),
        ({"text": " [BLANK_AUDIO]"}, {"no_speech"}),
        ({"text": "♪♪"}, {"no_speech"}),
        ({"text": "[PII]"}, set()),
        ({"text": "Thank you for watching!", "confidence": 0.9}, set()),
        ({"text": "Thank you for watching!", "confidence": 0.3}, {"no_speech", "low_confidence"}),
        ({"text": "ご視聴ありがとうございました", "no_speech_prob": 0.7, "avg_logprob": -0.2}, {"no_speech"}),
    ],
)
def test_a_segment_is_flagged_at_its_threshold(measures, expected):
    assert flags(**measures) == expected


def test_only_more_than_three_equal_texts_in_a_row_are_a_repetition():
    texts = ["No.", "no", "No!", "Yes", "So", "So", "So", "So", "", "", "", "", ""]
    parsed = formats.parse({"segments": [{"text": text, "start": n, "end": n + 1} for n, text in enumerate(texts)]})

    assert [n for n, s in enumerate(parsed.segments) if "repetition" in s.flags] == [5, 6, 7]


@pytest.mark.parametrize(
    ("language", "expected", "wrong"),
    [("en", "fr", True), ("english", "en-GB", False), ("nn", "no", False), ("en", None, False), ("?", "en", False)],
)
def test_an_unexpected_language_is_flagged(language, expected, wrong):
    (segment,) = formats.parse({"text": "a", "language": language}, expected_language=expected).segments

    assert ("wrong_language" in segment.flags) is wrong


def test_hallucinations_in_real_results_are_flagged(shared_data):
    folder = shared_data / "whisper"
    silence = formats.parse(folder / "empty.words.json").segments
    radio = formats.parse(folder / "radio_short.fr.words.json").segments

    assert [set(s.flags) for s in silence] == [{"no_speech", "low_confidence", "wrong_language"}]
    assert all("wrong_language" in segment.flags for segment in radio)
    assert sum("repetition" in segment.flags for segment in radio) > len(radio) / 3
    for name in ("apollo11", "arabic", "bonjour", "japanese"):
        doubts = {flag for s in formats.parse(folder / f"{name}.words.json").segments for flag in s.flags}
        assert doubts <= {"low_confidence"}, name
