"""The facts of a recording, read from its content alone, in a process that may crash without harm."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from src.errors import InvalidInput, NotAudio, PackageMissing

# Ten minutes of MP3 decode in 0.3 s, so this is enough for recordings of days, and the end of a decompression bomb.
DEFAULT_TIMEOUT_SECONDS = 300.0

_PROBE = Path(__file__).absolute().with_name("probe.py")  # the child runs in another folder
_ADDRESS_SPACE_BYTES = 1024**3
# Not the rest: settings of this process hold passwords, and the child reads what strangers wrote.
_KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH",)


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What was heard, not what a header claims: `duration_ms` counts decoded samples.

    `codec` and `container` are FFmpeg's short names (`flac`, `pcm_s16le`, `opus`; `wav`, `mp4`, `ogg`, `matroska`).
    `truncated` means cut short or damaged: less could be decoded than the file says it holds.
    """

    duration_ms: int
    sample_rate_hz: int
    channels: int
    codec: str
    container: str
    content_type: str
    truncated: bool


def read_facts(file: BinaryIO, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> AudioFacts:
    """Decode all of `file`, whatever its name and position; its position stays.

    `file` must be a regular file with a descriptor: bytes and streams go into a temporary file first. Takes about
    0.2 s plus 0.5 ms per second of sound, at most 1 GiB in the child and none here; nothing is ever fetched from a
    network. Where a file holds several sound tracks, the first one counts.

    Raises NotAudio for bytes without sound, an empty file included, and when the reader crashes or hits a limit;
    InvalidInput when `file` is not a regular file; PackageMissing without PyAV.
    """
    descriptor = _open_again(file)
    try:
        size = os.fstat(descriptor).st_size
        if not size:
            raise NotAudio("The file is empty; there is no recording in it.")
        return _facts(_ask(descriptor, timeout_seconds), size)
    finally:
        os.close(descriptor)


def _open_again(file: BinaryIO) -> int:
    try:
        descriptor = file.fileno()
        file.flush()  # or the child would miss what still waits in the caller's buffer
    except (AttributeError, io.UnsupportedOperation) as error:
        raise InvalidInput("Facts are read from a file on disk; write the bytes to a temporary file first.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise InvalidInput("Facts are read from a regular file, not from a pipe, device or folder.")
    try:
        # Opened again: the child cannot write, and does not share the position with the caller.
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return os.dup(descriptor)  # no /proc, or a file of somebody else; the child reads without moving the position


def _ask(descriptor: int, timeout_seconds: float) -> Any:
    limits = (str(descriptor), str(_ADDRESS_SPACE_BYTES), str(max(math.ceil(timeout_seconds), 1)))
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_PROBE), *limits],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
            cwd="/",
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotAudio(f"Reading this file as audio took longer than {timeout_seconds:g} s and was stopped.") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise NotAudio(f"The reader of audio was killed by {name} on this file: it is crafted, damaged or too large.")
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        raise NotAudio(f"The reader of audio gave no answer on this file (exit code {done.returncode}).") from error
    return answer


def _facts(answer: Any, size: int) -> AudioFacts:
    match answer:
        case {"missing": package}:
            raise PackageMissing(
                f"Reading audio needs the Python package {package}; "
                "install it with: pip install 'speech-to-information[audio]'."
            )
        case {"refused": why}:
            raise NotAudio(f"These {size:,} bytes cannot be read as audio: {why}.")
        case dict() if answer.keys() == AudioFacts.__annotations__.keys():
            return AudioFacts(**answer)
        case _:
            raise NotAudio("The reader of audio gave no answer that makes sense on this file.")
