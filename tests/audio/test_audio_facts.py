"""Facts come from the content, independent of the file name; input that is not audio raises NotAudio."""

import io
import os
import random
import socket
import struct
import sys
import tempfile
import threading
import time
import wave
from pathlib import Path

import pytest

from src.audio import facts
from src.audio.facts import AudioFacts, read_facts
from src.errors import InvalidInput, NotAudio, PackageMissing
from src.storage import LocalStorage, case_key

av = pytest.importorskip("av", reason="PyAV is not installed")

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "audio"


def facts_of(data, **options):
    with tempfile.TemporaryFile() as file:
        file.write(data)
        return read_facts(file, **options)


def real(name):
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"the real recording {name} is missing")
    return path.read_bytes()


def wav(seconds, *, rate=8000, channels=1, width=2):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(bytes(round(seconds * rate) * channels * width))
    return file.getvalue()


def encoded(container, codec, *, seconds=3, rate=48000, options=None):
    """A recording in any format that FFmpeg writes: a sawtooth, which lossy codecs do not reduce to nothing."""
    ramp = b"".join(struct.pack("<h", (n * 300) % 20000 - 10000) for n in range(rate))
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", format=container, options=options or {}) as output,
    ):
        stream = output.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 96_000
        frame = av.AudioFrame(format="s16", layout="mono", samples=rate)
        frame.sample_rate = rate
        frame.planes[0].update(ramp)
        for second in range(seconds):
            frame.pts = second * rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        output.close()
        return Path(file.name).read_bytes()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jfk.flac", AudioFacts(11000, 44100, 2, "flac", "flac", "audio/flac", truncated=False)),
        ("apollo11.mp3", AudioFacts(89208, 8000, 1, "mp3", "mp3", "audio/mpeg", truncated=False)),
        ("bonjour.wav", AudioFacts(1202, 16000, 1, "pcm_s16le", "wav", "audio/wav", truncated=False)),
        ("empty.mp3", AudioFacts(3168, 16000, 1, "mp3", "mp3", "audio/mpeg", truncated=False)),
    ],
)
def test_real_recordings(name, expected):
    assert facts_of(real(name)) == expected


