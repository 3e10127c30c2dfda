"""Operations that some file systems do not support: each goes on where it may, and returns the reason for the probe.

Network file systems, FUSE and FAT leave out file modes, reservations, locks, or syncing a folder. None of them makes an
object incomplete; what each costs is in the notes of `LocalStorage.probe`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY, errno.ENODEV}


def make_read_only(descriptor: int, mode: int) -> str | None:
    """Set the mode of a file; return why it keeps another one."""
    try:
        os.fchmod(descriptor, mode)
    except OSError as error:
        # EPERM: FAT and some mounts of CIFS have no such mode; the file is our own.
        return _reason(error, errno.EPERM)
    present = stat.S_IMODE(os.fstat(descriptor).st_mode)
    return None if present == mode else f"mode {present:04o} instead of {mode:04o}"


def reserve(descriptor: int, size: int) -> str | None:
    """Reserve `size` bytes for a file; return why that is not possible. The caller has compared the free space."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        return _reason(error, errno.EPERM)  # EPERM: a filter of system calls
    return None


def lock(descriptor: int) -> str | None:
    """Mark a new file as one with a live writer; return why that is not possible."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        return _reason(error, errno.ENOLCK, errno.EPERM)
    return None


def is_locked(descriptor: int) -> bool:
    """Return whether a live writer has locked the file; False where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        _reason(error, errno.ENOLCK, errno.EPERM)
    return False


def drop_from_cache(descriptor: int) -> None:
    """Ask the kernel to read the file from the device again; without an effect where that is not supported."""
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        _reason(error, errno.EPERM)


def sync_folder(descriptor: int) -> str | None:
    """Make the names of a folder durable; return why the folder cannot be synced, and sync everything instead."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        reason = _reason(error, errno.EBADF, errno.EPERM)
        os.sync()
        return reason
    return None


def _reason(error: OSError, *tolerated: int) -> str:
    """Return the text of a tolerated error. Raises every other one."""
    if error.errno not in _UNSUPPORTED and error.errno not in tolerated:
        raise error
    return error.strerror or str(error)
