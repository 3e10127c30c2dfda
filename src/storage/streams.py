"""Streams: a source read in chunks, and a seekable window into a stored object."""

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
    """The rest of `source` in chunks of at most CHUNK_BYTES. Raises InvalidInput when it does not return bytes."""
    if isinstance(source, bytes | bytearray | memoryview):
        whole = memoryview(source).cast("B")
        for start in range(0, len(whole), CHUNK_BYTES):
            yield whole[start : start + CHUNK_BYTES]
        return
    read = getattr(source, "read", None)
    if read is None:
        raise InvalidInput(
            f"source: pass bytes or a file opened with 'rb', not {type(source).__name__}.", field="source"
        )
    while True:
        chunk = read(CHUNK_BYTES)
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise InvalidInput(
                f"source: read() returned {type(chunk).__name__}, not bytes; open the file with 'rb'.", field="source"
            )
        if not chunk:
            return
        yield bytes(chunk)


class Window(io.RawIOBase):
    """`length` bytes from `start` on, as a stream whose position 0 is `start`.

    `read_at(buffer, position)` fills the buffer from that absolute position and returns the number of bytes, 0 at the
    end; `on_close` is called once. The bytes must not change while the window is open.
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
        """The descriptor of a whole file. Raises UnsupportedOperation for a part, which must not expose the rest."""
        if self._descriptor is None:
            raise io.UnsupportedOperation("fileno")
        return self._descriptor

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")
        requested = min(len(view), max(self._length - self._position, 0))
        count = self._read_at(view[:requested], self._start + self._position) if requested else 0
        self._position += count
        return count

    def readall(self) -> bytes:
        """The rest of the window, in large chunks; the inherited method requests 8 KiB at a time."""
        read = []
        while chunk := self.read(CHUNK_BYTES):
            read.append(chunk)
        return b"".join(read)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check_open()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise InvalidInput(
                f"offset: {offset} leads to position {base + offset}; at least 0.",
                field="offset",
                value=offset,
                limit=0,
            )
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
    """The window with a read-ahead of 256 KiB, which makes small reads cheap."""
    return io.BufferedReader(window, _READ_AHEAD_BYTES)
