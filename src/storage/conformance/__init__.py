"""The guarantees of `StorageBackend` as tests for any backend, also of third parties.

    from src.storage.conformance import BackendConformance

    class TestMine(BackendConformance):
        @pytest.fixture
        def backend(self, tmp_path):
            return Mine(tmp_path)

Call `pytest.register_assert_rewrite("src.storage.conformance")` in the conftest for failures that show values.
Durability after a power failure or a kill needs tests of the backend itself: it cannot be observed from outside.
"""

from __future__ import annotations

from src.storage.conformance.administration import AdministrationConformance
from src.storage.conformance.reading import ReadingConformance
from src.storage.conformance.sources import drip
from src.storage.conformance.writing import WritingConformance
from src.storage.contract import StorageBackend

__all__ = ["BackendConformance", "drip"]


class BackendConformance(WritingConformance, ReadingConformance, AdministrationConformance):
    """All conformance tests; see `BackendTests` for what a derived class overrides."""

    def test_it_has_all_verbs_and_a_name(self, backend: StorageBackend) -> None:
        assert isinstance(backend, StorageBackend)
        assert backend.name
