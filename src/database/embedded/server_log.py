"""The log of the embedded server: opened for its output, and read for the reason of a failure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LARGEST_LOG = 10_000_000  # bytes: a larger log is renamed at the next start, replacing the log renamed before

_ERROR_LINE = re.compile(r"\b(?:FATAL|PANIC|ERROR|error):\s+(.+)")


@contextmanager
def open_log(path: Path, *, rotate: bool) -> Iterator[int]:
    """Yield a descriptor that appends to the log; with `rotate` a large log is renamed before."""
    if rotate and path.exists() and path.stat().st_size > LARGEST_LOG:
        path.rename(path.with_suffix(".log.1"))
    log = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        yield log
    finally:
        os.close(log)


def read_since(path: Path, start: int) -> str:
    """Return what was logged after the first `start` bytes."""
    with path.open("rb") as log:
        log.seek(start)
        return log.read().decode(errors="replace")


def error_message(path: Path, problem: str, start: int) -> str:
    """Return a sentence with the last error that was logged after the first `start` bytes."""
    lines = [line.strip() for line in read_since(path, start).splitlines() if line.strip()]
    reported = [match[1] for match in map(_ERROR_LINE.search, lines) if match]
    reason = (reported or lines or ["no message in the log"])[-1].rstrip(".")
    return f"The embedded server {problem}: {reason}. For details see {path}."
