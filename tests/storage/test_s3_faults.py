"""Faults of S3 and of the connection: an actionable error, no lost or partial object, no credential in a message."""

import hashlib
import io
import traceback
from datetime import timedelta

import pytest
from pydantic import SecretStr

from src.errors import (
    ConfigurationError,
    IntegrityFailure,
    NoSpace,
    ObjectExists,
    ObjectNotFound,
    StorageUnavailable,
    Unavailable,
    UnsupportedOperation,
)
from src.storage import S3Storage, archive_key, case_key
from src.storage.s3_parts import PART_BYTES
from tests.storage.conftest import SECRET
from tests.storage.s3_proxy import CUT, FAILED, FLIPPED, LOST, UNANSWERED

LARGE = hashlib.shake_256(b"speech").digest(PART_BYTES * 2 + 5)
DAY = timedelta(days=1)

pytestmark = pytest.mark.usefixtures("no_waiting")


def content(storage, key):
    with storage.get(key) as stream:
        return stream.read()


def is_empty(storage):
    return list(storage.list()) == [] and storage.sweep_incomplete(timedelta(0), dry_run=True).found == 0


@pytest.mark.parametrize("fate", [FAILED, UNANSWERED, LOST])
def test_a_fault_of_every_third_request_is_tolerated(proxy, spoiled, fate):
    storage = spoiled()

    def spoil(request):
        request.fate = fate if request.number % 3 == 0 else None

    proxy.spoil = spoil
    small, large = case_key(1, "wav"), case_key(2, "wav")
    storage.put(small, b"speech")
    storage.put(large, io.BytesIO(LARGE), size=len(LARGE))
    with pytest.raises(ObjectExists):
        storage.put(large, LARGE)
    copied = storage.copy(large, archive_key(1, "wav"))
    assert copied.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert content(storage, copied.key) == LARGE
    assert content(storage, small) == b"speech"
    assert [info.key for info in storage.list()] == sorted([small, large, copied.key])
    assert storage.delete(small) is True
    with pytest.raises(ObjectNotFound):
        storage.head(small)
    # A writer that never gets the id of its upload cannot abort it: the sweep does.
    assert (storage.sweep_incomplete(timedelta(0)).removed > 0) == (fate == LOST)
    assert storage.sweep_incomplete(timedelta(0)).found == 0
    assert any(request.fate == fate for request in proxy.requests)


@pytest.mark.parametrize(("data", "operation"), [(b"speech", "put"), (LARGE, "complete")])
def test_a_lost_answer_is_not_an_error(proxy, spoiled, data, operation):
    storage = spoiled()
    storage.probe()

    def spoil(request):
        request.fate = LOST if request.operation == operation and proxy.count(operation) == 1 else None

    proxy.reset()
    proxy.spoil = spoil
    key = case_key(1, "wav")
    assert storage.put(key, data).sha256 == hashlib.sha256(data).hexdigest()
    assert proxy.count(operation) == 2
    assert content(storage, key) == data
    with pytest.raises(ObjectExists):
        storage.put(key, data)


@pytest.mark.parametrize("code", [(409, "ConditionalRequestConflict"), (404, "NoSuchUpload")])
def test_an_upload_aborted_by_another_program_can_be_retried(proxy, spoiled, code):
    storage = spoiled()
    storage.probe()
    proxy.spoil = lambda request: setattr(request, "fate", code if request.operation == "complete" else None)
    with pytest.raises(StorageUnavailable, match="try again"):
        storage.put(case_key(1, "wav"), LARGE)
    proxy.reset()
    assert is_empty(storage)


@pytest.mark.parametrize("data", [b"speech", LARGE])
def test_a_server_that_keeps_failing_raises_an_error_and_stores_nothing(proxy, spoiled, data):
    storage = spoiled()
    storage.probe()
    proxy.reset()
    proxy.spoil = lambda request: setattr(request, "fate", FAILED if request.operation in {"put", "part"} else None)
    with pytest.raises(StorageUnavailable, match="500"):
        storage.put(case_key(1, "wav"), data)
    assert 1 < len(proxy.requests) < 30
    proxy.reset()
    assert is_empty(storage)


