"""Locks between processes, which the kernel releases when their holder exits."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.errors import ServerUnreachable

PATIENCE = 150.0  # seconds: another process may create the cluster and start it, 60 s each


def lock_shared(path: Path) -> int:
    """Return the descriptor of a shared lock on the file; `unlock` or the end of the process releases it.

    Raises ServerUnreachable when another process holds it exclusively for 150 s.
    """
    return _lock(path, fcntl.LOCK_SH)


def try_exclusive(descriptor: int) -> bool:
    """Convert a shared lock to an exclusive one when no other process holds it; otherwise the lock is lost.

    Of several holders that try at the same time, exactly one succeeds.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Hold an exclusive lock and yield its descriptor. Raises ServerUnreachable when it is not free within 150 s."""
    descriptor = _lock(path, fcntl.LOCK_EX)
    try:
        yield descriptor
    finally:
        unlock(descriptor)


def unlock(descriptor: int) -> None:
    """Release the lock, for forked children too: closing alone would keep it in children that inherited it."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _lock(path: Path, kind: int) -> int:
    # Root locks files in a folder of another account: do not follow symbolic links.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + PATIENCE
    try:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise ServerUnreachable(
                        f"Another process has held {path} for more than {PATIENCE:.0f} s: "
                        "find it with fuser, end it and start again."
                    ) from error
            time.sleep(0.02)
    except BaseException:
        os.close(descriptor)
        raise
