"""Damaged results are parsed into valid values or raise InvalidInput, and parsed values can be written again."""

from __future__ import annotations

import json
import random

import pytest

from src import formats
from src.errors import InvalidInput
from tests.formats.mutations import assert_valid, mutate

ROUNDS = 80
WORD = {"word": " ask", "start": 0.5, "end": 0.9, "score": 0.75, "probability": 0.75, "speaker": "A"}
TOKEN = {"text": " ask", "offsets": {"from": 500, "to": 900}, "p": 0.5, "t_dtw": -1}
SEGMENT = {
    "id": 0,
    "start": 0.5,
    "end": 1.25,
    "text": " ask not",
    "avg_logprob": -0.2,
    "speaker": "A",
    "words": [WORD] * 3,
}
# Dialects without a real result in the shared data.
DOCUMENTS = (
    {"task": "transcribe", "duration": 1.5, "language": "english", "segments": [SEGMENT] * 2, "words": [WORD] * 4},
    {"segments": [SEGMENT] * 3, "word_segments": [WORD] * 3, "language": "en"},
    {"segments": [SEGMENT] * 3, "info": {"language": "en", "language_probability": 0.9, "duration": 3}},
    [[SEGMENT] * 3, {"language": "en"}],
    {"result": {"language": "en"}, "params": {"model": "b"}, "transcription": [{**TOKEN, "tokens": [TOKEN] * 4}] * 2},
    {"text": "", "chunks": [{"text": " ask not", "timestamp": [0.5, None]}] * 3},
    {"text": "", "chunks": [{"text": letter, "timestamp": [0.5, 0.9], "language": "en"} for letter in "ask not"]},
    {"results": {
        "items": [{"id": n, "start_time": "0.5", "alternatives": [{"content": "ask"}]} for n in range(4)],
        "speaker_labels": {"segments": [{"speaker_label": "A", "items": [{"start_time": "0.50"}]}]},
        "audio_segments": [{"items": [0, 1]}, {"items": [2, 3]}], "language_codes": [{"language_code": "en-US"}]}},
)  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("folder", ["whisper", "amazon", "subtitles"])
def test_damaged_results_parse_to_valid_values_or_raise_invalid_input(shared_data, folder, seed):
    rng, read = random.Random(f"{folder} {seed}"), 0
    contents = [path.read_bytes() for path in sorted((shared_data / folder).iterdir()) if path.stat().st_size < 80_000]
    for _ in range(ROUNDS):
        content = mutate(rng.choice(contents), rng)
        try:
            parsed = formats.parse(content)
        except InvalidInput:
            continue
        read += 1
        assert_valid(parsed)
        again = formats.parse(formats.write("json", parsed.segments, language=parsed.language).encode())
        assert (list(again.segments), again.language) == (list(parsed.segments), parsed.language)
    assert 0 < read < ROUNDS


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda document: "-".join(document) if isinstance(document, dict) else ""
)
def test_damaged_documents_of_every_dialect_parse_or_raise_invalid_input(document):
    content, rng, read = json.dumps(document).encode(), random.Random(7), 0
    for _ in range(ROUNDS):
        damaged = mutate(content, rng)
        try:
            parsed = formats.parse(damaged)
        except InvalidInput:
            continue
        read += 1
        assert_valid(parsed)
        again = formats.parse(formats.write("json", parsed.segments, language=parsed.language).encode())
        assert (again.segments, again.language) == (parsed.segments, parsed.language)
    assert 0 < read < ROUNDS


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ({"segments": [SEGMENT, {**SEGMENT, "words": [WORD, {**WORD, "start": "soon"}]}]}, "segment 1, word 1"),
        ({"segments": [SEGMENT, {**SEGMENT, "words": [WORD, {"word": "a", "score": []}]}]}, "segment 1, word 1"),
        ({"segments": [SEGMENT, {**SEGMENT, "end": {}}]}, "segment 1: "),
        ({"segments": [SEGMENT, {**SEGMENT, "speaker": ["A"]}]}, "segment 1, speaker"),
        ({"segments": [SEGMENT], "words": [WORD, {**WORD, "word": 5}]}, "the result, word 1"),
        ([[SEGMENT, 7], {"language": "en"}], "segment 1: "),
        ({"transcription": [TOKEN, {**TOKEN, "tokens": [TOKEN, {**TOKEN, "p": "x"}]}]}, "segment 1, word 1"),
        ({"chunks": [{"text": "a", "timestamp": [0, 1]}, {"text": "b", "timestamp": ["x", 1]}]}, "segment 1"),
        ({"Transcript": [{"Content": "a"}, {"Items": [{"Content": "a"}, {"Content": 5}]}]}, "segment 1, word 1"),
        ({"results": {"items": [{"alternatives": [{"content": "a."}]}, {"alternatives": [{"content": 5}]}]}},
         "segment 1, word 0"),
    ],
)  # fmt: skip
def test_an_error_names_the_segment_and_the_word(source, place):
    for given in (source, json.dumps(source).encode()):
        with pytest.raises(InvalidInput, match=place):
            formats.parse(given)
