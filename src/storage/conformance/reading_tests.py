"""Conformance of reading: get, head and list."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest

from src.errors import InvalidInput, InvalidKey, ObjectNotFound
from src.storage.conformance.fixtures import BackendTests, assert_absent
from src.storage.contract import StorageBackend
from src.storage.keys import archive_key, case_key

DAY = timedelta(days=1)


class ReadingConformance(BackendTests):
    """Objects are read in windows and listed in the order of keys."""

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [
            (0, None, b"0123456789"),
            (3, None, b"3456789"),
            (3, 4, b"3456"),
            (0, 0, b""),
            (8, 100, b"89"),
            (10, None, b""),
            (99, 1, b""),
        ],
    )
    def test_a_window_is_read_like_a_slice(
        self, backend: StorageBackend, offset: int, length: int | None, expected: bytes
    ) -> None:
        key = case_key(1, "wav")
        backend.put(key, b"0123456789")
        with backend.get(key, offset=offset, length=length) as stream:
            assert stream.read() == expected
            assert stream.read() == b""
            assert stream.seek(0, io.SEEK_END) == len(expected)
            assert stream.seek(0) == 0
            assert stream.read() == expected
            stream.seek(1000)
            assert stream.read(1) == b""

    def test_a_stream_is_read_only_and_closes(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        backend.put(key, b"0123456789")
        with backend.get(key, offset=2) as stream:
            assert stream.readable()
            assert stream.seekable()
            assert not stream.writable()
            assert stream.read(3) == b"234"
            assert stream.tell() == 3
        assert stream.closed
        with pytest.raises(ValueError, match="closed"):
            stream.read(1)

    def test_negative_windows_are_rejected(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        backend.put(key, b"0123456789")
        for offset, length in ((-1, None), (0, -1)):
            with pytest.raises(InvalidInput):
                backend.get(key, offset=offset, length=length)

    def test_head_returns_the_size_and_no_wrong_hash(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        stored = backend.put(key, b"0123456789")
        info = backend.head(key)
        assert (info.key, info.size) == (key, 10)
        assert info.sha256 in (None, stored.sha256)
        assert abs(info.modified - stored.modified) < DAY

    def test_missing_objects_are_not_found(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        assert_absent(backend, key)
        with pytest.raises(ObjectNotFound):
            backend.copy(key, case_key(1, "wav"))
        backend.put(case_key(1, "wav"), b"another object")
        assert_absent(backend, key)

    def test_list_is_sorted_and_continues_after_a_key(self, backend: StorageBackend) -> None:
        keys = [case_key(number, "wav") for number in (1, 2, 10, 100, 11)] + [archive_key(3, "mp3")]
        keys += [case_key(1, "bin"), case_key(10, "flac")]
        for key in keys:
            backend.put(key, key.encode())
        assert [info.key for info in backend.list()] == sorted(keys)
        assert {info.size for info in backend.list()} == {len(key) for key in keys}
        for position, key in enumerate(sorted(keys)):
            assert [info.key for info in backend.list(after=key)] == sorted(keys)[position + 1 :]

    def test_prefixes_are_whole_components(self, backend: StorageBackend) -> None:
        one, ten, archived = case_key(1, "wav"), case_key(10, "wav"), archive_key(1, "wav")
        for key in (one, ten, archived):
            backend.put(key, b"x")
        found = {
            prefix: [info.key for info in backend.list(prefix)]
            for prefix in ("cases", "cases/1", "cases/1/", "archive/2")
        }
        assert found == {"cases": [one, ten], "cases/1": [one], "cases/1/": [one], "archive/2": []}
        assert [info.key for info in backend.list("cases", after=one)] == [ten]
        assert list(backend.list("archive", after=one)) == []
        for invalid in ("case", "cases/1*", "cases/../archive", "/", "cases/01", "cases//"):
            with pytest.raises(InvalidKey):
                backend.list(invalid)

    def test_list_returns_more_than_one_page(self, backend: StorageBackend) -> None:
        keys = sorted(case_key(1 + number % 3, "wav") for number in range(self.many))
        for key in keys:
            backend.put(key, b"")
        assert [info.key for info in backend.list()] == keys
        assert [info.key for info in backend.list(after=keys[10])] == keys[11:]

    def test_list_of_an_empty_storage_is_empty(self, backend: StorageBackend) -> None:
        assert list(backend.list()) == []
        assert list(backend.list("cases/5")) == []
