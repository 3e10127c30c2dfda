"""Streams: reading a source in pieces, and a seekable window into a stored object."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from src.errors import InvalidInput

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 1024 * 1024
_READ_AHEAD_BYTES = 256 * 1024


def chunks(source: BinaryIO | bytes) -> Iterator[bytes | memoryview]:
    """The rest of `source` in pieces of at most CHUNK_BYTES. Raises InvalidInput when it does not give bytes."""
    if isinstance(source, bytes | bytearray | memoryview):
        whole = memoryview(source).cast("B")
        for start in range(0, len(whole), CHUNK_BYTES):
            yield whole[start : start + CHUNK_BYTES]
        return
    read = getattr(source, "read", None)
    if read is None:
        raise InvalidInput(f"source: pass bytes or a file opened with 'rb', not {type(source).__name__}.")
    while True:
        piece = read(CHUNK_BYTES)
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise InvalidInput(f"The source gave {type(piece).__name__} instead of bytes; open it with 'rb'.")
        if not piece:
            return
        yield bytes(piece)


def checked_size(size: int | None) -> int | None:
    """Return `size`. Raises InvalidInput when it is negative."""
    if size is not None and size < 0:
        raise InvalidInput(f"A size of {size} bytes is impossible; leave it out when it is unknown.")
    return size


def checked_window(offset: int, length: int | None) -> tuple[int, int | None]:
    """Return both. Raises InvalidInput when one is negative."""
    if offset < 0 or (length is not None and length < 0):
        raise InvalidInput(f"Offset {offset} and length {length} must not be negative.")
    return offset, length


class Window(io.RawIOBase):
    """`length` bytes from `start` on, as a stream whose position 0 is `start`.

    `read_at(buffer, position)` fills the buffer from that absolute position and returns the count, 0 at the end;
    `on_close` runs once. The bytes must not change while the window is open.
    """

    def __init__(
        self,
        start: int,
        length: int,
        read_at: Callable[[WriteableBuffer, int], int],
        on_close: Callable[[], None],
        descriptor: int | None = None,
    ) -> None:
        self._start = start
        self._length = length
        self._read_at = read_at
        self._on_close = on_close
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The descriptor, where the window is a whole file: a part must not leak the rest."""
        if self._descriptor is None:
            raise io.UnsupportedOperation("fileno")
        return self._descriptor

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(self._length - self._position, 0))
        count = self._read_at(view[:wanted], self._start + self._position) if wanted else 0
        self._position += count
        return count

    def readall(self) -> bytes:
        """All that is left, in large pieces: the inherited one asks for 8 KiB at a time."""
        pieces = []
        while piece := self.read(CHUNK_BYTES):
            pieces.append(piece)
        return b"".join(pieces)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check_open()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise InvalidInput(f"Position {base + offset} lies before the beginning.")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        self._check_open()
        return self._position

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._on_close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")


def buffered(window: Window) -> BinaryIO:
    """The window with a read-ahead of 256 KiB, so that small reads are cheap."""
    return io.BufferedReader(window, _READ_AHEAD_BYTES)
