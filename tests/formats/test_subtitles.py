"""WebVTT and SRT: every cue of the real files, and a refusal with its place for what is no cue."""

from __future__ import annotations

import random

import pytest

from src import formats
from src.errors import InvalidInput

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
def test_broken_files_are_refused(shared_data, name):
    with pytest.raises(InvalidInput):
        read(shared_data, name)


def test_both_files_of_one_speech_say_the_same(shared_data):
    assert read(shared_data, "whisper_long.vtt").segments == read(shared_data, "whisper_long.srt").segments


def test_voices_and_entities_are_read():
    (cue,) = formats.parse(b"WEBVTT\r\n\r\n00:01.000 --> 00:02.000\r\n<v.loud Ann Lee>a &lt; b</v>\r\n").segments

    assert (cue.speaker, cue.text, cue.start_ms, cue.end_ms) == ("Ann Lee", "a < b", 1000, 2000)


def test_mutations_never_crash():
    seed, chance = b"WEBVTT\n\nNOTE x\n\n1\n00:01.000 --> 00:02.000\n<v A>a &amp; b\n\n00:03.000 --> 00:04.000\nc", 6
    chance, read_ones = random.Random(chance), 0
    for _ in range(500):
        mutant = bytearray(seed)
        at = chance.randrange(len(mutant))
        mutant[at : at + chance.randrange(4)] = chance.choice([b"\0", b"-->", b"\n", b"9", b"\xff", b"<", b"&#xd800;"])
        try:
            formats.parse(bytes(mutant))
            read_ones += 1
        except InvalidInput:
            continue
    assert 0 < read_ones < 500
