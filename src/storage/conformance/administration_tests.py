"""Conformance of keys, addresses, probe, usage and sweeps."""

from __future__ import annotations

from datetime import timedelta

import pytest

from src.errors import InvalidInput, InvalidKey, UnsupportedOperation
from src.storage.conformance.fixtures import BackendTests, content_of, slow_source
from src.storage.contract import StorageBackend
from src.storage.keys import case_key

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


class AdministrationConformance(BackendTests):
    """Invalid keys are rejected; probe, usage and sweeps do not change stored objects."""

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_every_operation_rejects_invalid_keys(self, backend: StorageBackend, key: str) -> None:
        valid_key = case_key(1, "wav")
        backend.put(valid_key, b"x")
        attempts = (
            lambda: backend.put(key, b"x"),
            lambda: backend.get(key),
            lambda: backend.head(key),
            lambda: backend.delete(key),
            lambda: backend.copy(key, case_key(1, "wav")),
            lambda: backend.copy(valid_key, key),
            lambda: backend.url(key, expires_in=DAY),
            lambda: list(backend.list(after=key)),
        )
        for attempt in attempts:
            with pytest.raises(InvalidKey):
                attempt()
        assert [info.key for info in backend.list()] == [valid_key]

    def test_url_agrees_with_probe(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        backend.put(key, b"x")
        if backend.probe().presigned_urls:
            assert backend.url(key, expires_in=DAY, filename='a"\r\nb.wav').startswith(("http://", "https://"))
            assert backend.url(case_key(1, "wav"), expires_in=DAY, method="PUT", size=1).startswith("http")
            assert all(isinstance(value, str) for value in backend.upload_headers(size=1).values())
            with pytest.raises(InvalidInput):
                backend.url(key, expires_in=DAY, method="POST")  # type: ignore[arg-type]  # the mistake under test
        else:
            with pytest.raises(UnsupportedOperation):
                backend.url(key, expires_in=DAY)
            with pytest.raises(UnsupportedOperation):
                backend.upload_headers()

    def test_probe_reports_whether_creating_is_atomic(self, backend: StorageBackend) -> None:
        assert backend.probe().conditional_create == self.atomic_create

    def test_probe_leaves_nothing_behind(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        backend.put(key, b"x")
        assert backend.probe() == backend.probe()
        assert [info.key for info in backend.list()] == [key]
        assert backend.sweep_incomplete(timedelta(0), dry_run=True).found == 0

    def test_usage_is_consistent(self, backend: StorageBackend) -> None:
        usage = backend.usage()
        for size in (usage.total_bytes, usage.free_bytes):
            assert size is None or size >= 0
        if usage.total_bytes is not None and usage.free_bytes is not None:
            assert usage.free_bytes <= usage.total_bytes

    def test_a_sweep_never_removes_an_object(self, backend: StorageBackend) -> None:
        key = case_key(1, "wav")
        backend.put(key, b"x")
        with pytest.raises(ConnectionResetError):
            backend.put(case_key(1, "wav"), slow_source(100, breaks_at=50, max_read=50))
        backend.sweep_incomplete(timedelta(0), dry_run=True)
        report = backend.sweep_incomplete(timedelta(0))
        assert report.removed == report.found
        assert backend.sweep_incomplete(timedelta(0)).found == 0
        assert content_of(backend, key) == b"x"
