"""Servers that leave out fields or reasons, or do not speak S3: work goes on, or one sentence says why."""

import hashlib
import re
from datetime import timedelta

import pytest
from pydantic import SecretStr

from src.errors import ConfigurationError, IntegrityFailure, ObjectExists, SpeechError, StorageUnavailable
from src.storage import S3Storage, archive_key, case_key
from tests.storage.conftest import SECRET
from tests.storage.s3_proxy import LOST

PART_BYTES = 64 * 1024
LARGE = hashlib.shake_256(b"speech").digest(PART_BYTES + 5)
ETAG = re.compile(rb"<ETag>[^<]*</ETag>")

pytestmark = pytest.mark.usefixtures("no_waiting", "small_parts")


@pytest.fixture
def small_parts(monkeypatch):
    """Parts are small, which moto accepts: what is tested here does not depend on their size."""
    for module in ("s3_parts", "s3_probe"):
        monkeypatch.setattr(f"src.storage.{module}.PART_BYTES", PART_BYTES)


def content(storage, key, **window):
    with storage.get(key, **window) as stream:
        return stream.read()


def attempts(storage, stored):
    return {
        "put": lambda: storage.put(case_key(1, "wav"), b"speech"),
        "put in parts": lambda: storage.put(case_key(1, "wav"), LARGE),
        "get": lambda: content(storage, stored),
        "head": lambda: storage.head(stored),
        "copy": lambda: storage.copy(stored, archive_key(1, "wav")),
        "list": lambda: list(storage.list()),
        "sweep": lambda: storage.sweep_incomplete(timedelta(0), dry_run=True),
        "delete": lambda: storage.delete(stored),
        "probe": storage.probe,
    }


def sentence(error):
    text = str(error)
    assert text.endswith(".")
    assert text.isprintable()
    assert SECRET not in text
    return text


def without_etags(request):
    """A gateway of MinIO with its defaults: ETags in responses to writes only, and no metadata of objects."""
    if request.operation in {"get", "head"}:
        request.hide |= {"etag"}
    request.drop |= {name for name in request.headers if name.startswith("x-amz-meta-")}


def test_a_server_without_etags_and_metadata_serves_all_operations(proxy, spoiled):
    storage = spoiled()
    proxy.spoil = without_etags
    capabilities = storage.probe()
    assert any("no ETag" in note for note in capabilities.notes)
    assert any("does not keep metadata" in note for note in capabilities.notes)
    small, large, copied = case_key(1, "wav"), case_key(2, "wav"), archive_key(1, "wav")
    storage.put(small, b"speech")
    assert storage.put(large, LARGE).sha256 == hashlib.sha256(LARGE).hexdigest()
    assert storage.copy(large, copied).sha256 == hashlib.sha256(LARGE).hexdigest()
    assert content(storage, copied) == LARGE
    assert content(storage, small, offset=1, length=3) == b"pee"
    with pytest.raises(ObjectExists):
        storage.put(small, b"other")
    assert storage.delete(small) is True


@pytest.mark.parametrize(("data", "operation"), [(b"speech", "put"), (LARGE, "complete")])
def test_a_lost_answer_is_not_an_error_without_metadata(proxy, spoiled, data, operation):
    storage = spoiled()
    proxy.spoil = without_etags
    storage.probe()
    proxy.reset()

    def spoil(request):
        without_etags(request)
        request.fate = LOST if request.operation == operation and proxy.count(operation) == 1 else None

    proxy.spoil = spoil
    key = case_key(1, "wav")
    assert storage.put(key, data).sha256 == hashlib.sha256(data).hexdigest()
    assert content(storage, key) == data


def test_without_etags_an_object_replaced_while_it_is_read_is_never_mixed(proxy, spoiled):
    storage = spoiled()
    key, data = case_key(1, "wav"), LARGE * 10  # more than the read-ahead
    storage.put(key, data)
    proxy.spoil = without_etags
    with storage.get(key) as stream:
        assert stream.read(10) == data[:10]
        storage._bucket.call("put_object", key, Body=bytes(len(data) - 1))
        with pytest.raises(IntegrityFailure, match="was replaced while it was read"):
            stream.read()


def hide_header(name):
    return lambda request: request.hide.add(name)


