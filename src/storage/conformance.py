"""The promises of `StorageBackend` as tests that any backend can be put to, a third party's too.

    from src.storage.conformance import BackendConformance

    class TestMine(BackendConformance):
        @pytest.fixture
        def backend(self, tmp_path):
            return Mine(tmp_path)

Call `pytest.register_assert_rewrite("src.storage.conformance")` in the conftest for failures that show values.
Promises about power cuts and kills need the backend's own tests: nothing seen from outside can prove them.
"""

from __future__ import annotations

import hashlib
import io
import threading
import tracemalloc
from datetime import timedelta
from typing import BinaryIO, cast

import pytest

from src.errors import (
    IntegrityFailure,
    InvalidInput,
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    UnsupportedOperation,
)
from src.storage.contract import StorageBackend
from src.storage.keys import archive_key, case_key

MIB = 1024 * 1024
DAY = timedelta(days=1)

BAD_KEYS = (
    "",
    ".",
    "..",
    "/etc/passwd",
    "cases/1/../../x.wav",
    "cases/1",
    "cases/1/",
    "cases//6f8d4e2a-0b1c-4d3e-8f5a-9b7c6d5e4f3a.wav",
    "cases/01/6f8d4e2a-0b1c-4d3e-8f5a-9b7c6d5e4f3a.wav",
    "cases/1/6F8D4E2A-0B1C-4D3E-8F5A-9B7C6D5E4F3A.wav",
    "cases/1/6f8d4e2a-0b1c-4d3e-8f5a-9b7c6d5e4f3a.wav\n",
    "cases/1/6f8d4e2a-0b1c-4d3e-8f5a-9b7c6d5e4f3a.exe",
    "other/1/6f8d4e2a-0b1c-4d3e-8f5a-9b7c6d5e4f3a.wav",
)


class _Drip(io.RawIOBase):
    def __init__(self, total: int, at_most: int, breaks_at: int | None) -> None:
        self._left = total
        self._at_most = at_most
        self._breaks_at = breaks_at
        self._given = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._breaks_at is not None and self._given >= self._breaks_at:
            raise ConnectionResetError("the line went dead")
        count = min(self._left, self._at_most, size if size >= 0 else self._left)
        self._left -= count
        self._given += count
        return bytes(count)


def drip(total: int, *, at_most: int = 1000, breaks_at: int | None = None) -> BinaryIO:
    """A source of zeros that cannot seek, gives few at a time, and may raise ConnectionResetError on the way."""
    return cast("BinaryIO", _Drip(total, at_most, breaks_at))


