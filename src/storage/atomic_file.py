"""A file that is invisible until it is complete, and then gets its name only if the name is free.

Two kinds: one without a name (O_TMPFILE), which the kernel frees when the process dies; and, where the file system
does not support that, one with an exclusive name in a folder of its own, which a sweep finds.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from src.storage import file_system
from src.storage.contract import SweepReport

INCOMPLETE = ".incomplete"

_NAME = re.compile("[0-9a-f]{32}")
_WRITABLE_BY_OWNER = 0o600
_NO_UNNAMED_FILES = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS, errno.EPERM}


class AtomicFile(Protocol):
    """A new file, open for reading and writing, without its final name."""

    @property
    def descriptor(self) -> int: ...

    def publish(self, folder: int, name: str) -> None:
        """Link it to that name, atomically. Raises FileExistsError when the name is taken."""
        ...

    def close(self) -> None:
        """Close it; remove it unless it was published."""
        ...


class UnnamedFile:
    """A file that has no name in any folder yet."""

    def __init__(self, folder: int) -> None:
        self.descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, _WRITABLE_BY_OWNER, dir_fd=folder)

    def publish(self, folder: int, name: str) -> None:
        # linkat(AT_EMPTY_PATH) needs a capability; open(2) documents this way for unprivileged processes.
        os.link(f"/proc/self/fd/{self.descriptor}", name, dst_dir_fd=folder, follow_symlinks=True)

    def close(self) -> None:
        os.close(self.descriptor)


class NamedFile:
    """A file with a random name in the folder of incomplete files; its lock shows that the writer is alive."""

    def __init__(self, incomplete: int) -> None:
        self._incomplete = os.dup(incomplete)
        self._name = uuid4().hex
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.descriptor = os.open(self._name, flags, _WRITABLE_BY_OWNER, dir_fd=self._incomplete)
        except OSError:
            os.close(self._incomplete)
            raise
        self.unlocked = file_system.lock(self.descriptor)  # why it has no lock, if so

    def publish(self, folder: int, name: str) -> None:
        os.link(self._name, name, src_dir_fd=self._incomplete, dst_dir_fd=folder, follow_symlinks=False)

    def replace(self, folder: int, name: str) -> None:
        """Give it that name, in place of the file that has it, atomically."""
        os.rename(self._name, name, src_dir_fd=self._incomplete, dst_dir_fd=folder)

    def close(self) -> None:
        try:
            with suppress(FileNotFoundError):  # removed by an operator
                os.unlink(self._name, dir_fd=self._incomplete)
        finally:
            os.close(self.descriptor)
            os.close(self._incomplete)


def open_unnamed(folder: int) -> UnnamedFile | None:
    """A file without a name on the file system of `folder`; None where it does not support that. Raises OSError."""
    if not Path("/proc/self/fd").is_dir():
        return None
    try:
        return UnnamedFile(folder)
    except OSError as error:
        if error.errno in _NO_UNNAMED_FILES:
            return None
        raise


def links_unnamed(incomplete: int) -> bool:
    """Return whether a file without a name can be created and get one: some sandboxes and file systems refuse the link.

    `incomplete` is the folder of incomplete files. Raises OSError.
    """
    file = open_unnamed(incomplete)
    if file is None:
        return False
    name = uuid4().hex
    try:
        file.publish(incomplete, name)
        os.unlink(name, dir_fd=incomplete)
    except OSError:  # a named file shows whether linking itself fails
        return False
    finally:
        file.close()
    return True


def sweep(incomplete: int, older_than: timedelta, *, dry_run: bool) -> SweepReport:
    """Remove named files without a live writer whose last write is `older_than` ago or longer. Raises OSError."""
    found = removed = found_bytes = 0
    newest = time.time() - older_than.total_seconds()
    for name in sorted(os.listdir(incomplete)):
        if not _NAME.fullmatch(name):
            continue
        with suppress(FileNotFoundError):  # completed in the meantime
            status = os.stat(name, dir_fd=incomplete, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or status.st_mtime > newest or _is_being_written(incomplete, name):
                continue
            found += 1
            # After a kill between link and unlink the file is a second name of a complete object: no bytes are freed.
            found_bytes += status.st_size if status.st_nlink == 1 else 0
            if not dry_run:
                os.unlink(name, dir_fd=incomplete)
                removed += 1
    return SweepReport(found=found, removed=removed, found_bytes=found_bytes)


def _is_being_written(incomplete: int, name: str) -> bool:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=incomplete)
    try:
        return file_system.is_locked(descriptor)
    finally:
        os.close(descriptor)