def test_an_upload_that_cannot_be_aborted_keeps_the_first_error_and_is_swept(proxy, spoiled):
    storage = spoiled()
    storage.probe()

    def spoil(request):
        request.fate = {"part": (507, "XMinioStorageFull"), "delete": FAILED}.get(request.operation)

    proxy.spoil = spoil
    with pytest.raises(NoSpace, match="free space"):
        storage.put(case_key(1, "wav"), LARGE)
    proxy.reset()
    assert storage.sweep_incomplete(timedelta(0)).removed == 1
    assert is_empty(storage)


@pytest.mark.parametrize(("data", "operation"), [(b"speech", "put"), (LARGE, "part")])
def test_corruption_in_transit_is_detected_on_a_server_without_checksums(proxy, spoiled, data, operation):
    storage = spoiled()
    assert not storage.probe().verified_checksums
    proxy.spoil = lambda request: setattr(request, "fate", FLIPPED if request.operation == operation else None)
    with pytest.raises(IntegrityFailure, match="nothing was stored"):
        storage.put(case_key(1, "wav"), data)
    proxy.reset()
    assert is_empty(storage)


def test_a_copy_that_differs_is_removed(proxy, spoiled, monkeypatch):
    storage = spoiled()
    key, other = case_key(1, "wav"), case_key(2, "wav")
    storage.put(key, b"speech")
    storage.put(other, b"talker")
    name = storage._bucket.prefix

    def spoil(request):
        if request.operation == "copy part":
            request.headers["x-amz-copy-source"] = f"speech/{name}{other}"
            request.drop.add("x-amz-copy-source-if-match")

    proxy.spoil = spoil
    with pytest.raises(IntegrityFailure, match="nothing was copied"):
        storage.copy(key, archive_key(1, "wav"))
    assert [info.key for info in storage.list()] == sorted([key, other])


def test_reading_continues_after_a_broken_connection(proxy, spoiled):
    storage = spoiled()
    key = case_key(1, "wav")
    storage.put(key, LARGE)
    proxy.reset()
    proxy.spoil = lambda request: setattr(
        request, "fate", CUT if request.operation == "get" and proxy.count("get") < 6 else None
    )
    assert content(storage, key) == LARGE
    assert sum(request.fate == CUT for request in proxy.requests) == 5


def test_a_connection_that_always_breaks_raises_an_error(proxy, spoiled):
    storage = spoiled()
    key = case_key(1, "wav")
    storage.put(key, b"x")
    proxy.spoil = lambda request: setattr(request, "fate", CUT if request.operation == "get" else None)
    with storage.get(key) as stream, pytest.raises(StorageUnavailable, match="closed the connection 5 times"):
        stream.read()


def test_an_object_replaced_or_removed_while_it_is_read_is_never_mixed(s3):
    storage = s3()
    replaced, removed = case_key(1, "wav"), case_key(2, "wav")
    for key in (replaced, removed):
        storage.put(key, LARGE)
    with storage.get(replaced) as stream, storage.get(removed) as other:
        assert stream.read(10) == other.read(10) == LARGE[:10]
        storage._bucket.call("put_object", replaced, Body=bytes(len(LARGE)))
        storage.delete(removed)
        with pytest.raises(IntegrityFailure, match="was replaced while it was read"):
            stream.read()
        with pytest.raises(ObjectNotFound):
            other.read()


def test_a_server_that_ignores_ranges_is_rejected(proxy, spoiled):
    storage = spoiled()
    key = case_key(1, "wav")
    storage.put(key, b"0123456789")
    proxy.spoil = lambda request: request.drop.add("range")
    with storage.get(key, offset=3) as stream, pytest.raises(StorageUnavailable, match="ignores range requests"):
        stream.read()
    with pytest.raises(StorageUnavailable, match="ignores range requests"):
        storage.probe()


