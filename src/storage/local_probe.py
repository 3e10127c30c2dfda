"""The probe of a folder: everything that real work does, in a folder of its own below `.incomplete`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from src.errors import ObjectExists, StorageUnavailable
from src.storage.atomic_file import INCOMPLETE, AtomicFile, NamedFile
from src.storage.contract import Capabilities, ObjectInfo
from src.storage.file_system import make_read_only, reserve, sync_folder
from src.storage.folder_tree import FOLDER_MODE
from src.storage.keys import AREAS

if TYPE_CHECKING:
    from src.storage.folder_tree import FolderTree

_DATA = bytes(range(256)) * 16
_NO_UNNAMED = f"Interrupted writes leave files in {INCOMPLETE}; sweep_incomplete() removes them."
_NO_LOCKS = (
    "The file system has no locks ({reason}): a sweep cannot detect writers of other processes; let it spare hours."
)
_NO_MODES = (
    "The file system does not keep the modes of files ({reason}): objects can be changed by every user who may write."
)
_NO_RESERVATION = (
    "The file system reserves no space ({reason}): a device that other programs fill is noticed during a write."
)
_NO_FOLDER_SYNC = (
    "The file system does not sync folders ({reason}): every write syncs all file systems of this machine instead."
)
_NOT_CREATE_ONLY = (
    "The file system replaces names that exist: of two writers of one key the later one wins, so never write one twice."
)
_LINKS = "store recordings on a file system with hard links, such as ext4, XFS, Btrfs, ZFS or NFS"
_SYNC = "store recordings on a file system that can make them durable"


class LocalWork:
    """What `LocalStorage` does, for the probe: `open_new` and `store` are its own operations on an open folder."""

    def __init__(
        self,
        tree: FolderTree,
        open_new: Callable[[int], AtomicFile],
        store: Callable[[int, str, bytes], ObjectInfo],
        *,
        mode: int,
        reserved_bytes: int,
    ) -> None:
        self._tree = tree
        self._open_new = open_new
        self._store = store
        self._mode = mode
        self._reserved_bytes = reserved_bytes
        self._notes: dict[str, str | None] = {}

    def probe(self) -> Capabilities:
        """Do everything that real work does. Raises StorageUnavailable, NoSpace and OSError when it is not possible."""
        with self._tree.folder(INCOMPLETE, create=True) as incomplete:
            name = uuid4().hex
            os.mkdir(name, FOLDER_MODE, dir_fd=incomplete)
            try:
                with self._tree.folder(INCOMPLETE, name) as folder:
                    self._notes[_NO_FOLDER_SYNC] = sync_folder(folder)
                    create_only = self._write(folder, incomplete)
                    self._store_and_read(folder)
                self._check_areas(incomplete)
            finally:
                os.rmdir(name, dir_fd=incomplete)
        notes = [note.format(reason=reason) for note, reason in self._notes.items() if reason is not None]
        if not create_only:
            notes.append(_NOT_CREATE_ONLY)
        return Capabilities(
            conditional_create=create_only, verified_checksums=True, presigned_urls=False, notes=tuple(notes)
        )

    def _check_areas(self, incomplete: int) -> None:
        """Raise unless this process may write in the folders of recordings that exist, and on their file system."""
        device = os.fstat(incomplete).st_dev
        for area in AREAS:
            with suppress(FileNotFoundError), self._tree.folder(area) as folder:
                if not os.access(".", os.R_OK | os.W_OK | os.X_OK, dir_fd=folder):
                    raise OSError(errno.EACCES, os.strerror(errno.EACCES))
                if os.fstat(folder).st_dev != device:
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def _write(self, folder: int, incomplete: int) -> bool:
        """Create, reserve, sync and link files of both kinds; return whether a link never replaces a name."""
        status = os.fstatvfs(folder)
        size = min(self._reserved_bytes, status.f_bavail * status.f_frsize // 2)
        with closing(self._open_new(folder)) as file:
            self._notes[_NO_UNNAMED] = "" if isinstance(file, NamedFile) else None
            self._notes[_NO_RESERVATION] = reserve(file.descriptor, size) if size else None
            self._notes[_NO_MODES] = make_read_only(file.descriptor, self._mode)
            with self._refused_if_it_fails("syncing a file", _SYNC):
                os.fsync(file.descriptor)
            created = self._links_create_only(file, folder)
        # Also where it is only the alternative.
        with closing(NamedFile(incomplete)) as named:
            self._notes[_NO_LOCKS] = named.unlocked if isinstance(file, NamedFile) else None
            return self._links_create_only(named, folder) and created

    def _links_create_only(self, file: AtomicFile, folder: int) -> bool:
        name = uuid4().hex
        with self._refused_if_it_fails("a hard link", _LINKS):
            file.publish(folder, name)
        try:
            file.publish(folder, name)
        except FileExistsError:
            return True
        finally:
            _unlink(folder, name)
        return False

    def _store_and_read(self, folder: int) -> None:
        """Store an object as real work does, find it, read it whole and in part, and remove it."""
        name = uuid4().hex
        try:
            self._store(folder, name, _DATA)
            with suppress(ObjectExists):
                self._store(folder, name, _DATA)
                raise self._unusable("an object replaced another one", _LINKS)
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                whole, part = bytearray(len(_DATA) + 1), bytearray(7)
                found = os.preadv(descriptor, [whole], 0)
                os.preadv(descriptor, [part], 300)
            finally:
                os.close(descriptor)
            if bytes(whole[:found]) != _DATA or bytes(part) != _DATA[300:307]:
                raise self._unusable("a file has other bytes than were written", "check the disk")
            if name not in os.listdir(folder):
                raise self._unusable("a folder does not list a file that was created", "check the file system")
        finally:
            _unlink(folder, name)
        sync_folder(folder)
        if name in os.listdir(folder):
            raise self._unusable("a folder lists a file that was removed", "check the file system")

    @contextmanager
    def _refused_if_it_fails(self, what: str, remedy: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unusable(f"{what} failed ({error.strerror})", remedy) from error

    def _unusable(self, what: str, remedy: str) -> StorageUnavailable:
        return StorageUnavailable(f"The storage at {self._tree.root} cannot be used: {what}; {remedy}.")


def _unlink(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
