"""A separate program: decode the recording behind a descriptor and print its facts as one line of JSON.

    python -I probe.py DESCRIPTOR ADDRESS_SPACE_BYTES CPU_SECONDS

A crafted file can harm only this process: it has no passwords, cannot open files or sockets, and is killed at its
limits. It imports nothing from this project, because `-I` leaves only the interpreter's own path.
"""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import sys
from collections import Counter
from typing import Any

_FORMATS = "wav,w64,flac,mp3,ogg,mov,mp4,m4a,3gp,matroska,webm,aac,amr,aiff,au,caf,asf"
_PROTOCOLS = "pipe"  # none with access to files or a network; the bytes come from our own reader

_MAX_RATE_HZ = 768_000
_MAX_CHANNELS = 64
_MAX_SECONDS = 30 * 24 * 3600

# Containers with an exact number of samples. The others round to packets and pad, by up to a tenth of a second.
_EXACT_CONTAINERS = {"wav", "w64", "flac", "aiff", "au"}
# Containers whose header states a duration. For the others FFmpeg guesses one from the size of the file.
_DURATION_CONTAINERS = _EXACT_CONTAINERS | {"caf", "mp4", "matroska", "webm", "asf", "ogg"}

_MP3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_KBITS_LOW_RATES = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


class _NotAudioError(Exception):
    """No audio can be read; the message is the reason, without a full stop."""


class _Reader:
    """A file object for PyAV. The name is neutral, because FFmpeg selects formats by name."""

    name = "recording"

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._position = 0

    def read(self, count: int) -> bytes:
        piece = self.at(self._position, count)
        self._position += len(piece)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self.size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def at(self, position: int, count: int) -> bytes:
        return os.pread(self.descriptor, count, max(position, 0))


def facts_of(reader: _Reader) -> dict[str, Any]:
    """Decode the whole recording. Raises _NotAudioError if it contains no audio."""
    import av  # noqa: PLC0415  # main() reports its absence

    options = {"format_whitelist": _FORMATS, "protocol_whitelist": _PROTOCOLS}
    _warm_up(av, options)
    # From here on no file or socket can be opened: all descriptors below the limit are in use.
    _limit(resource.RLIMIT_NOFILE, 3)
    with av.open(reader, mode="r", options=options) as container:
        if not container.streams.audio:
            raise _NotAudioError("it contains no audio")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise _NotAudioError("the codec of its audio is unknown")
        stream.codec_context.thread_count = 1  # the stack of a second thread counts towards the memory limit
        name = _container_name(container.format.name, reader)
        video = any(not _is_picture(other) for other in container.streams.video)
        declared = _declared_seconds(container, stream)
        codec = stream.codec_context.codec.canonical_name
        samples, channels, damaged = _decode(av, container, stream)
    rate = max(samples, key=samples.__getitem__)
    seconds = sum(count / each for each, count in samples.items())
    if not (0 < rate <= _MAX_RATE_HZ and 0 < channels <= _MAX_CHANNELS and seconds <= _MAX_SECONDS):
        raise _NotAudioError(f"it declares {rate} Hz, {channels} channels and {seconds:.0f} s")
    damaged = damaged or _is_shorter(name, reader, declared, seconds) or _is_cut(name, reader)
    return {
        "duration_ms": round(seconds * 1000),
        "sample_rate_hz": rate,
        "channels": channels,
        "codec": codec,
        "container": name,
        "content_type": _content_type(name, codec, video),
        "truncated": damaged,
    }


def _warm_up(av: Any, options: dict[str, str]) -> None:
    # PyAV loads modules when it opens the first container; after the limits are set it cannot open them.
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 52, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 16)
    with av.open(io.BytesIO(head + bytes(16)), mode="r", options=options) as container:
        for frame in container.decode(audio=0):
            frame.layout.nb_channels  # noqa: B018 - the access loads modules that the limits prevent later


def _decode(av: Any, container: Any, stream: Any) -> tuple[Counter[int], int, bool]:
    samples: Counter[int] = Counter()
    channels = 0
    damaged = False
    last = b""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            if packet.size:
                last = bytes(packet)
            for frame in packet.decode():
                samples[frame.sample_rate] += frame.samples
                channels = channels or frame.layout.nb_channels
        except av.error.FFmpegError:
            damaged = True
            if packets.gi_frame is None:  # the demuxer itself gave up
                break
    if not samples.total():
        raise _NotAudioError("no sample can be decoded")
    return samples, channels, damaged or _is_partial_mp3_frame(stream, last)


