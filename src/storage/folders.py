"""A folder tree that follows no symbolic link: every step is taken relative to a descriptor already held.

Checking a path and then opening it leaves a gap in which a component can be swapped for a link; here there is none.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from src.errors import NoSpace, StorageError, StorageUnavailable

FOLDER_MODE = 0o750
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ADVICE = {
    errno.EACCES: "let the user of this process read and write it, or set AUDIO_STORAGE_ROOT to another folder",
    errno.EPERM: "let the user of this process read and write it on a file system that has hard links",
    errno.EROFS: "mount it for writing, or set AUDIO_STORAGE_ROOT to another folder",
    errno.ELOOP: "a symbolic link lies where a folder belongs, and links are not followed; put the real folder there",
    errno.ENOTDIR: "a file or a symbolic link lies where a folder belongs; put the real folder there",
    errno.ENOENT: "a folder vanished; mount the disk or bring the folder back",
    errno.EXDEV: "its folders lie on several file systems; put .incomplete and the rest on one",
    errno.EMFILE: "this process has too many files open; close some or raise the limit",
}


def storage_error(error: OSError, root: Path) -> StorageError:
    """The error of the tree that says what the system's error means for the storage at `root`."""
    if error.errno in _FULL:
        return NoSpace(f"The device of the storage at {root} is full ({error.strerror}); free space and try again.")
    advice = _ADVICE.get(error.errno or 0, "check the disk and try again")
    return StorageUnavailable(f"The storage at {root} cannot be used ({error.strerror}): {advice}.")


@contextmanager
def as_storage_error(root: Path) -> Iterator[None]:
    """Turn an OSError of the body into NoSpace or StorageUnavailable that names `root`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, root) from error


class FolderTree:
    """The folders below one root, made as needed with mode 0750, each durable before anything lies in it.

    The root may be a symbolic link when it is first used; what it points to then is the root from there on, and a link
    put in its place later is refused. Nothing is touched before the first use, and no existing mode is changed.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        self._device: int | None = None

    @contextmanager
    def folder(self, *components: str, create: bool = False) -> Iterator[int]:
        """A descriptor of that folder, closed afterwards.

        Raises FileNotFoundError when it is missing and not to be made, OSError for all else that is wrong with it,
        and StorageUnavailable when the root is not the device of its first use.
        """
        descriptor = self._open_root()
        try:
            for component in components:
                inner = _enter(descriptor, component, create=create)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_root(self) -> int:
        try:
            if self._device is None:
                self.root = self.root.resolve()
                _make_durable_folders(self.root)
            descriptor = os.open(self.root, _OPEN_FOLDER)
        except OSError as error:
            # A missing root is a missing disk, not an empty storage: "no such object" would read like a loss.
            raise storage_error(error, self.root) from error
        device = os.fstat(descriptor).st_dev
        if self._device is None:
            self._device = device
        if device != self._device:
            os.close(descriptor)
            # Written below a mount point, the bytes would vanish when the disk comes back.
            raise StorageUnavailable(
                f"The storage at {self.root} lies on another device than at first; mount its disk again, or restart."
            )
        return descriptor


def _enter(folder: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _OPEN_FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    make_durable_folder(name, parent=folder)
    return os.open(name, _OPEN_FOLDER, dir_fd=folder)


def make_durable_folder(name: str, *, parent: int) -> None:
    """Make the folder unless it is there, and bring the entry in its parent to the disk either way."""
    with suppress(FileExistsError):  # another writer was faster, but may not have reached its fsync yet
        os.mkdir(name, FOLDER_MODE, dir_fd=parent)
    os.fsync(parent)


def _make_durable_folders(path: Path) -> None:
    if path.is_dir():
        return
    _make_durable_folders(path.parent)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        make_durable_folder(path.name, parent=parent)
    finally:
        os.close(parent)