class BackendConformance:
    """Derive a class whose name begins with `Test` and override the fixture `backend` with an empty one.

    `many` objects are listed in one test: more than a page of the server. `large_bytes` is more than it takes in one
    request. `bounded_memory = False` excuses a backend that keeps its objects in the memory of this process, and
    `atomic_create = False` one whose server ignores conditions: of racing writers more than one may win.
    """

    many = 1050
    large_bytes = 20 * MIB
    bounded_memory = True
    atomic_create = True

    @pytest.fixture
    def backend(self) -> StorageBackend:
        """An empty backend, fresh for each test."""
        raise NotImplementedError("Override the fixture `backend`.")

    def test_it_has_all_verbs_and_a_name(self, backend: StorageBackend) -> None:
        assert isinstance(backend, StorageBackend)
        assert backend.name

    # --- put

    @pytest.mark.parametrize("data", [b"", b"x", b"speech " * 1000])
    def test_what_was_put_is_there(self, backend: StorageBackend, data: bytes) -> None:
        key = case_key(1, "wav")
        stored = backend.put(key, data)
        assert (stored.key, stored.size, stored.sha256) == (key, len(data), hashlib.sha256(data).hexdigest())
        assert stored.modified.tzinfo is not None
        with backend.get(key) as stream:
            assert stream.read() == data

    def test_put_takes_the_rest_of_a_stream(self, backend: StorageBackend) -> None:
        source = io.BytesIO(b"skipped, stored")
        source.seek(9)
        key = archive_key(7, "flac")
        assert backend.put(key, source, content_type="audio/flac").size == 6
        assert _content(backend, key) == b"stored"

    def test_put_takes_a_stream_that_drips_and_cannot_seek(self, backend: StorageBackend) -> None:
        key = case_key(1, "mp3")
        assert backend.put(key, drip(10_001, at_most=7)).size == 10_001
        assert _content(backend, key) == bytes(10_001)

    def test_put_takes_a_large_object(self, backend: StorageBackend) -> None:
        data = hashlib.shake_256(b"speech").digest(self.large_bytes)
        key = case_key(1, "wav")
        assert backend.put(key, io.BytesIO(data), size=len(data)).sha256 == hashlib.sha256(data).hexdigest()
        with backend.get(key) as stream:
            assert stream.read() == data

    @pytest.mark.parametrize("other", [b"first", b"second"])
    def test_put_never_replaces(self, backend: StorageBackend, other: bytes) -> None:
        key = case_key(1, "wav")
        backend.put(key, b"first")
        with pytest.raises(ObjectExists):
            backend.put(key, other)
        assert _content(backend, key) == b"first"

    def test_of_racing_writers_one_wins_and_its_bytes_stay(self, backend: StorageBackend) -> None:
        if not self.atomic_create:
            pytest.skip("this server ignores conditions")
        key = case_key(1, "wav")
        start = threading.Barrier(8)
        outcomes: dict[int, str] = {}

        def write(number: int) -> None:
            start.wait()
            try:
                outcomes[number] = backend.put(key, bytes([number]) * 100_000).sha256 or ""
            except ObjectExists:
                outcomes[number] = "refused"

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [number for number, outcome in outcomes.items() if outcome != "refused"]
        assert len(outcomes) == 8
        assert len(winners) == 1
        assert _content(backend, key) == bytes(winners) * 100_000

    @pytest.mark.parametrize("said", [0, 99, 101])
    def test_a_wrong_size_stores_nothing(self, backend: StorageBackend, said: int) -> None:
        key = case_key(1, "wav")
        with pytest.raises(IntegrityFailure):
            backend.put(key, io.BytesIO(bytes(100)), size=said)
        _assert_absent(backend, key)

    def test_a_source_that_breaks_stores_nothing_and_says_why(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        with pytest.raises(ConnectionResetError):
            backend.put(key, drip(5 * MIB, at_most=MIB, breaks_at=3 * MIB))
        _assert_absent(backend, key)
        backend.put(key, b"second try")

    def test_text_is_refused(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        with pytest.raises(InvalidInput):
            backend.put(key, io.StringIO("text"))  # type: ignore[arg-type]  # the mistake under test
        with pytest.raises(InvalidInput):
            backend.put(key, b"x", size=-1)
        _assert_absent(backend, key)

    def test_memory_does_not_grow_with_the_object(self, backend: StorageBackend) -> None:
        if not self.bounded_memory:
            pytest.skip("this backend keeps its objects in memory")
        first, second = case_key(1, "wav"), archive_key(1, "wav")
        tracemalloc.start()
        try:
            backend.put(first, drip(64 * MIB, at_most=MIB), size=64 * MIB)
            backend.copy(first, second)
            with backend.get(second) as stream:
                while stream.read(MIB):
                    pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 40 * MIB

    # --- get and head

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
    def test_a_window(self, backend: StorageBackend, offset: int, length: int | None, expected: bytes) -> None:
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

    def test_negative_windows_are_refused(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        backend.put(key, b"0123456789")
        for offset, length in ((-1, None), (0, -1)):
            with pytest.raises(InvalidInput):
                backend.get(key, offset=offset, length=length)

    def test_head_knows_size_and_never_lies_about_the_hash(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        stored = backend.put(key, b"0123456789")
        seen = backend.head(key)
        assert (seen.key, seen.size) == (key, 10)
        assert seen.sha256 in (None, stored.sha256)
        assert abs(seen.modified - stored.modified) < DAY

    def test_what_is_absent_is_not_found(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        _assert_absent(backend, key)
        with pytest.raises(ObjectNotFound):
            backend.copy(key, case_key(1, "wav"))
        backend.put(case_key(1, "wav"), b"a neighbour")
        _assert_absent(backend, key)

    # --- keys

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_every_verb_refuses_what_is_no_key(self, backend: StorageBackend, key: str) -> None:
        good = case_key(1, "wav")
        backend.put(good, b"good")
        attempts = (
            lambda: backend.put(key, b"x"),
            lambda: backend.get(key),
            lambda: backend.head(key),
            lambda: backend.delete(key),
            lambda: backend.copy(key, case_key(1, "wav")),
            lambda: backend.copy(good, key),
            lambda: backend.url(key, expires_in=DAY),
            lambda: list(backend.list(after=key)),
        )
        for attempt in attempts:
            with pytest.raises(InvalidKey):
                attempt()
        assert [info.key for info in backend.list()] == [good]

    # --- list

    def test_list_is_sorted_and_can_go_on(self, backend: StorageBackend) -> None:
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
        for wrong in ("case", "cases/1*", "cases/../archive", "/", "cases/01", "cases//"):
            with pytest.raises(InvalidKey):
                backend.list(wrong)

    def test_list_goes_beyond_one_page(self, backend: StorageBackend) -> None:
        keys = sorted(case_key(1 + number % 3, "wav") for number in range(self.many))
        for key in keys:
            backend.put(key, b"")
        assert [info.key for info in backend.list()] == keys
        assert [info.key for info in backend.list(after=keys[10])] == keys[11:]

    def test_list_of_nothing_is_empty(self, backend: StorageBackend) -> None:
        assert list(backend.list()) == []
        assert list(backend.list("cases/5")) == []

    # --- copy and delete

    def test_a_copy_outlives_its_source(self, backend: StorageBackend) -> None:
        source, target = case_key(1, "wav"), archive_key(5, "wav")
        stored = backend.put(source, b"speech" * 100)
        copied = backend.copy(source, target)
        assert (copied.key, copied.size, copied.sha256) == (target, stored.size, stored.sha256)
        assert _content(backend, source) == b"speech" * 100
        assert backend.delete(source)
        assert _content(backend, target) == b"speech" * 100

    def test_copy_never_replaces(self, backend: StorageBackend) -> None:
        source, target = case_key(1, "wav"), archive_key(5, "wav")
        backend.put(source, b"new")
        backend.put(target, b"old")
        for taken in (target, source):
            with pytest.raises(ObjectExists):
                backend.copy(source, taken)
        assert (_content(backend, source), _content(backend, target)) == (b"new", b"old")

    def test_delete_is_idempotent_and_frees_the_key(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        assert backend.delete(key) is False
        backend.put(key, b"x")
        assert backend.delete(key) is True
        assert backend.delete(key) is False
        _assert_absent(backend, key)

    # --- the rest

    def test_url_agrees_with_probe(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        backend.put(key, b"x")
        if backend.probe().presigned_urls:
            assert backend.url(key, expires_in=DAY, filename='a"\r\nb.wav').startswith(("http://", "https://"))
            assert backend.url(case_key(1, "wav"), expires_in=DAY, method="PUT", size=1).startswith("http")
            assert all(isinstance(value, str) for value in backend.upload_headers(size=1).values())
        else:
            with pytest.raises(UnsupportedOperation):
                backend.url(key, expires_in=DAY)
            with pytest.raises(UnsupportedOperation):
                backend.upload_headers()

    def test_probe_says_whether_creating_is_atomic(self, backend: StorageBackend) -> None:
        assert backend.probe().conditional_create == self.atomic_create

    def test_probe_leaves_nothing_behind(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        backend.put(key, b"x")
        assert backend.probe() == backend.probe()
        assert [info.key for info in backend.list()] == [key]
        assert backend.sweep_incomplete(timedelta(0), dry_run=True).found == 0

    def test_usage_is_plausible(self, backend: StorageBackend) -> None:
        usage = backend.usage()
        for number in (usage.total_bytes, usage.free_bytes):
            assert number is None or number >= 0
        if usage.total_bytes is not None and usage.free_bytes is not None:
            assert usage.free_bytes <= usage.total_bytes

    def test_sweeping_never_takes_an_object(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        backend.put(key, b"x")
        with pytest.raises(ConnectionResetError):
            backend.put(case_key(1, "wav"), drip(100, breaks_at=50, at_most=50))
        backend.sweep_incomplete(timedelta(0), dry_run=True)
        report = backend.sweep_incomplete(timedelta(0))
        assert report.removed == report.found
        assert backend.sweep_incomplete(timedelta(0)).found == 0
        assert _content(backend, key) == b"x"


def _content(backend: StorageBackend, key: str) -> bytes:
    with backend.get(key) as stream:
        return stream.read()


def _assert_absent(backend: StorageBackend, key: str) -> None:
    for verb in (backend.head, backend.get):
        with pytest.raises(ObjectNotFound):
            verb(key)
    assert key not in [info.key for info in backend.list()]
