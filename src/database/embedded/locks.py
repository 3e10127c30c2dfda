"""Locks between processes that the kernel lets go of when their holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.errors import ServerUnreachable

PATIENCE = 150.0  # seconds: another process may be making the cluster and starting it, 60 s each


def lock_shared(path: Path) -> int:
    """The descriptor of a shared lock on the file; `unlock` gives it up, and so does the end of the process.

    Raises ServerUnreachable when somebody holds it exclusively for 150 s.
    """
    return _lock(path, fcntl.LOCK_SH)


def try_exclusive(descriptor: int) -> bool:
    """Turns a shared lock into the exclusive one when nobody else holds it; otherwise the lock is lost.

    Of several holders that try at the same time exactly one gets it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Holds the file exclusively and yields the descriptor; ServerUnreachable when it is not free within 150 s."""
    descriptor = _lock(path, fcntl.LOCK_EX)
    try:
        yield descriptor
    finally:
        unlock(descriptor)


def unlock(descriptor: int) -> None:
    """Gives the lock up, for forked children too: closing alone would leave it with every one that inherited it."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _lock(path: Path, kind: int) -> int:
    # Root locks files in a folder that belongs to another account: no link may lead it elsewhere.
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
                        f"Another process holds {path} for more than {PATIENCE:.0f} s: "
                        "find it with fuser, end it and start again."
                    ) from error
            time.sleep(0.02)
    except BaseException:
        os.close(descriptor)
        raise
