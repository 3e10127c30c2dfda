import os
from uuid import uuid4

import pytest
from pydantic import SecretStr

from src.storage import LocalStorage, S3Storage
from tests.storage.s3_proxy import running_proxy
from tests.storage.s3_server import isolated_moto
from tests.storage.seaweed_server import running_seaweed

pytest.register_assert_rewrite("src.storage.conformance")

SECRET = "hunter2-the-secret-of-s3"


@pytest.fixture(params=[True, False], ids=["tmpfile", "named"])
def local(request, tmp_path):
    """A local storage, with O_TMPFILE where the system supports it, and without."""
    return LocalStorage(tmp_path / "audio", use_tmpfile=request.param)


@pytest.fixture(scope="session")
def moto_url():
    """An S3 server for the whole run; each test uses its own bucket or prefix."""
    pytest.importorskip("moto.server", reason="moto's server is not installed")
    with isolated_moto() as url:
        _storage(url)._bucket.client.create_bucket(Bucket="speech")
        yield url


@pytest.fixture(scope="session")
def seaweed_url(moto_url):  # whose fixture hides the AWS settings of the machine
    """A server of SeaweedFS for the whole run."""
    with running_seaweed() as url:
        _storage(url)._bucket.client.create_bucket(Bucket="speech")
        yield url


@pytest.fixture(scope="session")
def _proxy(moto_url):
    with running_proxy(moto_url) as proxy_and_url:
        yield proxy_and_url


@pytest.fixture
def proxy(_proxy):
    """The proxy in front of moto; forwards every request until a test sets `spoil`."""
    proxy, _ = _proxy
    proxy.reset()
    yield proxy
    proxy.reset()


@pytest.fixture(scope="session")
def _clients():
    return {}


@pytest.fixture
def s3(moto_url, _clients):
    """A function that returns a storage on moto with its own empty prefix."""
    return _maker(moto_url, _clients)


@pytest.fixture
def seaweed(seaweed_url, _clients):
    """The same function for storages on SeaweedFS."""
    return _maker(seaweed_url, _clients)


@pytest.fixture
def spoiled(_proxy, proxy, _clients):
    """The same function for storages behind the proxy."""
    return _maker(_proxy[1], _clients)


@pytest.fixture
def no_waiting(monkeypatch):
    """boto3 retries immediately instead of after a random time."""
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
        # A client is slow to create, and the same for all storages of an address.
        if (os.getpid(), url) not in clients:
            clients[os.getpid(), url] = storage._bucket.client
        storage._bucket._clients = {os.getpid(): clients[os.getpid(), url]}
        return storage

    return make
