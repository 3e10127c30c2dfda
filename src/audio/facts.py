"""The technical facts of a recording, from its content alone, read in a child process that may crash without harm."""

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

# Ten minutes of MP3 decode in 0.3 s: enough for recordings of days, and a limit for decompression bombs.
DEFAULT_TIMEOUT_SECONDS = 300.0

_PROBE = Path(__file__).absolute().with_name("probe.py")  # absolute: the child runs in another directory
_ADDRESS_SPACE_BYTES = 1024**3
# No other variable is passed: the environment contains passwords, and the child reads untrusted files.
_PASSED_ENVIRONMENT = ("LD_LIBRARY_PATH",)


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """The measured facts, not those of the header: `duration_ms` counts decoded samples.

    `codec` and `container` are FFmpeg's short names (`flac`, `pcm_s16le`, `opus`; `wav`, `mp4`, `ogg`, `matroska`).
    `truncated` means truncated or damaged: less could be decoded than the file declares.
    """

    duration_ms: int
    sample_rate_hz: int
    channels: int
    codec: str
    container: str
    content_type: str
    truncated: bool


def read_facts(file: BinaryIO, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> AudioFacts:
    """Decode all of `file`, independent of its name and position; the position does not change.

    `file` must be a regular file with a descriptor; write bytes and streams to a temporary file first. Takes about
    0.2 s plus 0.5 ms per second of audio, and at most 1 GiB of memory in the child. Never accesses a network. Reads the
    first of several audio tracks.

    Raises NotAudio for an empty file or one without audio, and if the child crashes or reaches a limit; InvalidInput if
    `file` is not a regular file; PackageMissing without PyAV.
    """
    descriptor = _open_again(file)
    try:
        size = os.fstat(descriptor).st_size
        if not size:
            raise NotAudio("The file is empty and does not contain a recording.")
        return _facts(_run_probe(descriptor, timeout_seconds), size)
    finally:
        os.close(descriptor)


def _open_again(file: BinaryIO) -> int:
    try:
        descriptor = file.fileno()
        file.flush()  # otherwise the child would not see what is still in the caller's buffer
    except (AttributeError, io.UnsupportedOperation) as error:
        raise InvalidInput("Audio is read from a file on disk; write the bytes to a temporary file first.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise InvalidInput("Audio is read from a regular file, not from a pipe, device or directory.")
    try:
        # Opened again: the child has no write access and does not share the caller's position.
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return os.dup(descriptor)  # no /proc, or no permission; the child uses pread, which does not move the position


def _run_probe(descriptor: int, timeout_seconds: float) -> Any:
    limits = (str(descriptor), str(_ADDRESS_SPACE_BYTES), str(max(math.ceil(timeout_seconds), 1)))
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_PROBE), *limits],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _PASSED_ENVIRONMENT if name in os.environ},
            cwd="/",
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotAudio(f"Reading this file as audio exceeded {timeout_seconds:g} s and was stopped.") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise NotAudio(f"The audio reader was killed by {name} on this file: it is crafted, damaged or too large.")
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        raise NotAudio(f"The audio reader returned no result for this file (exit code {done.returncode}).") from error
    return answer


def _facts(answer: Any, size: int) -> AudioFacts:
    match answer:
        case {"missing": package}:
            raise PackageMissing(
                f"Reading audio needs the Python package {package}; "
                "install it with: pip install 'speech-to-information[audio]'."
            )
        case {"refused": reason}:
            raise NotAudio(f"These {size:,} bytes cannot be read as audio: {reason}.")
        case dict() if answer.keys() == AudioFacts.__annotations__.keys():
            return AudioFacts(**answer)
        case _:
            raise NotAudio("The audio reader returned an invalid result for this file.")
