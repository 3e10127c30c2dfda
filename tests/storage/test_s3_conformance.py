"""S3 keeps the promises of every backend: on a good server, on one that ignores conditions, and on a second one."""

import os
from uuid import uuid4

import pytest
from pydantic import SecretStr

from src.storage import S3Storage
from src.storage.conformance import BackendConformance


class TestS3(BackendConformance):
    many = 60  # more than a page of a server that gives few at a time: see test_s3.py

    @pytest.fixture
    def backend(self, s3):
        return s3()


class TestS3OnAServerThatIgnoresConditions(BackendConformance):
    many = 30
    atomic_create = False
    bounded_memory = False  # the proxy, which lives in this process, holds whole requests

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
        pytest.skip("S3_TEST_ENDPOINT names no second server of S3")
