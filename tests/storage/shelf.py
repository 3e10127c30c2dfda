"""A third-party backend written with public names only: objects in one SQLite file."""

from __future__ import annotations

import hashlib
import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from src.errors import IntegrityFailure, InvalidInput, ObjectExists, ObjectNotFound, UnsupportedOperation
from src.storage import Capabilities, ObjectInfo, SweepReport, Usage, keys


class Slice(io.RawIOBase):
    """The bytes of an object, read-only."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        return self._file.seek(offset, whence)

    def readinto(self, buffer):
        return self._file.readinto(buffer)


class Shelf:
    name = "shelf"

    def __init__(self, path):
        self._path = Path(path)

    @contextmanager
    def _open(self):
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, data BLOB, sha256 TEXT, modified TEXT)"
            )
            yield connection

    def put(self, key, source, *, size=None, content_type=None):  # noqa: ARG002 - no presigned addresses
        keys.validate(key)
        if size is not None and size < 0:
            raise InvalidInput("size must not be negative.")
        if isinstance(source, bytes):
            data = source
        else:
            chunks = []
            while chunk := source.read(1 << 20):
                if not isinstance(chunk, bytes):
                    raise InvalidInput("source: read() must return bytes.")
                chunks.append(chunk)
            data = b"".join(chunks)
        if size is not None and len(data) != size:
            raise IntegrityFailure("The source does not hold `size` bytes.")
        digest, now = hashlib.sha256(data).hexdigest(), datetime.now(UTC)
        with self._open() as connection:
            try:
                connection.execute("INSERT INTO objects VALUES (?, ?, ?, ?)", (key, data, digest, now.isoformat()))
            except sqlite3.IntegrityError as error:
                raise ObjectExists(f"{key} is stored already.") from error
        return ObjectInfo(key, len(data), digest, now)

    def get(self, key, *, offset=0, length=None):
        keys.validate(key)
        if offset < 0 or (length is not None and length < 0):
            raise InvalidInput("offset and length must not be negative.")
        data = self._row(key, "data")
        return io.BufferedReader(Slice(data[offset : None if length is None else offset + length]))

    def head(self, key):
        keys.validate(key)
        with self._open() as connection:
            return _info(connection.execute(f"{_INFO} WHERE key = ?", (key,)).fetchone(), key)

    def list(self, prefix="", *, after=None) -> Iterator[ObjectInfo]:
        bare = keys.validate_prefix(prefix)
        start = "" if after is None else keys.validate(after)
        with self._open() as connection:
            rows = connection.execute(f"{_INFO} WHERE key > ? ORDER BY key", (start,)).fetchall()
        return iter([_info(row, row[0]) for row in rows if not bare or row[0].startswith(f"{bare}/")])

    def copy(self, source_key, target_key):
        keys.validate(target_key)
        with self.get(source_key) as source:
            return self.put(target_key, source.read())

    def delete(self, key):
        keys.validate(key)
        with self._open() as connection:
            return connection.execute("DELETE FROM objects WHERE key = ?", (key,)).rowcount == 1

    def url(self, key, **_options):
        keys.validate(key)
        raise UnsupportedOperation("A shelf has no presigned addresses.")

    def upload_headers(self, **_options):
        raise UnsupportedOperation("A shelf has no presigned addresses.")

    def usage(self):
        with self._open() as connection:
            return Usage(connection.execute("SELECT coalesce(sum(length(data)), 0) FROM objects").fetchone()[0], None)

    def sweep_incomplete(self, older_than, *, dry_run=False):
        del older_than, dry_run  # an interrupted transaction leaves nothing
        return SweepReport(0, 0, 0)

    def probe(self):
        key = keys.case_key(1, "wav")
        self.put(key, b"probe")
        self.delete(key)
        return Capabilities(conditional_create=True, verified_checksums=True, presigned_urls=False)

    def _row(self, key, column):
        with self._open() as connection:
            row = connection.execute(f"SELECT {column} FROM objects WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise ObjectNotFound(f"No object is stored under {key}.")
        return row[0]


_INFO = "SELECT key, length(data), sha256, modified FROM objects"


def _info(row, key):
    if row is None:
        raise ObjectNotFound(f"No object is stored under {key}.")
    return ObjectInfo(row[0], row[1], row[2], datetime.fromisoformat(row[3]))
