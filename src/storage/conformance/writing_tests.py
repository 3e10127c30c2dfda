"""Conformance of writing: put, copy and delete."""

from __future__ import annotations

import hashlib
import io
import threading
import tracemalloc

import pytest

from src.errors import IntegrityFailure, InvalidInput, ObjectExists
from src.storage.conformance.fixtures import MIB, BackendTests, assert_absent, content_of, slow_source
from src.storage.contract import StorageBackend
from src.storage.keys import archive_key, case_key


class WritingConformance(BackendTests):
    """Objects are stored complete, at most once per key, and unchanged."""

    @pytest.mark.parametrize("data", [b"", b"x", b"speech " * 1000])
    def test_put_stores_the_bytes(self, backend: StorageBackend, data: bytes) -> None:
        key = case_key(1, "wav")
        stored = backend.put(key, data)
        assert (stored.key, stored.size, stored.sha256) == (key, len(data), hashlib.sha256(data).hexdigest())
        assert stored.modified.tzinfo is not None
        with backend.get(key) as stream:
            assert stream.read() == data

    def test_put_stores_the_rest_of_a_stream(self, backend: StorageBackend) -> None:
        source = io.BytesIO(b"skipped, stored")
        source.seek(9)
        key = archive_key(7, "flac")
        assert backend.put(key, source, content_type="audio/flac").size == 6
        assert content_of(backend, key) == b"stored"

    def test_put_accepts_a_slow_stream_without_seek(self, backend: StorageBackend) -> None:
        key = case_key(1, "mp3")
        assert backend.put(key, slow_source(10_001, max_read=7)).size == 10_001
        assert content_of(backend, key) == bytes(10_001)

    def test_put_stores_a_large_object(self, backend: StorageBackend) -> None:
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
        assert content_of(backend, key) == b"first"

    def test_one_of_several_racing_writers_succeeds(self, backend: StorageBackend) -> None:
        if not self.atomic_create:
            pytest.skip("the server ignores conditions")
        key = case_key(1, "wav")
        start = threading.Barrier(8)
        outcomes: dict[int, str] = {}

        def write(number: int) -> None:
            start.wait()
            try:
                outcomes[number] = backend.put(key, bytes([number]) * 100_000).sha256 or ""
            except ObjectExists:
                outcomes[number] = "rejected"

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [number for number, outcome in outcomes.items() if outcome != "rejected"]
        assert len(outcomes) == 8
        assert len(winners) == 1
        assert content_of(backend, key) == bytes(winners) * 100_000

    @pytest.mark.parametrize("size", [0, 99, 101])
    def test_a_wrong_size_stores_nothing(self, backend: StorageBackend, size: int) -> None:
        key = case_key(1, "wav")
        with pytest.raises(IntegrityFailure):
            backend.put(key, io.BytesIO(bytes(100)), size=size)
        assert_absent(backend, key)

    def test_an_error_of_the_source_stores_nothing_and_is_raised_unchanged(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        with pytest.raises(ConnectionResetError):
            backend.put(key, slow_source(5 * MIB, max_read=MIB, breaks_at=3 * MIB))
        assert_absent(backend, key)
        backend.put(key, b"second try")

    def test_text_and_negative_sizes_are_rejected(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        with pytest.raises(InvalidInput):
            backend.put(key, io.StringIO("text"))  # type: ignore[arg-type]  # the mistake under test
        with pytest.raises(InvalidInput):
            backend.put(key, b"x", size=-1)
        assert_absent(backend, key)

    def test_memory_does_not_grow_with_the_object(self, backend: StorageBackend) -> None:
        if not self.bounded_memory:
            pytest.skip("this backend keeps its objects in memory")
        first, second = case_key(1, "wav"), archive_key(1, "wav")
        tracemalloc.start()
        try:
            backend.put(first, slow_source(64 * MIB, max_read=MIB), size=64 * MIB)
            backend.copy(first, second)
            with backend.get(second) as stream:
                while stream.read(MIB):
                    pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 40 * MIB

    def test_a_copy_is_independent_of_its_source(self, backend: StorageBackend) -> None:
        source, target = case_key(1, "wav"), archive_key(5, "wav")
        stored = backend.put(source, b"speech" * 100)
        copied = backend.copy(source, target)
        assert (copied.key, copied.size, copied.sha256) == (target, stored.size, stored.sha256)
        assert content_of(backend, source) == b"speech" * 100
        assert backend.delete(source)
        assert content_of(backend, target) == b"speech" * 100

    def test_copy_never_replaces(self, backend: StorageBackend) -> None:
        source, target = case_key(1, "wav"), archive_key(5, "wav")
        backend.put(source, b"new")
        backend.put(target, b"old")
        for existing in (target, source):
            with pytest.raises(ObjectExists):
                backend.copy(source, existing)
        assert (content_of(backend, source), content_of(backend, target)) == (b"new", b"old")

    def test_delete_is_idempotent_and_frees_the_key(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        assert backend.delete(key) is False
        backend.put(key, b"x")
        assert backend.delete(key) is True
        assert backend.delete(key) is False
        assert_absent(backend, key)
