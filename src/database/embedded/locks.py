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


def is_alone(descriptor: int) -> bool:
    """Return whether no other process holds the lock, of which this one holds a share; it keeps its share."""
    alone = try_exclusive(descriptor)
    # A process that stops the server may hold it exclusively in between, for a minute at most.
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return alone


def lock_data(data: Path) -> int | None:
    """Return a descriptor that locks the files of a cluster, to be inherited by its server; None when another has it.

    The kernel keeps the lock until the last process that inherited the descriptor has exited: the server and all its
    children, in whatever container and however they end. Pids and shared memory, by which PostgreSQL itself finds
    another server, are not visible from another container. The file is one that exists as long as the cluster and is
    never replaced.
    """
    descriptor = os.open(data / "PG_VERSION", os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


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
