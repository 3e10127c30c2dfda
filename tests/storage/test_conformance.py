"""Every backend keeps the same promises."""

import pytest

from src.storage import LocalStorage, MemoryStorage, open_backend, register_backend
from src.storage.conformance import BackendConformance


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


class Mirror(MemoryStorage):
    """What a third party might write and register."""

    def __init__(self):
        super().__init__(name="mirror")


class TestRegisteredByAThirdParty(BackendConformance):
    bounded_memory = False

    @pytest.fixture
    def backend(self):
        register_backend("mirror", Mirror)
        return open_backend("mirror")
