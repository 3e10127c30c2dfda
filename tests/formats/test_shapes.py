"""The structures in which real tools return results: wrappers, additional fields, missing fields."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import pytest

from src import formats
from src.errors import InvalidInput
from src.formats import Word, json_stream

SAID = {"text": " ask not", "start": 0.5, "end": 1.25, "words": [{"word": " ask", "start": 0.5}, {"word": " not"}]}
CHUNK = {"text": " ask not what", "timestamp": [0.5, 1.25]}
SPOKEN = {"text": " ask not", "offsets": {"from": 500, "to": 1250}}
STAMPED = {"text": " ask not", "timestamps": {"from": "00:00:00,500", "to": "00:00:01,250"}}
INFO = {"language": "en", "language_probability": 0.9}


def shape(source):
    """Return the result of parsing, and assert that it is equal if no list is kept in memory."""
    content = json.dumps(source).encode()
    parsed = formats.parse(content)
    kept = json_stream.KEPT
    json_stream.KEPT = 0
    try:
        assert formats.parse(content) == parsed
    finally:
        json_stream.KEPT = kept
    return parsed.dialect, len(parsed.segments), parsed.segments[0].start_ms if parsed.segments else None


@pytest.mark.parametrize(
    ("source", "dialect", "segments", "start"),
    [
        ([SAID], "whisper", 1, 500),
        ([SAID] * 2, "whisper", 2, 500),
        ([SAID] * 3, "whisper", 3, 500),
        ([{"segments": [SAID] * 3}], "whisper", 3, 500),
        ([{"result": {"segments": [SAID] * 3}}], "whisper", 3, 500),
        ({"output": [{"text": "", "chunks": [CHUNK] * 3}]}, "hf-chunks", 3, 500),
        ([[SAID] * 3, INFO], "faster-whisper", 3, 500),
        ([{"text": "", "chunks": [CHUNK] * 3}], "hf-chunks", 3, 500),
        ([CHUNK], "hf-chunks", 1, 500),
        ([CHUNK] * 3, "hf-chunks", 3, 500),
        ([SPOKEN] * 3, "whisper-cpp", 3, 500),
        ([STAMPED] * 3, "whisper-cpp", 3, 500),
        ({"duration": "00:01:02", "segments": [SAID]}, "verbose-json", 1, 500),
        ([], "whisper", 0, None),
    ],
)
def test_lists_and_wrappers_of_any_size_are_distinguished(source, dialect, segments, start):
    assert shape(source) == (dialect, segments, start)


@pytest.mark.parametrize(
    "source", [[{"text": "a", "chunks": [CHUNK]}] * 2, [{"text": "a"}] * 3, [[[1, 0.5, "a"]], INFO]]
)
def test_several_results_and_unnamed_positions_raise_invalid_input(source):
    with pytest.raises(InvalidInput):
        shape(source)


class Model:
    """Like a pydantic model: extra fields are not attributes."""

    def __init__(self, **fields):
        self._fields_set = object()
        self._dumped = fields

    def model_dump(self):
        return self._dumped


class Slotted:
    __slots__ = ("_model", "end", "start", "text")

    def __init__(self, text, start):
        self._model, self.text, self.start = object(), text, start


def test_models_and_slotted_objects_are_parsed_without_private_attributes():
    (one,) = formats.parse(Model(text="a", segments=[Model(text="a", start=Decimal("0.5"), speaker="S1")])).segments
    (two,) = formats.parse([Slotted("a", 1)]).segments

    assert (one.start_ms, one.speaker, two.start_ms) == (500, "S1", 1000)


def test_a_word_listed_twice_is_kept_once_even_if_it_ends_in_the_next_segment():
    segments = [{"start": 0, "end": 2, "text": " a b", "words": [{"word": " a", "start": 0, "end": 1},
                                                                   {"word": " b", "start": 1.9, "end": 2.9}]},
                {"start": 2, "end": 4, "text": " c", "words": [{"word": " c", "start": 3, "end": 4}]}]  # fmt: skip
    words = [word for segment in segments for word in segment["words"]]
    parsed = formats.parse(
        {"task": "transcribe", "segments": segments, "words": [*words, {"word": " c", "start": 3.5}]}
    )

    assert [[word.text for word in segment.words] for segment in parsed.segments] == [[" a", " b"], [" c", " c"]]


def test_chunks_of_single_characters_are_divided_between_words():
    text = "it costs 3.14. " + "word " * 60
    chunks = [{"text": letter, "timestamp": [n, n + 0.5]} for n, letter in enumerate(text)]
    segments = formats.parse({"text": text, "chunks": chunks}).segments

    assert segments[0].text == "it costs 3.14."
    assert all(segment.text.endswith("word") for segment in segments[1:-1])
    assert "".join(segment.text for segment in segments) == text
    assert max(len(segment.text) for segment in segments) < 130


def test_special_tokens_of_whisper_cpp_are_skipped():
    tokens = [
        {"text": text} for text in ("[_SOT_]", "[_LANG_en]", "[_BEG_]", " ask", "[_TT_9]", "[_extra_token_50365]")
    ]
    (segment,) = formats.parse({"transcription": [{"text": " ask", "tokens": tokens}]}).segments

    assert list(segment.words) == [Word(" ask")]


def test_amazon_language_is_the_most_spoken_and_turns_without_text_use_their_words():
    spoken = [
        {"language_code": code, "duration_in_seconds": seconds} for code, seconds in (("en-US", "1.5"), ("es-US", 9))
    ]
    results = {"transcripts": [{"transcript": "x"}], "items": [], "language_codes": spoken}
    assert formats.parse({"results": results}).language == "es-US"
    items = [{"Type": "pronunciation", "Content": "Hi", "BeginOffsetMillis": 40, "EndOffsetMillis": 90},
             {"Type": "punctuation", "Content": "."}]  # fmt: skip
    (turn,) = formats.parse({"Transcript": [{"Items": items, "ParticipantRole": "AGENT"}]}).segments
    assert (turn.text, turn.start_ms, turn.end_ms) == ("Hi.", 40, 90)


def test_the_most_common_language_of_chunks_is_the_language_of_the_result():
    chunks = [{**CHUNK, "language": language} for language in ("german", "english", "english", None)]

    assert formats.parse({"text": "", "chunks": chunks}).language_code == "en"
    assert formats.parse({"text": "", "chunks": chunks, "language": "fr"}).language_code == "fr"


def test_a_speaker_is_found_by_time_in_any_notation():
    items = [{"start_time": "12.3", "end_time": "12.5", "alternatives": [{"content": "Hi"}]}]
    turns = [{"speaker_label": "spk_1", "items": [{"start_time": "12.30", "end_time": 12.5}]}]
    (said,) = formats.parse({"results": {"items": items, "speaker_labels": {"segments": turns}}}).segments
    assert said.speaker == "spk_1"
    turns[0]["items"].append({"start_time": "soon"})
    with pytest.raises(InvalidInput, match="speaker_labels, segment 0, item 1"):
        formats.parse({"results": {"items": items, "speaker_labels": {"segments": turns}}})


class ShortReads(io.RawIOBase):
    """A file whose `read` returns less than asked, like a network connection."""

    def __init__(self, content):
        self._rest = io.BytesIO(content)

    def read(self, size=-1):
        return self._rest.read(7 if size < 0 else min(7, size))


class Failing:
    def read(self, _size=-1):
        raise OSError(5, "Input/output error")


def test_a_file_with_short_reads_is_read_to_its_end():
    content = b"1\n00:00:01,000 --> 00:00:02,000\nask\n\n2\n00:00:03,000 --> 00:00:04,000\nnot\n"

    assert [segment.text for segment in formats.parse(ShortReads(content)).segments] == ["ask", "not"]
    for file, reason in ((Failing(), "Input/output error"), (io.StringIO("x"), "binary")):
        with pytest.raises(InvalidInput, match=reason):
            formats.parse(file)
