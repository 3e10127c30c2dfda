"""Every backend passes the conformance tests."""

import pytest

from src.storage import LocalStorage, MemoryStorage, open_backend, register_backend
from src.storage.conformance import BackendConformance
from tests.storage.shelf import Shelf


class TestLocal(BackendConformance):
    many = 60

    @pytest.fixture
    def backend(self, tmp_path):
        return LocalStorage(tmp_path / "audio")


class TestLocalWithoutTmpfile(BackendConformance):
    many = 60

    @pytest.fixture
    def backend(self, tmp_path):
        return LocalStorage(tmp_path / "audio", use_tmpfile=False)


class TestMemory(BackendConformance):
    bounded_memory = False

    @pytest.fixture
    def backend(self):
        return MemoryStorage()


class TestThirdPartyBackend(BackendConformance):
    bounded_memory = False

    @pytest.fixture
    def backend(self, tmp_path):
        register_backend("shelf", Shelf)
        return open_backend("shelf", path=tmp_path / "shelf.sqlite")
