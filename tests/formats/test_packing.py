"""Packed segments and words equal the originals, and take little memory even if they are short."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src import formats
from src.formats import Segment, Word, Words, json_stream, packed_segments
from src.formats.packed_segments import Segments

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
TIMES = st.none() | st.integers(0, 2**53 - 1)
SHARES = st.none() | st.floats(0, 1)
NAMES = st.none() | TEXTS
WORDS = st.builds(Word, TEXTS, TIMES, TIMES, SHARES, NAMES)
LISTS = st.none() | st.lists(WORDS, max_size=6) | st.lists(WORDS, max_size=6).map(Words)
FLAGS = st.lists(st.sampled_from("abc"), unique=True, max_size=2).map(tuple)
SEGMENTS = st.lists(st.builds(Segment, TEXTS, TIMES, TIMES, NAMES, LISTS, SHARES, FLAGS), max_size=9)


@settings(max_examples=80, deadline=None)
@given(SEGMENTS, st.integers(1, 4), st.integers(0, 7), st.data())
def test_packed_segments_equal_the_originals(originals, most_segments, most_words, data):
    before = packed_segments.BLOCK_SEGMENTS, packed_segments.BLOCK_WORDS
    packed_segments.BLOCK_SEGMENTS, packed_segments.BLOCK_WORDS = most_segments, most_words
    try:
        packed = Segments(iter(originals))
    finally:
        packed_segments.BLOCK_SEGMENTS, packed_segments.BLOCK_WORDS = before

    assert packed == originals == list(packed) == [packed[index] for index in range(len(packed))]
    assert packed[-2:] == originals[-2:]
    assert list(packed.texts()) == [segment.text for segment in originals]
    assert (packed == [*originals, Segment("")]) is False
    with pytest.raises(IndexError):
        packed[len(originals)]
    if originals:
        index = data.draw(st.integers(0, len(originals) - 1))
        packed.flag(index, "new")
        packed.flag(index, "new")
        assert [each.flags for each in packed] == [
            (*each.flags, "new") if number == index else each.flags for number, each in enumerate(originals)
        ]


SHORT = {
    "segments of one word": (
        b'{"segments": [%b]}',
        b'{"start": %d.04, "end": %d.54, "text": " evidence", "words": [{"word": " evidence", "start": 1.25}]}',
    ),
    "segments without words": (b'{"segments": [%b]}', b'{"id": %d, "start": %d.2, "end": 99999, "text": " evidence"}'),
    "chunks of one word": (b'{"chunks": [%b]}', b'{"text": " evidence", "timestamp": [%d.25, 9999.%d5]}'),
    "items": (
        b'{"results": {"items": [%b]}}',
        b'{"start_time": "%d.04", "end_time": "%d.2", "alternatives": [{"confidence": "0.9", "content": "evidence"}]}',
    ),
    "cues of SRT": (b"%b", b"%d\n00:%02d:01,000 --> 01:00:00,000\nevidence"),
}


SIZES = (
    (json_stream, "WINDOW", 1 << 14), (json_stream, "KEPT", 1 << 14), (packed_segments, "BLOCK_WORDS", 64),
    (packed_segments, "BLOCK_SEGMENTS", 64),
)  # fmt: skip


@pytest.mark.parametrize("name", SHORT)
def test_parsing_short_segments_takes_little_memory(name, monkeypatch):
    for module, size, smaller in SIZES:  # scale the fixed buffers down with the content
        monkeypatch.setattr(module, size, smaller)
    whole, one = SHORT[name]
    joint = b", " if b"{" in whole else b"\n\n"
    content = whole % joint.join([one % (number, number % 60) for number in range(600_000 // len(one))])
    tracemalloc.start()
    try:
        parsed = formats.parse(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert sum(len(segment.words or segment.text.split()) for segment in parsed.segments) >= 600_000 // len(one)
    # Without the bytes themselves. Larger results take less in proportion; the limit is three times the size in all.
    assert peak < 2.2 * len(content)