def hide_element(name):
    pattern = re.compile(f"<{name}>[^<]*</{name}>".encode())

    def spoil(request):
        if (
            (request.method != "HEAD" and request.operation != "get")
            or "list-type" in request.query
            or "uploads" in request.query
        ):
            request.rewrite = lambda body: pattern.sub(b"", body)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "refused", "named"),
    [
        (hide_header("last-modified"), {"head", "get", "copy"}, "LastModified"),
        (hide_header("etag"), {"put in parts"}, "UploadPart"),
        (hide_element("UploadId"), {"put in parts"}, "UploadId"),
        (hide_element("Key"), {"list"}, "KeyError"),
        (hide_element("Size"), {"list"}, "Size"),
        (hide_element("LastModified"), {"list"}, "LastModified"),
        (hide_element("ETag"), {"copy"}, "UploadPartCopy"),
    ],
)
def test_a_response_without_a_field_is_named(proxy, spoiled, spoil, refused, named):
    storage = spoiled()
    storage.probe()
    stored = case_key(1, "wav")
    storage.put(stored, b"kept")
    proxy.spoil = spoil
    failed = {}
    for name, attempt in attempts(storage, stored).items():
        try:
            attempt()
        except SpeechError as error:
            failed[name] = sentence(error)
    assert refused <= failed.keys()
    assert all(named in failed[name] for name in refused)


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda _: b"<html><p>Console",
        lambda _: b"<html><p>Console</p></html>",
        lambda body: body[: len(body) // 2],
        lambda body: b"\xff\xfe" + body,
        lambda _: b"",
    ],
    ids=["html", "xhtml", "cut", "encoding", "empty"],
)
def test_a_body_that_is_not_of_s3_never_looks_like_an_empty_storage(proxy, spoiled, rewrite):
    storage = spoiled()
    storage.probe()
    storage.put(case_key(1, "wav"), b"kept")
    proxy.spoil = lambda request: setattr(request, "rewrite", rewrite if request.method == "GET" else None)
    with pytest.raises(StorageUnavailable) as caught:
        list(storage.list())
    assert "S3_ENDPOINT_URL" in sentence(caught.value)
    with pytest.raises(SpeechError) as caught:
        storage.probe()
    sentence(caught.value)


def test_a_page_without_the_address_of_the_next_is_not_the_end(proxy, spoiled):
    storage = spoiled()
    storage.put(case_key(1, "wav"), b"kept")
    pattern = re.compile(rb"<IsTruncated>false")
    proxy.spoil = lambda request: setattr(
        request, "rewrite", (lambda body: pattern.sub(b"<IsTruncated>true", body)) if request.method == "GET" else None
    )
    with pytest.raises(StorageUnavailable, match="NextContinuationToken"):
        list(storage.list())


@pytest.mark.parametrize(
    ("response", "error", "advice"),
    [
        ((400, "ExpiredToken"), StorageUnavailable, "expired.*ExpiredToken"),
        ((403, "InvalidAccessKeyId"), ConfigurationError, "AWS_ACCESS_KEY_ID.*InvalidAccessKeyId"),
        ((403, "SignatureDoesNotMatch"), ConfigurationError, "AWS_SECRET_ACCESS_KEY"),
        ((403, "RequestTimeTooSkewed"), StorageUnavailable, "clock"),
        ((400, "KMS.DisabledException"), ConfigurationError, "S3_KMS_KEY_ID"),
        ((404, "NoSuchBucket"), ConfigurationError, "S3_BUCKET"),
        ((403, "AccessDenied", {}, "<Message>may not kms:Decrypt</Message>"), ConfigurationError, "kms:Decrypt"),
        ((403, "AccessDenied", {}, "<Message>may not s3:GetObject</Message>"), StorageUnavailable, "s3:GetObject"),
        ((301, "PermanentRedirect", {"x-amz-bucket-region": "eu-north-1"}), ConfigurationError, "S3_REGION=eu-north-1"),
        ((400, "AuthorizationHeaderMalformed", {}, "<Region>eu-north-1</Region>"), ConfigurationError, "S3_REGION=eu-"),
        ((400, ""), ConfigurationError, "S3_ENDPOINT_URL"),
        ((404, ""), ConfigurationError, "S3_ENDPOINT_URL"),
        ((405, ""), ConfigurationError, "S3_ENDPOINT_URL"),
        ((302, "", {"Location": "https://login.example.org/?next=/"}), ConfigurationError, "https://login.example.org"),
        ((502, ""), StorageUnavailable, "502"),
        ((403, "SecondLevelDomainForbidden"), ConfigurationError, "in the path"),
    ],
)
def test_the_reason_of_the_server_is_named_although_head_has_none(proxy, spoiled, response, error, advice):
    storage = spoiled()
    storage.probe()
    stored = case_key(1, "wav")
    storage.put(stored, b"kept")
    proxy.spoil = lambda request: setattr(request, "fate", response)
    for name, attempt in attempts(storage, stored).items():
        with pytest.raises(error, match=advice) as caught:
            attempt()
        sentence(caught.value), name


