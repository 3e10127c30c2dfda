"""The other dialects of the Whisper family: every word, time and speaker is kept."""

from __future__ import annotations

import collections
import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from src import formats
from src.errors import InvalidInput
from src.formats import Word


@dataclass
class FasterWhisperWord:
    start: float
    end: float
    word: str
    probability: float


@dataclass
class FasterWhisperSegment:
    id: int
    start: float
    end: float
    text: str
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[FasterWhisperWord] | None


OldSegment = collections.namedtuple("OldSegment", "id start end text words avg_logprob")  # noqa: PYI024 - as in older versions of faster-whisper


def test_objects_of_faster_whisper_are_parsed():
    info = SimpleNamespace(language="de", language_probability=np.float32(0.75), duration=4.5)
    segments = (FasterWhisperSegment(n, n, n + 1, f" {n}", -0.5, 1.0, 0.1, [FasterWhisperWord(n, n + 1, f" {n}", 0.5)])
                for n in range(3))  # fmt: skip
    parsed = formats.parse((segments, info))

    assert (parsed.dialect, parsed.language, parsed.language_probability, parsed.duration_ms) == (
        "faster-whisper", "de", 0.75, 4500
    )  # fmt: skip
    assert [(s.text, s.start_ms, list(s.words)) for s in parsed.segments] == [
        (f" {n}", n * 1000, [Word(f" {n}", n * 1000, n * 1000 + 1000, 0.5)]) for n in range(3)
    ]
    old = formats.parse((iter([OldSegment(0, 0.5, np.float64(1.5), "a", None, -0.1)]), info)).segments[0]
    assert (old.start_ms, old.end_ms, old.words) == (500, 1500, None)


def test_detection_does_not_consume_a_generator():
    segments = (FasterWhisperSegment(0, 0, 1, "a", -0.5, 1.0, 0.1, None) for _ in range(2))

    assert formats.detect((segments, SimpleNamespace(language="de"))) == "faster-whisper"
    assert len(formats.parse(segments).segments) == 2


def test_an_error_in_a_list_of_objects_names_segment_and_word():
    words = [FasterWhisperWord(0, 1, "a", 0.5), FasterWhisperWord(0, 1, 7, 0.5)]
    with pytest.raises(InvalidInput, match="segment 1, word 1"):
        formats.parse([
            [FasterWhisperSegment(n, 0, 1, "a", -0.5, 1.0, 0.1, words if n else None) for n in range(2)],
            SimpleNamespace(language="de"),
        ])  # fmt: skip


def test_whisperx_keeps_words_without_times_and_their_speakers():
    words = [{"word": "In", "start": 0.1, "end": 0.2, "score": 0.9, "speaker": "A"}, {"word": "2014"},
             {"word": "no", "start": 0.5, "end": 0.7, "score": np.float64("nan"), "speaker": "B"}]  # fmt: skip
    (segment,) = formats.parse({
        "segments": [{"start": 0.1, "end": 0.7, "text": " In 2014 no", "words": words, "chars": None}],
        "word_segments": words, "language": "en",
    }).segments  # fmt: skip

    assert list(segment.words) == [Word("In", 100, 200, 0.9, "A"), Word("2014"), Word("no", 500, 700, None, "B")]
    assert (segment.speaker, segment.flags) == (None, ("invalid_confidence",))


def test_top_level_words_are_assigned_to_segments_by_time():
    parsed = formats.parse({
        "task": "transcribe", "language": "english", "duration": "7.5", "text": "a b c d",
        "segments": [{"start": 0, "end": 2, "text": "a b"}, {"start": 2.0, "end": 4, "text": "c"}],
        "words": [{"word": w, "start": s, "end": e} for w, s, e in
                  (("a", 0, 1), ("b", 1.0, 1.98), ("c", 1.96, 3), ("d", 9, 10))],
    })  # fmt: skip

    assert (parsed.language, parsed.language_code, parsed.duration_ms) == ("english", "en", 7500)
    assert [[w.text for w in s.words] for s in parsed.segments] == [["a", "b"], ["c", "d"]]


def test_a_text_without_segments_is_kept():
    for source in ({"text": "a b"}, {"text": "a b", "segments": []}, {"text": "a b", "chunks": []}):
        assert [segment.text for segment in formats.parse(source).segments] == ["a b"]
    (segment,) = formats.parse({"text": "a b", "words": [{"word": "a", "start": 1, "end": 2}, {"word": "b"}]}).segments
    assert (segment.start_ms, segment.end_ms, len(segment.words)) == (1000, 2000, 2)
    assert formats.parse({"text": "", "segments": []}).segments == []


