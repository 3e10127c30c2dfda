"""JSON decoded window by window equals JSON decoded at once, for any position of the window borders."""

from __future__ import annotations

import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src import formats
from src.errors import InvalidInput
from src.formats import json_stream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=25,
)


def whole(value):
    if isinstance(value, json_stream.Elements):
        found = [whole(element) for element in value]
        assert len(found) == len(value)
        return found
    if isinstance(value, list):
        return [whole(element) for element in value]
    return {name: whole(inner) for name, inner in value.items()} if isinstance(value, dict) else value


@settings(max_examples=150, deadline=None)
@given(VALUES, st.booleans(), st.sampled_from([None, 2]), st.integers(4, 40), st.integers(0, 60))
def test_windowed_decoding_equals_json_loads(value, escaped, indent, window, kept):
    content = json.dumps(value, ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    before = json_stream.WINDOW, json_stream.KEPT
    json_stream.WINDOW, json_stream.KEPT = window, kept
    try:
        assert whole(json_stream.read(content)) == json.loads(content)
    except InvalidInput:
        with pytest.raises(UnicodeDecodeError):
            content.decode()
    finally:
        json_stream.WINDOW, json_stream.KEPT = before


def result(count):
    word = '{"word": " hello", "start": 1.25, "end": 1.5, "probability": 0.9876543}'
    segment = f'{{"start": 1, "end": 2, "text": " hello", "tokens": [1, 2, 3], "words": [{", ".join([word] * 10)}]}}'
    return f'{{"segments": [{", ".join([segment] * count)}], "language": "en"}}'.encode()


def test_parsing_a_large_result_takes_less_memory_than_three_times_its_size(monkeypatch):
    monkeypatch.setattr(json_stream, "WINDOW", 1 << 14)
    monkeypatch.setattr(json_stream, "KEPT", 1 << 14)
    content = result(3_000)
    tracemalloc.start()
    try:
        parsed = formats.parse(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (len(parsed.segments), len(parsed.segments[-1].words), parsed.language) == (3_000, 10, "en")
    # 2.2 times the size including the bytes themselves; the limit is three times.
    assert peak < 1.2 * len(content)


def test_paths_and_files_are_parsed_like_bytes(tmp_path):
    content = result(3)
    path = tmp_path / "result.json"
    path.write_bytes(content)

    assert formats.parse(path) == formats.parse(io.BytesIO(content)) == formats.parse(content)
    assert formats.detect(path) == "whisper"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"segments": [{"text": "a"}, {"text": "\xff"}]}', "byte 39 is not UTF-8"),
        (b'{"segments": [{"text": "a"},, {}]}', "byte 28"),
        (b'{"segments": [{"text": "a"}]', "byte 28"),
        (b'{"text": "a"} {"text": "b"}', "data after the end"),
        (b'{"a": ' + b"[" * 100_000, "too deeply"),
        (b'{"a": ' + b'{"a": ' * 100_000, "too deeply"),
        (b"", "byte 0"),
        (b"\x1f\x8b\x08\x00", "compressed by gzip"),
        ('{"text": "a"}'.encode("utf-16"), "UTF-16"),
    ],
)  # fmt: skip
def test_errors_name_the_byte(content, place):
    with pytest.raises(InvalidInput, match=place):
        formats.parse(content)


def test_numbers_out_of_range_do_not_crash():
    digits = b"9" * 5000
    content = b'{"seed": %b, "segments": [{"text": "a", "start": %b, "end": 1e400}]}' % (digits, digits)
    (segment,) = formats.parse(content).segments

    assert (segment.text, segment.start_ms, segment.end_ms, segment.flags) == ("a", None, None, ("invalid_time",))


@pytest.mark.parametrize(
    "wrapped",
    [
        b'{"bucket_name": "b", "result": %b}',
        b'{"statusCode": 200, "body": %b}',
        b'[%b, {"language": "en"}]',
        b'{"raw_segments": %b, "x": 1}',
    ],
)
def test_wrapped_results_are_found(wrapped):
    listed = wrapped[:1] == b"[" or b"raw" in wrapped
    inner = b'[{"text": "a"}]' if listed else b'{"segments": [{"text": "a", "start": 0, "end": 1}]}'

    assert [segment.text for segment in formats.parse(wrapped % inner).segments] == ["a"]


def test_a_json_string_body_is_parsed_and_two_results_are_ambiguous():
    inner = json.dumps({"results": {"items": [], "transcripts": [{"transcript": "a"}]}})

    assert formats.parse(json.dumps({"statusCode": 200, "body": inner}).encode()).dialect == "amazon-batch"
    with pytest.raises(InvalidInput, match="Unknown transcript format"):
        formats.parse({"result": {"text": "a"}, "output": {"text": "b"}})


def test_deeply_nested_objects_raise_invalid_input():
    deep: dict = {}
    for _ in range(100_000):
        deep = {"result": deep}
    with pytest.raises(InvalidInput):
        formats.parse(deep)
    while deep:  # freed from the outside in, to avoid recursion
        deep = deep["result"]


def test_the_dialect_parameter():
    assert formats.parse(b"", dialect="srt").segments == []
    assert formats.parse({"text": "a"}, dialect="whisperx").dialect == "whisperx"
    for source, dialect in (({"text": "a"}, "amazon-batch"), ({"text": "a"}, "srt"), (b"{}", "morse"), ("{}", None)):
        with pytest.raises(InvalidInput):
            formats.parse(source, dialect=dialect)
