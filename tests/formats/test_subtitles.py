"""WebVTT and SRT: every cue of the real files is parsed, and invalid cues raise errors with their position."""

from __future__ import annotations

import random

import pytest

from src import formats
from src.errors import InvalidInput
from src.formats import Word

CUES = {
    "sample.vtt": 16, "sample.srt": 5, "whisper_long.vtt": 89, "whisper_long.srt": 89, "captions_with_bom.vtt": 4,
    "comments.vtt": 3, "cue_tags.vtt": 3, "metadata_headers.vtt": 2, "styles.vtt": 1, "using_identifiers.vtt": 6,
    "youtube_dl.vtt": 4, "no_captions.vtt": 0, "missing_caption_text.srt": 5, "invalid_timeframe.srt": 5,
}  # fmt: skip


def read(shared_data, name):
    return formats.parse((shared_data / "subtitles" / name).read_bytes())


@pytest.mark.parametrize("name", CUES)
def test_every_cue_of_a_real_file_is_read(shared_data, name):
    parsed = read(shared_data, name)

    assert (len(parsed.segments), parsed.dialect) == (CUES[name], {"vtt": "webvtt", "srt": "srt"}[name[-3:]])
    assert not any("<" in segment.text or "-->" in segment.text for segment in parsed.segments)


@pytest.mark.parametrize("name", ["empty.vtt", "invalid_timeframe.vtt", "missing_timeframe.vtt"])
def test_broken_files_raise_invalid_input(shared_data, name):
    with pytest.raises(InvalidInput):
        read(shared_data, name)


def test_webvtt_and_srt_of_the_same_speech_are_equal(shared_data):
    assert read(shared_data, "whisper_long.vtt").segments == read(shared_data, "whisper_long.srt").segments


def test_voices_and_entities_are_parsed():
    (cue,) = formats.parse(b"WEBVTT\r\n\r\n00:01.000 --> 00:02.000\r\n<v.loud Ann Lee>a &lt; b</v>\r\n").segments

    assert (cue.speaker, cue.text, cue.start_ms, cue.end_ms) == ("Ann Lee", "a < b", 1000, 2000)


def test_mutations_never_crash():
    seed, rng = b"WEBVTT\n\nNOTE x\n\n1\n00:01.000 --> 00:02.000\n<v A>a &amp; b\n\n00:03.000 --> 00:04.000\nc", 6
    rng, parsed_count = random.Random(rng), 0
    for _ in range(500):
        mutant = bytearray(seed)
        at = rng.randrange(len(mutant))
        mutant[at : at + rng.randrange(4)] = rng.choice([b"\0", b"-->", b"\n", b"9", b"\xff", b"<", b"&#xd800;"])
        try:
            formats.parse(bytes(mutant))
            parsed_count += 1
        except InvalidInput:
            continue
    assert 0 < parsed_count < 500


def cues(text, dialect="srt"):
    return [(s.text, s.start_ms, s.end_ms, s.speaker) for s in formats.parse(text.encode(), dialect=dialect).segments]


def test_two_voices_in_a_cue_are_two_segments():
    body = "<v Ann>Hi <i>you</i></v>\n<v Bob>Hello &amp; <00:01.500>bye</v>"
    assert cues(f"WEBVTT\n\n00:01.000 --> 00:02.000 align:start\n{body}", "webvtt") == [
        ("Hi you", 1000, 2000, "Ann"), ("Hello & bye", 1000, 2000, "Bob")
    ]  # fmt: skip


def test_blank_lines_inside_a_text_are_kept():
    text = "1\r\n00:00:01,5 --> 00:00:02.250\r\na\r\n\r\n42\r\nb\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\nc\r\n"
    assert cues(text) == [("a\n\n42\nb", 1500, 2250, None), ("c", 3000, 4000, None)]


def test_missing_cue_numbers_and_spoken_numbers():
    times = ["00:00:01,000 --> 00:00:02,000", "00:00:03,000 --> 00:00:04,000"]
    assert [cue[0] for cue in cues(f"{times[0]}\n42\n{times[1]}\nb")] == ["42", "b"]
    assert [cue[0] for cue in cues(f"1\n{times[0]}\n42\n2\n{times[1]}\n2")] == ["42", "2"]
    assert [cue[0] for cue in cues(f"{times[0]}\na\n\n\n{times[1]}\n\nb\n\n")] == ["a", "b"]


