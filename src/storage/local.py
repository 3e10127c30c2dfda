"""Recordings as files in folders of this machine: `ROOT/cases/{case_id}/…` and `ROOT/archive/{audio_id}/…`.

An object is written to an invisible file, synced, then linked to a name that must be free: rename would replace.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from src.errors import IntegrityFailure, NoSpace, ObjectExists, ObjectNotFound, UnsupportedOperation
from src.storage import keys, marker_file
from src.storage.arguments import checked_choice, checked_size, checked_window, size_mismatch
from src.storage.atomic_file import INCOMPLETE, AtomicFile, NamedFile, links_unnamed, open_unnamed, sweep
from src.storage.contract import URL_METHODS, Capabilities, ObjectInfo, SweepReport, UrlMethod, Usage
from src.storage.file_system import drop_from_cache, make_read_only, reserve, sync_folder
from src.storage.folder_tree import FolderTree, as_storage_error
from src.storage.local_probe import LocalWork
from src.storage.streams import CHUNK_BYTES, Window, buffered, chunks

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_READ_ONLY = 0o440
_PAGE_OBJECTS = 1000
# Smaller objects only check the free space: reserving costs as much as writing, and the write follows at once.
_RESERVED_FROM_BYTES = 16 * 1024 * 1024
# O_NONBLOCK: opening a FIFO in the place of an object would block forever. It has no effect on regular files.
_OPEN_OBJECT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_A_FILE = {errno.ELOOP, errno.ENXIO, errno.ENODEV}


class LocalStorage:
    """A `StorageBackend` on a file system with hard links; the constructor does not access the disk.

    Folders get mode 0750, minus the umask of the process, and objects 0440. `use_tmpfile=False` avoids O_TMPFILE
    for a file system whose implementation is broken; where it is not supported, the alternative is used automatically.
    """

    def __init__(self, root: Path | str, *, name: str = "local", use_tmpfile: bool = True) -> None:
        self.name = name
        self._tree = FolderTree(root)
        self._use_tmpfile = use_tmpfile
        self._unnamed: bool | None = None  # whether files without a name work here; tried at the first write

    @property
    def root(self) -> Path:
        """The root as an absolute path; symbolic links are resolved at the first use."""
        return self._tree.root

    @property
    def location(self) -> dict[str, Any]:
        """See `MarkedBackend.location`."""
        return {"root": os.fspath(self.root.resolve())}

    def read_marker(self) -> bytes | None:
        """See `MarkedBackend.read_marker`; from then on another folder at this path is not the root."""
        with as_storage_error(self.root), self._tree.existing_root() as root:
            content = None if root is None else marker_file.read(root)
        self._tree.recognise = self._tree.recognise or marker_file.recogniser(content)
        return content

    def write_marker(self, content: bytes, *, replaces: bytes | None) -> None:
        """See `MarkedBackend.write_marker`."""
        with as_storage_error(self.root), self._tree.folder(INCOMPLETE, create=True) as incomplete:
            marker_file.write(incomplete, content, replaces=replaces)

    def put(
        self, key: str, source: BinaryIO | bytes, *, size: int | None = None, content_type: str | None = None
    ) -> ObjectInfo:
        """See `StorageBackend.put`."""
        del content_type  # not stored with files
        keys.validate(key)
        return self._store(key, source, checked_size(size), read_back=False)

    def copy(self, source_key: str, target_key: str) -> ObjectInfo:
        """See `StorageBackend.copy`; costs one more read than `put`, from the device where possible."""
        keys.validate(target_key)
        with self.get(source_key) as source:
            return self._store(target_key, source, os.fstat(source.fileno()).st_size, read_back=True)

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See `StorageBackend.get`; only a stream of a whole object has a `fileno`."""
        keys.validate(key)
        offset, length = checked_window(offset, length)
        descriptor = self._open_object(key)
        rest = max(os.fstat(descriptor).st_size - offset, 0)
        window = Window(
            offset,
            rest if length is None else min(rest, length),
            partial(self._read_at, descriptor),
            partial(os.close, descriptor),
            descriptor if offset == 0 and length is None else None,
        )
        return buffered(window)

    def head(self, key: str) -> ObjectInfo:
        """See `StorageBackend.head`."""
        keys.validate(key)
        descriptor = self._open_object(key)
        try:
            return _info(key, os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        """See `StorageBackend.list`; keeps the names of one folder at a time in memory."""
        start = "" if after is None else keys.validate(after)
        area, _, owner = keys.validate_prefix(prefix).partition("/")
        return self._walk([area] if area else keys.AREAS, owner, start)

    def delete(self, key: str) -> bool:
        """See `StorageBackend.delete`."""
        area, owner, name = keys.validate(key).split("/")
        with as_storage_error(self.root):
            try:
                with self._tree.folder(area, owner) as folder:
                    existed = _unlink(folder, name)
                    # Also when it was gone: the process that removed it may have died before this line.
                    sync_folder(folder)
            except FileNotFoundError:
                return False
        return existed

    def url(
        self,
        key: str,
        *,
        expires_in: timedelta,
        filename: str | None = None,
        method: UrlMethod = "GET",
        size: int | None = None,
        content_type: str | None = None,
    ) -> str:
        """See `StorageBackend.url`; always raises UnsupportedOperation."""
        del expires_in, filename, size, content_type
        keys.validate(key)
        checked_choice("method", method, URL_METHODS)
        raise UnsupportedOperation("Local storage has no presigned addresses; read objects with get().")

    def upload_headers(self, *, size: int | None = None, content_type: str | None = None) -> dict[str, str]:
        """See `StorageBackend.upload_headers`; always raises UnsupportedOperation."""
        del size, content_type
        raise UnsupportedOperation("Local storage has no presigned addresses; store bytes with put().")

    def usage(self) -> Usage:
        """See `StorageBackend.usage`; of the whole file system, excluding blocks reserved for root."""
        with as_storage_error(self.root), self._tree.folder() as folder:
            status = os.statvfs(folder)
        return Usage(total_bytes=status.f_blocks * status.f_frsize, free_bytes=status.f_bavail * status.f_frsize)

    def sweep_incomplete(self, older_than: timedelta, *, dry_run: bool = False) -> SweepReport:
        """See `StorageBackend.sweep_incomplete`; only writes without O_TMPFILE leave files."""
        with as_storage_error(self.root):
            try:
                with self._tree.folder(INCOMPLETE) as incomplete:
                    return sweep(incomplete, older_than, dry_run=dry_run)
            except FileNotFoundError:
                return SweepReport(found=0, removed=0, found_bytes=0)

    def probe(self) -> Capabilities:
        """See `StorageBackend.probe`; does in a folder of incomplete files what real work does, with 16 MiB."""

        def store(folder: int, name: str, data: bytes) -> ObjectInfo:
            return self._store_in(folder, name, "an object of the probe", data, len(data), read_back=True)

        work = LocalWork(self._tree, self._open_new, store, mode=_READ_ONLY, reserved_bytes=_RESERVED_FROM_BYTES)
        with as_storage_error(self.root):
            return work.probe()

    def _store(self, key: str, source: BinaryIO | bytes, size: int | None, *, read_back: bool) -> ObjectInfo:
        area, owner, name = key.split("/")
        with ExitStack() as stack:
            with as_storage_error(self.root):
                folder = stack.enter_context(self._tree.folder(area, owner, create=True))
            return self._store_in(folder, name, key, source, size, read_back=read_back)

    def _store_in(
        self, folder: int, name: str, key: str, source: BinaryIO | bytes, size: int | None, *, read_back: bool
    ) -> ObjectInfo:
        with ExitStack() as stack:
            with as_storage_error(self.root):
                if _exists(folder, name):
                    raise _object_exists(key)
                new = stack.enter_context(closing(self._open_new(folder)))
                self._reserve(new.descriptor, size)
            # Not translated: an OSError of the source is not an error of this storage.
            written, digest = self._fill(new.descriptor, key, source, size)
            with as_storage_error(self.root):
                make_read_only(new.descriptor, _READ_ONLY)
                os.fsync(new.descriptor)
                if read_back:
                    _compare(new.descriptor, key, written, digest)
                try:
                    new.publish(folder, name)
                except FileExistsError as error:
                    raise _object_exists(key) from error
                sync_folder(folder)
                return _info(key, os.fstat(new.descriptor), digest)

    def _open_new(self, folder: int) -> AtomicFile:
        if self._use_tmpfile and self._unnamed is not False:
            unnamed = open_unnamed(folder)
            if unnamed is not None and self._links_unnamed():
                return unnamed
            if unnamed is not None:
                unnamed.close()
        with self._tree.folder(INCOMPLETE, create=True) as incomplete:
            return NamedFile(incomplete)

    def _links_unnamed(self) -> bool:
        if self._unnamed is None:
            with self._tree.folder(INCOMPLETE, create=True) as incomplete:
                self._unnamed = links_unnamed(incomplete)
        return self._unnamed

    def _reserve(self, descriptor: int, size: int | None) -> None:
        if not size:
            return
        # Checked first: reserving more than the free space would fill the disk for all other programs before it fails.
        status = os.fstatvfs(descriptor)
        free = status.f_bavail * status.f_frsize
        if size > free:
            raise NoSpace(
                f"size: {size:,} bytes; {free:,} are free in the storage at {self.root}. Free space and try again."
            )
        if size >= _RESERVED_FROM_BYTES:
            reserve(descriptor, size)

    def _fill(self, descriptor: int, key: str, source: BinaryIO | bytes, size: int | None) -> tuple[int, str]:
        digest = hashlib.sha256()
        written = 0
        for chunk in chunks(source):
            digest.update(chunk)
            written += len(chunk)
            if size is not None and written > size:
                break
            rest = memoryview(chunk)
            with as_storage_error(self.root):
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
        if size is not None and written != size:
            raise size_mismatch(key, written, size)
        return written, digest.hexdigest()

    def _open_object(self, key: str) -> int:
        area, owner, name = key.split("/")
        with as_storage_error(self.root):
            try:
                with self._tree.folder(area, owner) as folder:
                    descriptor = os.open(name, _OPEN_OBJECT, dir_fd=folder)
            except FileNotFoundError as error:
                raise ObjectNotFound(f"No object is stored under {key}.") from error
            except OSError as error:
                if error.errno in _NOT_A_FILE:
                    raise _not_a_file(key) from error
                raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _not_a_file(key)
        return descriptor

    def _read_at(self, descriptor: int, buffer: WriteableBuffer, position: int) -> int:
        with as_storage_error(self.root):
            return os.preadv(descriptor, [buffer], position)

    def _walk(self, areas: Iterable[str], owner: str, start: str) -> Iterator[ObjectInfo]:
        for area in areas:
            for folder in [owner] if owner else self._names(area):
                # "0" follows "/" in ASCII: all keys of a folder sort below its name followed by "0".
                if keys.is_prefix(f"{area}/{folder}") and f"{area}/{folder}0" > start:
                    yield from self._walk_folder(area, folder, start)

    def _walk_folder(self, area: str, owner: str, start: str) -> Iterator[ObjectInfo]:
        valid = [name for name in self._names(area, owner) if keys.is_valid(f"{area}/{owner}/{name}")]
        names = [name for name in valid if f"{area}/{owner}/{name}" > start]
        for first in range(0, len(names), _PAGE_OBJECTS):
            # No descriptor stays open while the caller processes a page.
            yield from self._page(area, owner, names[first : first + _PAGE_OBJECTS])

    def _page(self, area: str, owner: str, names: Iterable[str]) -> Iterable[ObjectInfo]:
        stats = {}
        with as_storage_error(self.root), suppress(FileNotFoundError), self._tree.folder(area, owner) as folder:
            for name in names:
                with suppress(FileNotFoundError):  # deleted after the folder was listed
                    stats[name] = os.stat(name, dir_fd=folder, follow_symlinks=False)
        return [
            _info(f"{area}/{owner}/{name}", status) for name, status in stats.items() if stat.S_ISREG(status.st_mode)
        ]

    def _names(self, *components: str) -> Sequence[str]:
        with as_storage_error(self.root):
            try:
                with self._tree.folder(*components) as folder, os.scandir(folder) as entries:
                    return sorted(entry.name for entry in entries)
            except FileNotFoundError:
                return ()


def _info(key: str, status: os.stat_result, sha256: str | None = None) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, sha256, datetime.fromtimestamp(status.st_mtime, UTC))


def _object_exists(key: str) -> ObjectExists:
    return ObjectExists(f"{key} is stored already; use a new key, objects are never replaced.")


def _not_a_file(key: str) -> IntegrityFailure:
    return IntegrityFailure(f"{key} is not a regular file; find out which program created it.")


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _unlink(folder: int, name: str) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _compare(descriptor: int, key: str, size: int, sha256: str) -> None:
    """Read the file back. Raises IntegrityFailure unless it has that size and SHA-256."""
    # Drop the synced pages from the page cache; otherwise the comparison would read memory, not the device.
    drop_from_cache(descriptor)
    digest = hashlib.sha256()
    position = 0
    while chunk := os.pread(descriptor, CHUNK_BYTES, position):
        digest.update(chunk)
        position += len(chunk)
    if (position, digest.hexdigest()) != (size, sha256):
        raise IntegrityFailure(
            f"{key} differs from the written bytes when read back; nothing was stored. Check the disk."
        )
