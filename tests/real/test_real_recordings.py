"""Real recordings from the shared data: their facts, and that their stored content is unchanged."""

from __future__ import annotations

import hashlib

import pytest

from src.errors import NotAudio
from src.services import cases, recordings

# name → (milliseconds, rate, channels, codec)
FACTS = {
    "jfk.flac": (11_000, 44_100, 2, "flac"),
    "apollo11.mp3": (89_208, 8_000, 1, "mp3"),
    "radio_short.mp3": (120_492, 16_000, 1, "mp3"),
    "japanese.mp3": (40_464, 16_000, 1, "mp3"),
    "empty.mp3": (3_168, 16_000, 1, "mp3"),
    "bonjour.wav": (1_202, 16_000, 1, "pcm_s16le"),
}


@pytest.mark.parametrize("name", FACTS)
def test_a_real_recording_is_measured_stored_and_read_back(db, shared_data, name):
    path = shared_data / "audio" / name
    content = path.read_bytes()
    duration_ms, rate, channels, codec = FACTS[name]

    with db.session(actor="alice") as session:
        case = cases.open_case(session, title=name)
        audio = recordings.ingest(session, case, path)
        with recordings.open(session, audio) as file:
            assert file.read() == content

    assert (audio.name, audio.sha256) == (name, hashlib.sha256(content).hexdigest())
    # Decoders may add or drop an MP3 frame at either end.
    assert audio.duration_ms == pytest.approx(duration_ms, abs=60)
    assert (audio.sample_rate_hz, audio.channels, audio.codec) == (rate, channels, codec)
    assert not audio.is_truncated


@pytest.mark.parametrize("name", ["jfk.flac", "apollo11.mp3"])
def test_half_of_a_real_recording_is_stored_and_flagged_or_measured(db, shared_data, name):
    content = (shared_data / "audio" / name).read_bytes()
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Cut")
        audio = recordings.ingest(session, case, content[: len(content) // 2], name=name)

    assert audio.duration_ms < 0.6 * FACTS[name][0]
    if name.endswith(".flac"):
        assert audio.is_truncated


def test_subtitles_and_transcripts_raise_not_audio(db, shared_data):
    with db.session(actor="alice") as session:
        case = cases.open_case(session, title="Not audio")
    for path in (shared_data / "subtitles" / "sample.vtt", shared_data / "whisper" / "bonjour.words.json"):
        with pytest.raises(NotAudio), db.session(actor="alice") as session:
            recordings.ingest(session, case, path)