def test_srt_tags_are_removed_and_entities_are_kept():
    assert cues("\ufeff1\n00:00:01,000 --> 00:00:02,000 X1:1\n{\\an8}<font color=red>a</font> &amp; <b>b</b> <c>")[0][
        0
    ] == ("a &amp; b <c>")


def test_utf_16_with_a_byte_order_mark_is_parsed():
    for encoding in ("utf-16", "utf-8-sig"):
        content = "WEBVTT\n\n00:01.000 --> 00:02.000\né".encode(encoding)
        assert [segment.text for segment in formats.parse(content).segments] == ["é"]
    with pytest.raises(InvalidInput, match="not UTF-8"):
        formats.parse("1\n00:00:01,000 --> 00:00:02,000\né".encode("latin-1"))


def test_errors_name_the_cue():
    with pytest.raises(InvalidInput, match="segment 1"):
        cues("1\n00:00:01,000 --> 00:00:02,000\na\n\n2\n00:00:0x,000 --> 00:00:04,000\nb")
    with pytest.raises(InvalidInput, match="segment 1"):
        cues("WEBVTT\n\n00:01.000 --> 00:02.000\na\n\nlost", "webvtt")


def test_an_end_before_its_start_and_an_overlap():
    text = "1\n00:00:05,000 --> 00:00:02,000\na\n\n2\n00:00:01,000 --> 00:00:09,000\nb"
    parsed = formats.parse(text.encode())

    assert [(s.start_ms, s.end_ms, s.flags) for s in parsed.segments] == [
        (5000, None, ("invalid_time",)), (1000, 9000, ())
    ]  # fmt: skip


AT = "00:00:01.000 --> 00:00:02.000"
NEXT = "00:00:03.000 --> 00:00:04.000"


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        # YouTube begins its cues with a line of one space.
        (f"{AT} align:start\n \nask\n\n{NEXT}\nask\nnot\n \n", ["ask", "ask\nnot"]),
        (f" \n1\n{AT}\nask\n \n2\n{NEXT}\nnot\n", ["ask", "not"]),
        # The line before a time line is always an identifier, and a comment contains no time line.
        (f"NOTE-1\n{AT}\nask\n\nSTYLE\n{NEXT}\nnot\n", ["ask", "not"]),
        (f"NOTE\n{AT}\nask\n\nREGION 5\n{NEXT}\nnot\n", ["ask", "not"]),
        (f"NOTE of\ntwo lines\n{AT}\nask\n\nNOTE x\ny\n\nSTYLE\n::cue {{}}\n\n{NEXT}\nnot\n", ["ask", "not"]),
        (f"{AT}\n<v Ann></v>\n\n{NEXT}\n<c.a></c>\n", ["", ""]),
    ],
)
def test_cues_are_distinguished_from_comments_and_styles(body, texts):
    assert [cue[0] for cue in cues(f"WEBVTT\n\n{body}", "webvtt")] == texts


def test_text_after_a_voice_tag_has_no_speaker():
    assert [(cue[0].strip(), cue[3]) for cue in cues(f"WEBVTT\n\n{AT}\n<v Ann>Hi</v> (door) <v Bob>Ho", "webvtt")] == [
        ("Hi", "Ann"), ("(door)", None), ("Ho", "Bob")
    ]  # fmt: skip


def test_times_within_a_cue_are_kept():
    (cue,) = formats.parse(f"WEBVTT\n\n{AT}\nask<00:00:01.400><c> R&amp;D</c><00:01.800> not".encode()).segments

    assert (cue.text, cue.start_ms, cue.end_ms) == ("ask R&D not", 1000, 2000)
    assert list(cue.words) == [Word("ask"), Word(" R&D", 1400), Word(" not", 1800)]


def test_time_formats_of_other_tools():
    assert cues("1\n0:00:01.123456 --> 0:00:02\na")[0][1:3] == (1123, 2000)
    (early,) = formats.parse(b"1\n-00:00:01,000 --> 00:00:02,000\na").segments
    assert (early.start_ms, early.end_ms, early.flags) == (None, 2000, ("invalid_time",))
