"""S3 passes the conformance tests: on moto, on a server that ignores conditions, and on a second server."""

import os
from uuid import uuid4

import pytest
from pydantic import SecretStr

from src.storage import S3Storage
from src.storage.conformance import BackendConformance


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


if "S3_TEST_ENDPOINT" in os.environ:

    class TestS3OnASecondServer(BackendConformance):
        many = 1050

        @pytest.fixture
        def backend(self):
            name = f"conformance-{uuid4()}"
            storage = S3Storage(
                name,
                endpoint_url=os.environ["S3_TEST_ENDPOINT"],
                access_key_id=os.environ.get("S3_TEST_ACCESS_KEY_ID", "test"),
                secret_access_key=SecretStr(os.environ.get("S3_TEST_SECRET_ACCESS_KEY", "test")),
            )
            client = storage._bucket.client
            client.create_bucket(Bucket=name)
            yield storage
            for info in storage.list():
                storage.delete(info.key)
            client.delete_bucket(Bucket=name)

else:

    def test_s3_on_a_second_server():
        pytest.skip("S3_TEST_ENDPOINT is not set to a second S3 server")
