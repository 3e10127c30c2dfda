import os
from uuid import uuid4

import pytest
from pydantic import SecretStr

from src.storage import LocalStorage, S3Storage
from tests.storage.s3_proxy import running_proxy
from tests.storage.s3_server import running_moto

pytest.register_assert_rewrite("src.storage.conformance")

SECRET = "hunter2-the-secret-of-s3"


@pytest.fixture(params=[True, False], ids=["tmpfile", "named"])
def local(request, tmp_path):
    """A local storage, once as the system allows and once with the detour for file systems without O_TMPFILE."""
    return LocalStorage(tmp_path / "audio", use_tmpfile=request.param)


@pytest.fixture(scope="session")
def moto_url():
    """A server of S3 for the whole run; tests keep apart by buckets or prefixes of their own."""
    pytest.importorskip("moto.server", reason="moto's server is not installed")
    # What a machine or a person has set for S3 must not reach these tests.
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        with running_moto() as url:
            _storage(url)._bucket.client.create_bucket(Bucket="speech")
            yield url


@pytest.fixture(scope="session")
def _proxy(moto_url):
    with running_proxy(moto_url) as both:
        yield both


@pytest.fixture
def proxy(_proxy):
    """The proxy before moto, passing everything on until a test says otherwise."""
    proxy, _ = _proxy
    proxy.reset()
    yield proxy
    proxy.reset()


@pytest.fixture(scope="session")
def _clients():
    return {}


@pytest.fixture
def s3(moto_url, _clients):
    """A storage on moto in an empty place of its own; makes another one when called."""
    return _maker(moto_url, _clients)


@pytest.fixture
def spoiled(_proxy, proxy, _clients):
    """The same behind the proxy."""
    return _maker(_proxy[1], _clients)


@pytest.fixture
def no_waiting(monkeypatch):
    """boto3 tries again at once instead of after a random time."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


def _storage(url, **options):
    return S3Storage(
        options.pop("bucket", "speech"),
        endpoint_url=url,
        access_key_id="AKIATEST",
        secret_access_key=SecretStr(SECRET),
        **options,
    )


def _maker(url, clients):
    def make(**options):
        storage = _storage(url, **{"prefix": f"tests/{uuid4()}", **options})
        # A client takes long to build, and it is the same for all storages of one address.
        if (os.getpid(), url) not in clients:
            clients[os.getpid(), url] = storage._bucket.client
        storage._bucket._clients = {os.getpid(): clients[os.getpid(), url]}
        return storage

    return make