@pytest.mark.parametrize("name", ["jfk.flac", "apollo11.mp3", "radio_short.mp3", "bonjour.wav"])
def test_a_recording_cut_in_half_is_flagged(name):
    whole = real(name)
    facts = facts_of(whole[: len(whole) // 2])
    assert facts.truncated
    assert facts.duration_ms < facts_of(whole).duration_ms * 0.6


def test_damage_in_the_middle_is_flagged():
    whole = bytearray(real("jfk.flac"))
    middle = len(whole) // 2
    whole[middle : middle + 300] = bytes(300)
    assert facts_of(whole).truncated


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("rate", "width", "codec"), [(8000, 1, "pcm_u8"), (44100, 2, "pcm_s16le"), (96000, 3, "pcm_s24le")]
)
def test_generated_wav(channels, rate, width, codec):
    facts = facts_of(wav(0.75, rate=rate, channels=channels, width=width))
    assert facts == AudioFacts(750, rate, channels, codec, "wav", "audio/wav", truncated=False)


FORMATS = [
    ("mp3", "libmp3lame", "mp3", "mp3", "audio/mpeg"),
    ("ogg", "libopus", "opus", "ogg", "audio/ogg"),
    ("ogg", "flac", "flac", "ogg", "audio/ogg"),
    ("mp4", "aac", "aac", "mp4", "audio/mp4"),
    ("ipod", "alac", "alac", "mp4", "audio/mp4"),
    ("adts", "aac", "aac", "aac", "audio/aac"),
    ("webm", "libopus", "opus", "webm", "audio/webm"),
    ("matroska", "flac", "flac", "matroska", "audio/matroska"),
    ("aiff", "pcm_s16be", "pcm_s16be", "aiff", "audio/aiff"),
    ("au", "pcm_mulaw", "pcm_mulaw", "au", "audio/basic"),
    ("caf", "pcm_s16le", "pcm_s16le", "caf", "audio/x-caf"),
    ("asf", "wmav2", "wmav2", "asf", "audio/x-ms-wma"),
    ("w64", "pcm_s16le", "pcm_s16le", "w64", "audio/x-w64"),
    ("wav", "pcm_alaw", "pcm_alaw", "wav", "audio/wav"),
    ("flac", "flac", "flac", "flac", "audio/flac"),
]


@pytest.mark.parametrize(("muxer", "encoder", "codec", "container", "content_type"), FORMATS)
def test_every_format_of_the_whitelist(muxer, encoder, codec, container, content_type):
    facts = facts_of(encoded(muxer, encoder))
    assert (facts.codec, facts.container, facts.content_type) == (codec, container, content_type)
    assert facts.duration_ms == pytest.approx(3000, abs=100)
    assert (facts.sample_rate_hz, facts.channels, facts.truncated) == (48000, 1, False)


@pytest.mark.parametrize(
    ("muxer", "encoder", "options"),
    [
        ("mp3", "libmp3lame", None),
        ("ogg", "libopus", None),
        ("mp4", "aac", {"movflags": "faststart"}),
        ("webm", "libopus", None),
        ("matroska", "flac", None),
        ("flac", "flac", None),
        ("wav", "pcm_s16le", None),
        ("aiff", "pcm_s16be", None),
    ],
)
def test_truncation_is_detected_in_these_formats(muxer, encoder, options):
    whole = encoded(muxer, encoder, options=options)
    assert not facts_of(whole).truncated
    assert facts_of(whole[: len(whole) * 6 // 10]).truncated


def test_a_wav_of_unknown_size_is_not_flagged_as_truncated():
    data = bytearray(wav(1))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert facts_of(data) == AudioFacts(1000, 8000, 1, "pcm_s16le", "wav", "audio/wav", truncated=False)


def test_the_file_name_is_ignored(tmp_path):
    path = tmp_path / "list.m3u8"
    path.write_bytes(wav(1))
    with path.open("rb") as file:
        assert read_facts(file).container == "wav"


NO_AUDIO = {
    "text": b"And so my fellow Americans, ask not\n" * 500,
    "picture": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x10\x00\x00\x00\x10\x08\x02" + bytes(3000),
    "zeros": bytes(100_000),
    "ones": b"\xff" * 100_000,
    "archive": b"PK\x03\x04" + bytes(2000),
    "one byte": b"R",
    "header alone": wav(0),
    "half a header": wav(1)[:20],
    "tag alone": b"ID3\x04\x00\x00\x00\x00\x00\x00",
    "concat script": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "session description": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
}


@pytest.mark.parametrize("data", NO_AUDIO.values(), ids=NO_AUDIO)
def test_input_that_is_not_audio_raises_not_audio(data):
    with pytest.raises(NotAudio, match=rf"^These {len(data):,} bytes cannot be read as audio: .+\.$"):
        facts_of(data)


@pytest.mark.parametrize("seed", range(10))
def test_random_bytes_raise_not_audio(seed):
    with pytest.raises(NotAudio):
        facts_of(random.Random(seed).randbytes(200_000))


def test_an_empty_file_raises_not_audio():
    with pytest.raises(NotAudio, match="empty"):
        facts_of(b"")


def test_a_video_without_audio_raises_not_audio():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for _ in range(5):
            output.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        output.mux(stream.encode(None))
    with pytest.raises(NotAudio, match="no audio"):
        facts_of(file.getvalue())


@pytest.mark.parametrize("playlist", ["m3u8", "dash", "pls"])
def test_a_playlist_makes_no_request(playlist):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/secret.ts"
        text = {
            "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{address}\n#EXT-X-ENDLIST\n",
            "dash": f"<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>{address}</BaseURL></MPD>",
            "pls": f"[playlist]\nFile1={address}\nNumberOfEntries=1\n",
        }[playlist]
        with pytest.raises(NotAudio):
            facts_of(text.encode(), timeout_seconds=10)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_position_and_the_buffer_of_the_caller_are_ignored(tmp_path):
    path = tmp_path / "x"
    with path.open("w+b", buffering=1024 * 1024) as file:
        file.write(wav(1))
        assert path.stat().st_size == 0
        assert read_facts(file).duration_ms == 1000
        os.lseek(file.fileno(), 77, os.SEEK_SET)
        assert read_facts(file).duration_ms == 1000
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 77


def test_a_stream_of_local_storage_can_be_read(tmp_path):
    storage = LocalStorage(tmp_path / "audio")
    key = case_key(1, "wav")
    storage.put(key, wav(2))
    with storage.get(key) as stream:
        assert read_facts(stream).duration_ms == 2000


def test_only_regular_files_are_accepted():
    with pytest.raises(InvalidInput, match="temporary file"):
        read_facts(io.BytesIO(wav(1)))
    receiving, sending = os.pipe()
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe, pytest.raises(InvalidInput, match="regular file"):
        read_facts(pipe)


def probing_with(monkeypatch, tmp_path, program):
    probe = tmp_path / "probe.py"
    probe.write_text(program)
    monkeypatch.setattr(facts, "_PROBE", probe)


def test_a_reader_that_hangs_is_stopped(monkeypatch, tmp_path):
    probing_with(monkeypatch, tmp_path, "import signal; signal.pause()")
    began = time.monotonic()
    with pytest.raises(NotAudio, match=r"exceeded 0\.5 s"):
        facts_of(wav(1), timeout_seconds=0.5)
    assert time.monotonic() - began < 10


def test_a_reader_that_is_killed_raises_not_audio(monkeypatch, tmp_path):
    probing_with(monkeypatch, tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(NotAudio, match="killed by SIGSEGV"):
        facts_of(wav(1))


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "print('[')", "print(7)", "print('{}')"])
def test_a_reader_without_a_valid_result_raises_not_audio(monkeypatch, tmp_path, program):
    probing_with(monkeypatch, tmp_path, program)
    with pytest.raises(NotAudio, match=r"(no|an invalid) result"):
        facts_of(wav(1))


def test_the_cpu_time_limit_is_enforced(monkeypatch, tmp_path):
    """Runs the real program with its limits; an endless loop replaces the decoding."""
    text = facts._PROBE.read_text().replace("    import av ", "    while True: pass\n    import av ")
    probing_with(monkeypatch, tmp_path, text)
    monkeypatch.setattr(facts.math, "ceil", lambda _seconds: 1)
    with pytest.raises(NotAudio, match=r"killed by SIG(XCPU|KILL)"):
        facts_of(wav(1), timeout_seconds=60)


def test_the_memory_limit_is_enforced(monkeypatch):
    monkeypatch.setattr(facts, "_ADDRESS_SPACE_BYTES", 60 * 1024**2)
    with pytest.raises(NotAudio):
        facts_of(wav(1))


def test_without_pyav_the_error_names_the_extra(monkeypatch, tmp_path):
    text = facts._PROBE.read_text().replace("import av ", "import av_that_does_not_exist as av ")
    probing_with(monkeypatch, tmp_path, text)
    with pytest.raises(PackageMissing, match=r"pip install 'speech-to-information\[audio\]'"):
        facts_of(wav(1))


def test_settings_are_not_passed_to_the_child(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    seen = tmp_path / "seen"
    probing_with(monkeypatch, tmp_path, f"import os; open({str(seen)!r}, 'w').write(repr(dict(os.environ)))")
    with pytest.raises(NotAudio):
        facts_of(wav(1))
    assert "secret" not in seen.read_text()


def test_no_descriptor_leaks_with_concurrent_threads():
    before = len(list(Path("/proc/self/fd").iterdir()))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(facts_of(wav(1)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert "av" in sys.modules
