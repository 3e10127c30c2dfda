"""Round trips through our own and other parsers: texts, times to the millisecond and speakers are equal."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import itertools
import json
import re
from pathlib import Path

import jsonschema
import pytest
import srt
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from src import formats
from src.errors import InvalidInput
from src.formats import Segment, Word
from src.formats.line_breaking import width
from src.formats.subtitles import JOINER

SCHEMA = Path(__file__).parents[2] / "docs" / "transcript-1.schema.json"
HOUR_MS = 3_600_000
NASTY = [
    "-->", "<v x>", "<i>", "{\\an8}", "&amp;", "&", "<", "NOTE", "1", "00:01", "\n\n", "\r", "\u2028", "\x85", "WEBVTT",
]  # fmt: skip
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0" + JOINER)
TEXTS = st.lists(
    st.sampled_from([*NASTY, "and", "so", "日本語の文章。", "ไทยแลนด์", "👩‍👩‍👧", "x" * 60])
    | st.text(CHARACTERS, max_size=12), max_size=12,
).map(" ".join)  # fmt: skip
MOMENTS = st.none() | st.integers(0, 20 * HOUR_MS)
CONFIDENCES = st.none() | st.floats(0, 1)
NAMES = st.none() | st.text(CHARACTERS, min_size=1, max_size=10).filter(str.strip)


def spanned(kind, *fields):
    """A strategy of `kind` with a start and an end in order."""
    return st.tuples(*fields, MOMENTS, MOMENTS).map(lambda made: kind(made[:-2], made[-2:]))


def span(times):
    start, end = times
    return (start, end) if start is None or end is None or start <= end else (end, start)


WORDS = spanned(lambda v, t: Word(v[0], *span(t), v[1], v[2]), TEXTS, CONFIDENCES, NAMES)
SEGMENTS = spanned(
    lambda v, t: Segment(v[0], *span(t), v[1], v[2], v[3], tuple(v[4])),
    TEXTS, NAMES, st.none() | st.lists(WORDS, max_size=5), CONFIDENCES, st.lists(st.sampled_from("ab"), unique=True),
)  # fmt: skip
RESULTS = st.lists(SEGMENTS, max_size=6)
PROPERTY = settings(max_examples=50, deadline=None)


def bare(text):
    """Return a text without white space, which line breaking may change, and without the joiner of SRT."""
    return "".join(text.split()).replace(JOINER, "")


def parsed(form, segments, **about):
    dialect = {"webvtt": "webvtt", "srt": "srt", "json": None, "whisper": "whisper"}[form]
    return formats.parse(formats.write(form, segments, **about).encode(), dialect=dialect)


@PROPERTY
@given(RESULTS, CONFIDENCES, st.none() | st.integers(0, HOUR_MS))
def test_our_own_format_is_lossless(segments, probability, duration):
    again = parsed(
        "json", segments, language="fr", language_probability=probability, model_name="m", duration_ms=duration
    )

    assert (again.dialect, again.language, again.model_name) == ("speech-to-information", "fr", "m")
    assert (again.language_probability, again.duration_ms) == (probability, duration)
    assert again.segments == [dataclasses.replace(s, speaker=s.speaker or None) for s in segments]


@settings(max_examples=20, deadline=None)
@given(RESULTS)
def test_our_own_format_conforms_to_its_schema(segments):
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))

    jsonschema.validate(json.loads(formats.write("json", segments, language="fr")), schema)


@PROPERTY
@given(RESULTS)
def test_whisper_json_keeps_texts_words_times_and_speakers(segments):
    again = parsed("whisper", segments, language="fr")

    assert again.language == "fr"
    if any(segment.text or segment.words for segment in segments):
        assert [(s.start_ms, s.end_ms, s.speaker) for s in again.segments if not s.words] == [
            (s.start_ms, s.end_ms, s.speaker) for s in segments if not s.words
        ]
    assert [(bare(w.text), w.start_ms, w.end_ms, w.confidence, w.speaker) for s in again.segments
            for w in s.words or ()] == [
        (bare(w.text), w.start_ms, w.end_ms, w.confidence, w.speaker) for s in segments for w in s.words or ()
    ]  # fmt: skip


@PROPERTY
@given(RESULTS)
def test_subtitles_keep_every_text_ordered_by_time(segments):
    for form in ("webvtt", "srt"):
        written = formats.write(form, segments)
        cues = parsed(form, segments).segments
        starts = [cue.start_ms for cue in cues]

        assert starts == sorted(starts), form
        assert all(cue.end_ms > cue.start_ms for cue in cues), form
        assert sorted("".join(bare(cue.text) for cue in cues)) == sorted(
            "".join(bare(f"{s.speaker}:" if form == "srt" and s.speaker and bare(s.text) else "") + bare(s.text)
                    for s in segments)
        ), form  # fmt: skip
        for cue in cues:
            lines = cue.text.split("\n")
            assert len(lines) <= 2
            assert all(width(line) <= 42 for line in lines), form
        assert written.count("-->") == len(cues)


@PROPERTY
@given(RESULTS)
def test_other_parsers_read_the_same_cues(segments):
    ours = parsed("webvtt", segments).segments
    theirs = list(webvtt.from_buffer(io.StringIO(formats.write("webvtt", segments, language="fr"))))
    assert [(at(cue.start), at(cue.end)) for cue in theirs] == [(cue.start_ms, cue.end_ms) for cue in ours]
    assert [cue.raw_text.count("\n") for cue in theirs] == [cue.text.count("\n") for cue in ours]

    ours = parsed("srt", segments).segments
    theirs = list(srt.parse(formats.write("srt", segments)))
    millisecond = dt.timedelta(milliseconds=1)
    assert [(cue.start // millisecond, cue.end // millisecond, bare(cue.content)) for cue in theirs] == [
        (cue.start_ms, cue.end_ms, bare(cue.text)) for cue in ours
    ]


def at(stamp):
    hours, minutes, seconds = stamp.split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000 + round(float(seconds) * 1000)


@PROPERTY
@given(st.lists(st.tuples(st.text(CHARACTERS, max_size=30).filter(bare), NAMES), max_size=6))
def test_short_segments_keep_their_own_times_and_speakers(texts):
    segments = [Segment(text, n * 2000, n * 2000 + 1500, name) for n, (text, name) in enumerate(texts)]
    if any(width(" ".join(s.text.split())) > 42 for s in segments):
        return
    again = parsed("webvtt", segments).segments

    assert [(bare(s.text), s.start_ms, s.end_ms) for s in again] == [
        (bare(s.text), s.start_ms, s.end_ms) for s in segments
    ]
    assert [s.speaker for s in again] == [" ".join(s.speaker.split()) if s.speaker else None for s in segments]


def test_a_long_segment_is_divided_by_the_times_of_its_words():
    words = [Word(f"word{n:02}", n * 1000, n * 1000 + 400) for n in range(30)]
    segment = Segment(" ".join(word.text for word in words), 0, 29_400, words=words)
    cues = parsed("webvtt", [segment]).segments

    for cue in cues:
        first, last = (int(name[4:]) for name in (cue.text.split()[0], cue.text.split()[-1]))
        assert (cue.start_ms, cue.end_ms) == (first * 1000, 29_400 if last == 29 else (last + 1) * 1000)
    # Without times of words, interpolated.
    cues = parsed("webvtt", [dataclasses.replace(segment, words=None)]).segments
    assert all(b.start_ms == a.end_ms for a, b in itertools.pairwise(cues))
    assert cues[1].start_ms == pytest.approx(12_000, abs=500)


def test_segments_without_times_are_placed_between_their_neighbours():
    segments = [Segment("a", 1000, 2000), Segment("b"), Segment("c", None, 6000), Segment("d", 7000), Segment("", 0, 1)]

    assert [(s.text, s.start_ms, s.end_ms) for s in parsed("srt", segments).segments] == [
        ("a", 1000, 2000), ("b", 2000, 3000), ("c", 3000, 6000), ("d", 7000, 8000)
    ]  # fmt: skip


def test_text_that_looks_like_syntax_is_preserved():
    segments = [Segment("a <i>b</i> {\\an8} & --> c", 0, 1000, "Ann > Lee")]
    written = formats.write("srt", segments)

    assert not re.search(r"<i>|\{\\|\w +-->", written.replace(JOINER, "@").split("\n", 2)[2])
    assert parsed("srt", segments).segments[0].text == "Ann > Lee: a <i>b</i> {\\an8} & --> c"
    again = parsed("webvtt", segments).segments[0]
    assert (again.text, again.speaker) == ("a <i>b</i> {\\an8} & --> c", "Ann > Lee")


def test_plain_text_names_each_change_of_speaker():
    segments = [
        Segment(" So it\nbegins.", speaker="A"),
        Segment("And", speaker="A"),
        Segment("ends " * 20, speaker="B"),
    ]
    written = formats.write("text", segments)

    assert written.startswith("A: So it begins.\nAnd\n\nB: ends")
    assert all(len(line) <= 80 for line in written.split("\n"))
    assert written.count("ends") == 20


@pytest.mark.parametrize("name", ["whisper/japanese.words.json", "amazon/batch.json", "amazon/call-analytics.json"])
def test_real_results_keep_every_text(shared_data, name):
    result = formats.parse(shared_data / name)
    everything = sorted("".join(bare(segment.text) for segment in result.segments))

    assert sorted("".join(bare(cue.text) for cue in parsed("webvtt", result.segments).segments)) == everything
    assert parsed("json", result.segments).segments == result.segments
    whisper = parsed("whisper", result.segments)
    assert [segment.text for segment in whisper.segments] == [segment.text for segment in result.segments]


def test_unsupported_arguments_raise_invalid_input():
    for arguments in ({"format": "doc"}, {"format": "srt", "columns": 3}):
        with pytest.raises(InvalidInput):
            formats.write(segments=[], **arguments)
    assert formats.write("webvtt", []) == "WEBVTT\n"
    assert formats.parse(formats.write("json", []).encode()).segments == []
    with pytest.raises(InvalidInput, match="unsupported version"):
        formats.parse({"schema": "speech-to-information/transcript/2", "segments": []})