def test_a_text_with_separate_words_is_divided_into_sentences():
    spoken = ["We", "know", "that", "Do", "you", "Not", "I"]
    words = [{"word": word, "start": n, "end": n + 0.5} for n, word in enumerate(spoken)]
    words[-1]["start"] = words[-1]["end"] = 9
    text = "We know that. Do you? Not I"
    parsed = formats.parse({"text": text, "language": "english", "words": words})

    assert [(s.text, s.start_ms, s.end_ms) for s in parsed.segments] == [
        ("We know that.", 0, 2500), (" Do you?", 3000, 4500), (" Not", 5000, 5500), (" I", 9000, 9000)
    ]  # fmt: skip
    assert [word.text for s in parsed.segments for word in s.words] == spoken
    other = formats.parse({"text": "Something else.", "words": words}).segments
    assert [(s.text, len(s.words)) for s in other] == [("Something else.", 7)]


def cpp(**segment):
    return {
        "systeminfo": "AVX = 1", "model": {"type": "base"}, "params": {"model": "models/ggml-base.bin"},
        "result": {"language": "ja"},
        "transcription": [{"timestamps": {"from": "00:00:01,500", "to": "00:00:02,500"},
                           "offsets": {"from": 1500, "to": 2500}, **segment}],
    }  # fmt: skip


def token(text, start, end, p):
    return {"text": text, "offsets": {"from": start, "to": end}, "id": 1, "p": p, "t_dtw": -1}


def test_whisper_cpp_has_times_words_and_a_model():
    tokens = [token("[_BEG_]", 1500, 1500, 0.9), token(" Hel", 1500, 1700, 0.5), token("lo", 1700, 1900, 1.0),
              token(",", 1900, 1950, 0.75), token(" you", 2000, 2400, 0.25), {"text": "[_TT_9]"}]  # fmt: skip
    parsed = formats.parse(json.dumps(cpp(text=" Hello, you", tokens=tokens, speaker="?")).encode())
    (segment,) = parsed.segments

    assert (parsed.dialect, parsed.language, parsed.model_name) == ("whisper-cpp", "ja", "models/ggml-base.bin")
    assert (segment.start_ms, segment.end_ms, segment.speaker) == (1500, 2500, None)
    assert list(segment.words) == [Word(" Hello,", 1500, 1950, 0.75), Word(" you", 2000, 2400, 0.25)]
    (plain,) = formats.parse(cpp(text=" [BLANK_AUDIO]", speaker="1")).segments
    assert (plain.words, plain.speaker, plain.flags, plain.start_ms) == (None, "1", ("no_speech",), 1500)


def test_characters_split_between_whisper_cpp_tokens_are_joined():
    tokens = [token("@1", 1500, 1600, 0.5), token("@2", 1600, 1700, 1.0), token("が", 1700, 1800, 0.5)]
    content = json.dumps(cpp(text="機が", tokens=tokens), ensure_ascii=False).encode()
    whole = "機".encode()
    content = content.replace(b"@1", whole[:2]).replace(b"@2", whole[2:])
    (segment,) = formats.parse(content).segments

    assert [word.text for word in segment.words] == ["機", "が"]
    assert segment.flags == ()
    (segment,) = formats.parse(content.replace(whole[2:], b"x", 2)).segments
    assert "replaced_characters" in segment.flags


def test_chunks_of_a_pipeline_have_times():
    parsed = formats.parse({"text": " a b. c d.", "chunks": [
        {"text": " a b.", "timestamp": [0.0, 2.5]}, {"text": " c d.", "timestamp": (2.5, None)}]})  # fmt: skip

    assert parsed.dialect == "hf-chunks"
    assert [(s.text, s.start_ms, s.end_ms) for s in parsed.segments] == [(" a b.", 0, 2500), (" c d.", 2500, None)]


@pytest.mark.parametrize(
    ("texts", "sentences"),
    [
        ([" We", " know", " it.", " Do", " you?"], [" We know it.", " Do you?"]),
        (["WE", "KNOW"], ["WE KNOW"]),
        (["我们", "知道", "。", "你", "呢"], ["我们知道。", "你呢"]),
    ],
)
def test_chunks_of_single_words_become_sentences(texts, sentences):
    chunks = [{"text": text, "timestamp": [n, n + 0.5]} for n, text in enumerate(texts)]
    parsed = formats.parse({"text": "".join(texts), "chunks": chunks})

    assert [segment.text for segment in parsed.segments] == sentences
    assert [(w.text, w.start_ms, w.end_ms) for s in parsed.segments for w in s.words] == [
        (text, n * 1000, n * 1000 + 500) for n, text in enumerate(texts)
    ]


def test_names_of_languages_have_codes():
    for name, code in (("english", "en"), ("Arabic", "ar"), ("Haitian Creole", "ht"), ("en_us", "en-US"), ("jw", "jv"),
                       ("cantonese", "yue"), ("zh-hant-TW", "zh-Hant-TW"), ("klingon", None), ("", None),
                       (None, None), ("und", None)):  # fmt: skip
        assert formats.code_of(name) == code