def test_a_request_larger_than_a_proxy_allows_is_found_by_the_probe(proxy, spoiled):
    proxy.spoil = lambda request: setattr(request, "fate", (413, "") if len(request.body) >= PART_BYTES else None)
    with pytest.raises(ConfigurationError, match="client_max_body_size"):
        spoiled().probe()


def test_a_server_without_tls_is_named(moto_url):
    storage = S3Storage(
        "speech",
        endpoint_url=moto_url.replace("http:", "https:"),
        access_key_id="AKIATEST",
        secret_access_key=SecretStr(SECRET),
    )
    with pytest.raises(ConfigurationError, match="does not speak TLS"):
        storage.probe()


@pytest.mark.parametrize(
    ("refused", "error", "named"),
    [
        ("put", StorageUnavailable, "PutObject: AccessDenied"),
        ("part", StorageUnavailable, "UploadPart: AccessDenied"),
        ("complete", StorageUnavailable, "CompleteMultipartUpload: AccessDenied"),
        ("delete", StorageUnavailable, "AccessDenied"),
        ("get", StorageUnavailable, "AccessDenied"),
        ("copy part", StorageUnavailable, "UploadPartCopy: AccessDenied"),
    ],
)
def test_the_probe_names_each_missing_permission(proxy, spoiled, refused, error, named):
    proxy.spoil = lambda request: setattr(
        request, "fate", (403, "AccessDenied") if request.operation == refused else None
    )
    with pytest.raises(error, match=named):
        spoiled().probe()


def test_an_object_that_survives_its_removal_is_found_by_the_probe(proxy, spoiled):
    proxy.spoil = lambda request: setattr(
        request, "fate", (204, "x") if request.method == "DELETE" and "uploadId" not in request.query else None
    )
    with pytest.raises(StorageUnavailable, match="which then still exists"):
        spoiled().probe()


def test_the_probe_downloads_and_uploads_with_presigned_addresses(proxy, spoiled):
    storage = spoiled()
    proxy.spoil = lambda request: setattr(
        request, "fate", (403, "AccessDenied") if "X-Amz-Signature" in request.query else None
    )
    capabilities = storage.probe()
    assert not capabilities.presigned_urls
    assert any("Presigned addresses are rejected" in note and "AccessDenied" in note for note in capabilities.notes)
    proxy.reset()
    assert storage.probe().presigned_urls
    assert {"GET", "PUT"} <= {request.method for request in proxy.requests if "X-Amz-Signature" in request.query}


def test_copies_pass_through_this_machine_where_the_server_makes_none(proxy, spoiled):
    storage = spoiled()
    proxy.spoil = lambda request: setattr(
        request, "fate", (501, "NotImplemented") if request.operation == "copy part" else None
    )
    assert any("UploadPartCopy" in note for note in storage.probe().notes)
    key = case_key(1, "wav")
    storage.put(key, LARGE, content_type="audio/wav")
    assert content(storage, storage.copy(key, archive_key(1, "wav")).key) == LARGE


def test_a_default_retention_and_suspended_versions_are_noted(s3, moto_url):
    client = s3()._bucket.client
    client.create_bucket(Bucket="default-retention", ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 3}}
    client.put_object_lock_configuration(
        Bucket="default-retention", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    capabilities = s3(bucket="default-retention").probe()
    assert capabilities.object_lock
    assert any("GOVERNANCE, 3 days" in note for note in capabilities.notes)
    client.create_bucket(Bucket="versions-suspended")
    client.put_bucket_versioning(Bucket="versions-suspended", VersioningConfiguration={"Status": "Suspended"})
    assert any("is suspended" in note for note in s3(bucket="versions-suspended").probe().notes)