def _is_partial_mp3_frame(stream: Any, packet: bytes) -> bool:
    # Only the last frame shows that an MP3 is truncated; FFmpeg pads it silently.
    if stream.codec_context.codec.canonical_name != "mp3" or len(packet) < 4:
        return False
    first_version = packet[1] & 0x18 == 0x18
    index = packet[2] >> 4
    if not 1 <= index <= len(_MP3_KBITS):
        return False
    kbits = (_MP3_KBITS if first_version else _MP3_KBITS_LOW_RATES)[index - 1]
    coded_rate = (44100, 48000, 32000, 0)[packet[2] >> 2 & 3] // {0x18: 1, 0x10: 2}.get(packet[1] & 0x18, 4)
    if not coded_rate:
        return False
    return len(packet) < (144 if first_version else 72) * kbits * 1000 // coded_rate


def _declared_seconds(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # Matroska states only the duration of the container; with video it may be longer than the audio.
    if container.duration and len(container.streams) == 1:
        return float(container.duration / 1_000_000)
    return None


def _is_shorter(name: str, reader: _Reader, declared: float | None, seconds: float) -> bool:
    if declared is None or not (name in _DURATION_CONTAINERS or (name == "mp3" and _has_xing_header(reader))):
        return False
    tolerance = 0.001 if name in _EXACT_CONTAINERS else max(declared / 100, 0.1)
    return declared - seconds > tolerance


def _has_xing_header(reader: _Reader) -> bool:
    head = reader.at(0, 10)
    tag = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    frame = reader.at(tag + 10 if head.startswith(b"ID3") else 0, 4096)
    return any(mark in frame for mark in (b"Xing", b"Info", b"VBRI"))


def _is_cut(name: str, reader: _Reader) -> bool:
    """Whether the sizes in the container exceed the end of the file, which FFmpeg ignores silently."""
    if name == "wav":
        head = reader.at(0, 8)
        size = struct.unpack("<I", head[4:])[0] if head.startswith(b"RIFF") else 0
        # Writers that cannot seek leave a placeholder size near 2 or 4 GiB.
        return bool(size < 0x7FFF_0000 and size + 8 > reader.size)
    if name == "ogg":
        longest_page = 27 + 255 + 255 * 255
        tail = reader.at(reader.size - longest_page, longest_page)
        page = tail[max(tail.rfind(b"OggS"), 0) :]
        lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
        is_last = len(page) > 5 and bool(page[5] & 4)
        return not is_last or len(page) < 27 + len(lengths) + sum(lengths)
    return False


def _is_picture(stream: Any) -> bool:
    return "attached_pic" in stream.disposition.name.lower() if stream.disposition else False


def _container_name(formats: str, reader: _Reader) -> str:
    names = formats.split(",")
    if "matroska" in names:
        return "webm" if b"webm" in reader.at(0, 64) else "matroska"
    return "mp4" if "mp4" in names else names[0]


def _content_type(container: str, codec: str, video: bool) -> str:
    if video and container in {"mp4", "webm", "matroska"}:
        return f"video/{container}"
    if container == "amr":
        return "audio/AMR-WB" if codec == "amr_wb" else "audio/AMR"
    names = {"mp3": "mpeg", "w64": "x-w64", "au": "basic", "caf": "x-caf", "asf": "x-ms-wma"}
    return f"audio/{names.get(container, container)}"


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (allowed, allowed))


def main(descriptor: int, address_space_bytes: int, cpu_seconds: int) -> dict[str, Any]:
    """Return the facts, `{"missing": package}` without PyAV, or `{"refused": reason}`."""
    _limit(resource.RLIMIT_AS, address_space_bytes)
    _limit(resource.RLIMIT_CPU, cpu_seconds)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    try:
        return facts_of(_Reader(descriptor))
    except ModuleNotFoundError as error:
        return {"missing": error.name}
    except _NotAudioError as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"refused": "decoding exceeds the memory limit"}
    except Exception as error:  # noqa: BLE001  # a crafted file may raise any exception; the parent always needs a result
        return {"refused": f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*map(int, sys.argv[1:4]))))
