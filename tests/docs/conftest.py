from __future__ import annotations

from uuid import uuid4

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from pydantic import SecretStr

from src.storage import S3Storage
from tests.docs.prepared import Prepared
from tests.storage.s3_server import isolated_moto


@pytest.fixture(scope="session")
def s3_address():
    """The address of an S3 server with the bucket `speech`, without the machine's own settings for S3."""
    pytest.importorskip("moto.server", reason="moto's server is not installed")
    with isolated_moto() as url:
        storage_at(url)._bucket.client.create_bucket(Bucket="speech")
        yield url


def storage_at(url: str) -> S3Storage:
    return S3Storage(
        "speech",
        prefix=str(uuid4()),
        endpoint_url=url,
        region="us-east-1",
        access_key_id="AKIATEST",
        secret_access_key=SecretStr("secret"),
    )


@pytest.fixture
def s3_storage(s3_address):
    return storage_at(s3_address)


@pytest.fixture
def operations(owner):
    """Alembic's `op`, as the owner."""
    with owner.connect() as connection:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        with context.begin_transaction(_per_migration=True):
            connection.exec_driver_sql("CREATE TABLE case_labels (id bigint)")
            yield Operations(context)


@pytest.fixture
def prepared(db, make_audio, tone, tmp_path, request):
    """The names of the examples, in an empty folder."""
    request.getfixturevalue("monkeypatch").chdir(tmp_path)
    prepared = Prepared(db, make_audio, tone, request.getfixturevalue)
    yield prepared
    prepared.close()
