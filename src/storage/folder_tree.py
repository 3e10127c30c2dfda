"""A folder tree without symbolic links: every component is opened relative to the descriptor of its parent.

Checking a path and then opening it is a race: a component can be replaced by a link in between.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from src.errors import NoSpace, StorageError, StorageUnavailable
from src.storage.file_system import sync_folder

FOLDER_MODE = 0o750
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_OTHER_FILE_SYSTEM = "use a file system with hard links, such as ext4, XFS, Btrfs, ZFS or NFS"
_ADVICE = {
    errno.EOPNOTSUPP: _OTHER_FILE_SYSTEM,
    errno.ENOSYS: _OTHER_FILE_SYSTEM,
    errno.EINVAL: _OTHER_FILE_SYSTEM,
    errno.ENOTCONN: "the program that serves its mount has ended; mount it again",
    errno.ESTALE: "its server has replaced the folder; mount it again",
    errno.EACCES: "grant the user of this process read and write access, or set AUDIO_STORAGE_ROOT to another folder",
    errno.EPERM: "grant the user of this process read and write access, on a file system with hard links",
    errno.EROFS: "mount it for writing, or set AUDIO_STORAGE_ROOT to another folder",
    errno.ELOOP: "a folder is a symbolic link, which is not followed; replace it by a folder",
    errno.ENOTDIR: "a folder is a file or a symbolic link; replace it by a folder",
    errno.ENOENT: "a folder is missing; mount the disk or restore the folder",
    errno.EXDEV: "its folders are on several file systems; move .incomplete and the others to one",
    errno.EMFILE: "this process has too many open files; close some or raise the limit",
}


def storage_error(error: OSError, root: Path) -> StorageError:
    """Translate an OSError into the storage error, with advice, for the storage at `root`."""
    if error.errno in _FULL:
        return NoSpace(f"The device of the storage at {root} is full ({error.strerror}); free space and try again.")
    advice = _ADVICE.get(error.errno or 0, "check the disk and try again")
    return StorageUnavailable(f"The storage at {root} cannot be used ({error.strerror}): {advice}.")


@contextmanager
def as_storage_error(root: Path) -> Iterator[None]:
    """Translate an OSError of the body into NoSpace or StorageUnavailable, with `root` in the message."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, root) from error


class FolderTree:
    """The folders below one root, created on demand with mode 0750, each synced before anything is created in it.

    The root may be a symbolic link at the first use: its target is then the root, and a link that replaces the target
    later is rejected. The disk is not accessed before the first use; modes of existing folders do not change.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        self._device: int | None = None
        self._inode: int | None = None
        self.recognise: Callable[[int], bool] | None = None
        """Whether an open folder is this root, when it is on another device or is another folder than at first use."""

    @contextmanager
    def folder(self, *components: str, create: bool = False) -> Iterator[int]:
        """Yield a descriptor of that folder and close it afterwards.

        Raises FileNotFoundError when the folder is missing and `create` is False, OSError for other failures, and
        StorageUnavailable when the root is another folder than at the first use, or on another device, without its
        marker.
        """
        descriptor = self._open_root()
        try:
            for component in components:
                child = _enter(descriptor, component, create=create)
                os.close(descriptor)
                descriptor = child
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def existing_root(self) -> Iterator[int | None]:
        """Yield a descriptor of the root as it is now, or None when it does not exist; creates nothing."""
        try:
            descriptor = os.open(self.root.resolve(), _OPEN_FOLDER)
        except FileNotFoundError:
            yield None
            return
        try:
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
            # A missing root is a missing disk, not an empty storage: ObjectNotFound would report a loss.
            raise storage_error(error, self.root) from error
        status = os.fstat(descriptor)
        if self._device is None:
            self._device, self._inode = status.st_dev, status.st_ino
        # Without a marker only another device is certainly another storage.
        changed = status.st_dev != self._device or (self.recognise is not None and status.st_ino != self._inode)
        if changed and not self._is_recognised(descriptor):
            os.close(descriptor)
            # Bytes written below a mount point are hidden when the disk is mounted again.
            raise StorageUnavailable(
                f"The storage at {self.root} is on another device or in another folder than at first use; mount its"
                " disk again, or restart."
            )
        self._device, self._inode = status.st_dev, status.st_ino
        return descriptor

    def _is_recognised(self, descriptor: int) -> bool:
        with as_storage_error(self.root):
            return self.recognise is not None and self.recognise(descriptor)


def _enter(folder: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _OPEN_FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    make_durable_folder(name, parent=folder)
    return os.open(name, _OPEN_FOLDER, dir_fd=folder)


def make_durable_folder(name: str, *, parent: int) -> None:
    """Create the folder unless it exists; sync its entry in the parent in both cases."""
    with suppress(FileExistsError):  # created by another writer, whose fsync may be pending
        os.mkdir(name, FOLDER_MODE, dir_fd=parent)
    sync_folder(parent)


def _make_durable_folders(path: Path) -> None:
    if path.is_dir():
        return
    _make_durable_folders(path.parent)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        make_durable_folder(path.name, parent=parent)
    finally:
        os.close(parent)