@pytest.mark.parametrize(
    ("response", "error", "advice"),
    [
        ((403, "InvalidAccessKeyId"), ConfigurationError, "AWS_ACCESS_KEY_ID"),
        ((403, "SignatureDoesNotMatch"), ConfigurationError, "AWS_SECRET_ACCESS_KEY"),
        ((404, "NoSuchBucket"), ConfigurationError, "S3_BUCKET"),
        ((301, "PermanentRedirect"), ConfigurationError, "S3_REGION"),
        ((400, "KMS.NotFoundException"), ConfigurationError, "S3_KMS_KEY_ID"),
        ((403, "AccessDenied"), StorageUnavailable, "lack a permission"),
        ((400, "ExpiredToken"), StorageUnavailable, "expired"),
        ((403, "RequestTimeTooSkewed"), StorageUnavailable, "clock"),
        ((503, "SlowDown"), StorageUnavailable, "too many requests"),
        ((500, "InternalError"), StorageUnavailable, "response 500.*InternalError"),
        ((418, "Teapot"), StorageUnavailable, "response 418.*Teapot"),
        ((507, "Whatever"), NoSpace, "free space"),
        ((403, "QuotaExceeded"), NoSpace, "quota"),
        ((400, "EntityTooLarge"), NoSpace, "too large"),
        ((400, "BadDigest"), IntegrityFailure, "in transit"),
        ((501, "NotImplemented"), UnsupportedOperation, "does not implement"),
    ],
)
def test_errors_of_the_server_are_translated_with_advice(proxy, spoiled, response, error, advice):
    storage = spoiled()
    storage.probe()
    stored = case_key(1, "wav")
    storage.put(stored, b"kept")
    proxy.spoil = lambda request: setattr(request, "fate", response if request.method != "HEAD" else None)
    for attempt in (
        lambda: storage.put(case_key(1, "wav"), b"speech"),
        lambda: content(storage, stored),
        lambda: storage.copy(stored, archive_key(1, "wav")),
        lambda: list(storage.list()),
        lambda: storage.delete(stored),
        lambda: storage.sweep_incomplete(DAY),
    ):
        with pytest.raises(error, match=advice) as caught:
            attempt()
        shown = "".join(traceback.format_exception(caught.value))
        assert SECRET not in shown
        assert str(caught.value).endswith(".")
        assert str(caught.value).isprintable()
    proxy.reset()
    assert [info.key for info in storage.list()] == [stored]


@pytest.mark.parametrize(
    ("code", "error"), [("SignatureDoesNotMatch", ConfigurationError), ("AccessDenied", StorageUnavailable)]
)
def test_a_rejected_head_names_the_reason_although_it_has_no_body(proxy, spoiled, code, error):
    storage = spoiled()
    proxy.spoil = lambda request: setattr(request, "fate", (403, code))
    for operation in (storage.head, storage.get, storage.delete):
        with pytest.raises(error):
            operation(case_key(1, "wav"))


def test_a_missing_bucket_is_an_error(s3):
    storage = s3(bucket="no-such-bucket")
    key = case_key(1, "wav")
    for attempt in (
        lambda: storage.head(key),
        lambda: storage.get(key),
        lambda: storage.delete(key),
        lambda: storage.put(key, b"speech"),
        lambda: list(storage.list()),
        storage.probe,
    ):
        with pytest.raises(ConfigurationError, match="S3_BUCKET"):
            attempt()


def test_a_server_that_does_not_answer_is_named(monkeypatch):
    pytest.importorskip("boto3")
    monkeypatch.setattr("src.storage.s3_client._ATTEMPTS", 2)
    storage = S3Storage(
        "speech", endpoint_url="http://127.0.0.1:9", access_key_id="AKIATEST", secret_access_key=SecretStr(SECRET)
    )
    source = io.BytesIO(b"speech")
    with pytest.raises(StorageUnavailable, match=r"127\.0\.0\.1:9 does not answer"):
        storage.put(case_key(1, "wav"), source)
    assert source.tell() == 0
    with pytest.raises(Unavailable):
        storage.probe()
