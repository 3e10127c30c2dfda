"""Backends by name."""

import subprocess
import sys

import pytest

from src.errors import ConfigurationError, InvalidInput
from src.storage import LocalStorage, MemoryStorage, open_backend, register_backend


def test_local_and_memory_are_registered(tmp_path):
    assert isinstance(open_backend("local", root=tmp_path / "audio"), LocalStorage)
    assert isinstance(open_backend("memory"), MemoryStorage)
    assert not (tmp_path / "audio").exists()


def test_an_unknown_name_is_rejected_with_the_registered_ones():
    with pytest.raises(ConfigurationError, match=r"'tape'.*local, memory"):
        open_backend("tape")


def test_a_name_is_registered_once():
    def second():
        return MemoryStorage(name="local")

    register_backend("local", LocalStorage)
    with pytest.raises(InvalidInput, match="registered for another backend"):
        register_backend("local", second)
    assert open_backend("local", root="x").name == "local"


@pytest.mark.parametrize("name", ["", "S3", "1st", "a b", "x" * 33, "nas\n"])
def test_invalid_names_are_rejected(name):
    with pytest.raises(InvalidInput):
        register_backend(name, MemoryStorage)


def test_a_backend_must_have_the_name_it_is_registered_with():
    register_backend("misnamed", MemoryStorage)
    with pytest.raises(ConfigurationError, match="'memory'"):
        open_backend("misnamed")
    assert open_backend("misnamed", name="misnamed").name == "misnamed"


def test_importing_the_storage_package_loads_no_heavy_modules():
    heavy = "{'pytest', 'sqlalchemy', 'boto3', 'botocore', 'av', 'pydantic', 'src.database', 'src.config'}"
    program = f"import sys, src.storage; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
