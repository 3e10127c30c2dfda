import pytest

from src.storage import LocalStorage

pytest.register_assert_rewrite("src.storage.conformance")


@pytest.fixture(params=[True, False], ids=["tmpfile", "named"])
def local(request, tmp_path):
    """A local storage, once as the system allows and once with the detour for file systems without O_TMPFILE."""
    return LocalStorage(tmp_path / "audio", use_tmpfile=request.param)
