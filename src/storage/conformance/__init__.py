"""The guarantees of `StorageBackend` as pytest tests, for our own and third-party backends.

    from src.storage.conformance import BackendConformance

    class TestMyStorage(BackendConformance):
        @pytest.fixture
        def backend(self, tmp_path):
            return MyStorage(tmp_path)

Call `pytest.register_assert_rewrite("src.storage.conformance")` in the conftest, so that failures show values.
Durability after a power failure or a kill needs tests of the backend itself: it cannot be observed from outside.
"""

from __future__ import annotations

from src.storage.conformance.administration_tests import AdministrationConformance
from src.storage.conformance.fixtures import slow_source
from src.storage.conformance.marker_tests import MarkerConformance
from src.storage.conformance.reading_tests import ReadingConformance
from src.storage.conformance.writing_tests import WritingConformance
from src.storage.contract import StorageBackend

__all__ = ["BackendConformance", "slow_source"]


class BackendConformance(WritingConformance, ReadingConformance, AdministrationConformance, MarkerConformance):
    """All conformance tests; see `BackendTests` for what a derived class overrides."""

    def test_backend_has_all_operations_and_a_name(self, backend: StorageBackend) -> None:
        assert isinstance(backend, StorageBackend)
        assert backend.name
