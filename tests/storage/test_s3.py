"""S3 beyond the contract: bytes transferred, pages, parts, encryption, versions, sweeps, processes."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr

from src.config import Settings, load_settings
from src.errors import ConfigurationError, IntegrityFailure, InvalidInput, InvalidKey, NoSpace, ObjectNotFound
from src.storage import Encryption, S3Storage, archive_key, case_key, open_backend
from src.storage.keys import AREAS
from src.storage.s3_parts import MAX_PARTS, PART_BYTES, SourceDigest, part_sizes, split_source
from tests.storage.conftest import SECRET
from tests.storage.hostile_names import HOSTILE_NAMES

REPOSITORY = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
LARGE = hashlib.shake_256(b"speech").digest(PART_BYTES * 2 + 5)
NOWHERE = {"endpoint_url": "http://127.0.0.1:9", "access_key_id": "AKIATEST", "secret_access_key": SecretStr(SECRET)}


def raw(storage, operation, key, **parameters):
    return storage._bucket.call(operation, key, **parameters)


def test_a_range_of_a_large_object_transfers_few_bytes(proxy, spoiled):
    storage = spoiled()
    key = case_key(1, "wav")
    data = hashlib.shake_256(b"large").digest(24 * MIB)
    storage.put(key, data)
    for offset in (0, 11 * MIB, 24 * MIB - 65536):
        proxy.reset()
        with storage.get(key, offset=offset, length=65536) as stream:
            assert stream.read() == data[offset : offset + 65536]
        assert proxy.bytes_sent == 65536
        proxy.reset()
        with storage.get(key) as stream:
            stream.seek(offset)
            assert stream.read(65536) == data[offset : offset + 65536]
        assert proxy.bytes_sent <= 256 * 1024


def test_sequential_reading_needs_few_requests(proxy, spoiled):
    storage = spoiled()
    key = case_key(1, "wav")
    data = hashlib.shake_256(b"large").digest(24 * MIB)
    storage.put(key, data)
    proxy.reset()
    with storage.get(key) as stream:
        assert b"".join(iter(lambda: stream.read(100_000), b"")) == data
    assert proxy.bytes_sent == len(data)
    assert proxy.count("get") < 10


@pytest.mark.parametrize(
    ("listing", "limit", "pages"),
    [("list-type", "max-keys", 3), ("uploadId", "max-parts", 4)],
)
def test_several_pages_are_read(proxy, spoiled, listing, limit, pages):
    storage = spoiled()
    stored = sorted(case_key(1 + number % 3, "wav") for number in range(6))
    for key in stored:
        storage.put(key, b"x")
    for key in stored[:3]:
        upload = raw(storage, "create_multipart_upload", key)["UploadId"]
        for number in (1, 2, 3):
            raw(storage, "upload_part", key, UploadId=upload, PartNumber=number, Body=b"part")
    small = []

    def spoil(request):
        if request.method == "GET" and listing in request.query:
            request.path += f"&{limit}=2"
            small.append(request)

    proxy.spoil = spoil
    assert [info.key for info in storage.list("cases")] == stored
    report = storage.sweep_incomplete(timedelta(0))
    assert len(small) >= pages
    assert (report.found, report.removed, report.found_bytes) == (3, 3, 36)
    assert [info.key for info in storage.list("cases", after=stored[2])] == stored[3:]


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_an_unrestricted_list_contains_every_kind_of_key(s3, tmp_path, kind):
    storage = s3() if kind == "s3" else open_backend("local", root=tmp_path)
    stored = []
    for area in AREAS:
        extension = {"heads": "json", "history": "gz"}.get(area, "wav")
        stored.append(storage.put(f"{area}/7/6f8d4e2a-0b1c-4d3e-8f5a-9b7c6d5e4f3a.{extension}", b"x").key)
    assert [info.key for info in storage.list()] == sorted(stored)


def test_other_objects_in_the_bucket_are_neither_listed_nor_swept(s3):
    storage = s3()
    key = case_key(1, "wav")
    storage.put(key, b"speech")
    for name in ("notes.txt", "cases/notes.txt", "cases/1/not a key.wav"):
        raw(storage, "put_object", name, Body=b"other")
    raw(storage, "create_multipart_upload", "backup.tar")
    assert [info.key for info in storage.list()] == [key]
    assert storage.sweep_incomplete(timedelta(0)).found == 0


def test_head_returns_the_hash_where_it_is_recorded(s3):
    storage = s3()
    small, large = case_key(1, "wav"), case_key(2, "wav")
    kept = storage.put(small, b"speech", content_type="audio/wav")
    parts = storage.put(large, LARGE, content_type="audio/wav; codecs=1")
    assert storage.head(small).sha256 == kept.sha256
    assert storage.head(large).sha256 is None
    copied = storage.copy(large, archive_key(1, "wav"))
    assert storage.head(copied.key).sha256 == copied.sha256 == parts.sha256
    assert raw(storage, "head_object", copied.key)["ContentType"] == "audio/wav; codecs=1"
    raw(storage, "put_object", case_key(3, "wav"), Body=b"x", Metadata={"sha256": "not a hash"})
    assert [storage.head(info.key).sha256 for info in storage.list("cases/3")] == [None]


@pytest.mark.parametrize("content_type", ["audio", "audio/x\r\nX-Evil: 1", "", "a/b; c", "t\xe9/x"])
def test_invalid_content_types_are_rejected(content_type):
    with pytest.raises(InvalidInput, match="audio/flac"):
        S3Storage("speech", **NOWHERE).put(case_key(1, "wav"), b"x", content_type=content_type)


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_hostile_names_are_rejected_as_keys_before_any_request(name, monkeypatch):
    monkeypatch.setattr("src.storage.s3_bucket.open_client", lambda **_: pytest.fail("a client was created"))
    storage = S3Storage("speech", **NOWHERE)
    good = case_key(1, "wav")
    attempts = (
        lambda: storage.put(name, b"x"),
        lambda: storage.get(name),
        lambda: storage.head(name),
        lambda: storage.delete(name),
        lambda: storage.copy(name, good),
        lambda: storage.copy(good, name),
        lambda: storage.url(name, expires_in=timedelta(1)),
        lambda: storage.list(after=name),
    )
    for attempt in attempts:
        with pytest.raises(InvalidKey):
            attempt()
    if name:
        with pytest.raises(InvalidKey):
            storage.list(name)


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"server_side_encryption": "AES256"}, ("AES256", None)),
        ({"server_side_encryption": "aws:kms", "kms_key_id": "key-1"}, ("aws:kms", "key-1")),
    ],
)
def test_objects_are_encrypted_as_configured(s3, options, sent):
    storage = s3(**options)
    small, large = case_key(1, "wav"), case_key(2, "wav")
    storage.put(small, b"speech")
    storage.put(large, LARGE)
    copied = storage.copy(large, archive_key(1, "wav"))
    for key in (small, large, copied.key):
        seen = raw(storage, "head_object", key)
        assert (seen.get("ServerSideEncryption"), seen.get("SSEKMSKeyId")) == sent
    assert storage.upload_headers()["x-amz-server-side-encryption"] == sent[0]


def test_a_bucket_with_versions_hides_deleted_objects(s3):
    storage = s3(bucket="versions")
    client = storage._bucket.client
    client.create_bucket(Bucket="versions")
    client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    seen = storage.probe()
    assert (seen.object_versions, seen.object_lock) == (True, False)
    assert any("keeps versions" in note for note in seen.notes)
    left = client.list_object_versions(Bucket="versions")
    assert (left.get("Versions"), left.get("DeleteMarkers")) == (None, None)

    key = case_key(1, "wav")
    storage.put(key, b"first")
    assert storage.delete(key) is True
    assert storage.delete(key) is False
    with pytest.raises(ObjectNotFound):
        storage.get(key)
    storage.put(key, b"second")
    assert storage.get(key).read() == b"second"
    assert len(client.list_object_versions(Bucket="versions")["Versions"]) == 2


def test_a_bucket_with_object_lock_is_detected(s3):
    storage = s3(bucket="locked")
    storage._bucket.client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    seen = storage.probe()
    assert (seen.object_versions, seen.object_lock) == (True, True)
    assert any("retention" in note for note in seen.notes)
    assert not any("could not be removed" in note for note in seen.notes)


def test_a_bucket_with_default_retention_stores_and_hides_objects(s3):
    storage = s3(bucket="retained")
    client = storage._bucket.client
    client.create_bucket(Bucket="retained", ObjectLockEnabledForBucket=True)
    storage.probe()
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    client.put_object_lock_configuration(
        Bucket="retained", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    small, large = case_key(1, "wav"), case_key(2, "wav")
    storage.put(small, b"speech")
    storage.put(large, LARGE)
    for key in (small, large):
        assert storage.delete(key) is True
        with pytest.raises(ObjectNotFound):
            storage.head(key)
    assert len(client.list_object_versions(Bucket="retained", Prefix=storage._bucket.prefix + "cases")["Versions"]) == 2


def test_probe_reports_ignored_conditions(proxy, spoiled):
    storage = spoiled()
    assert storage.probe().conditional_create is True
    for operation, name in (("put", "PutObject"), ("complete", "CompleteMultipartUpload")):
        proxy.spoil = lambda request, operation=operation: (
            request.drop.add("if-none-match") if request.operation == operation else None
        )
        seen = storage.probe()
        assert seen.conditional_create is False
        assert f"({name})" in seen.notes[0]


def test_the_server_is_probed_once(proxy, spoiled):
    storage = spoiled()
    storage.put(case_key(1, "wav"), b"x")
    proxy.reset()
    storage.put(case_key(1, "wav"), b"x")
    assert len(proxy.requests) == 1


def test_a_sweep_keeps_live_uploads_of_this_process(s3):
    storage = s3()
    seen = []

    class Source(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > PART_BYTES * 1.5:
                seen.append(storage.sweep_incomplete(timedelta(0)))
            return super().read(size)

    storage.put(case_key(1, "wav"), Source(LARGE))
    assert seen
    assert {report.found for report in seen} == {0}


def test_a_sweep_aborts_the_upload_of_a_killed_writer(s3, moto_url):
    storage = s3()
    program = f"""
import signal, sys
from pydantic import SecretStr
from src.storage import S3Storage, case_key
class Source:
    left = 5
    def read(self, size):
        self.left -= 1
        if self.left == 0:
            print("reading", flush=True)
            signal.pause()
        return bytes({PART_BYTES})
storage = S3Storage("speech", prefix={storage._bucket.prefix!r}, endpoint_url={moto_url!r},
                    access_key_id="AKIATEST", secret_access_key=SecretStr("x"))
storage.put(case_key(1, "wav"), Source())
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"reading\n"
        assert storage.sweep_incomplete(timedelta(hours=1)).found == 0
        writer.send_signal(signal.SIGKILL)
    assert list(storage.list()) == []
    dry = storage.sweep_incomplete(timedelta(0), dry_run=True)
    assert (dry.found, dry.removed) == (1, 0)
    assert storage.sweep_incomplete(timedelta(0)).removed == 1
    assert storage.sweep_incomplete(timedelta(0)).found == 0


def test_parts_hold_five_tebibytes_for_known_and_unknown_sizes():
    tebibytes = 5 * 1024**4
    for size in (None, tebibytes, tebibytes - 1, 100 * 1024**3, PART_BYTES + 1):
        sizes = list(part_sizes(size))
        assert len(sizes) == MAX_PARTS
        assert sum(sizes) >= (size or tebibytes)
        assert min(sizes) >= 5 * MIB
        assert max(sizes) <= 5 * 1024**3
        assert size is None or len(set(sizes)) == 1
    assert sum(list(part_sizes(None))[:1000]) == 1000 * PART_BYTES


def test_more_than_five_tebibytes_is_rejected(monkeypatch):
    with pytest.raises(NoSpace, match="5 TiB"):
        S3Storage("speech").put(case_key(1, "wav"), b"", size=5 * 1024**4 + 1)
    monkeypatch.setattr("src.storage.s3_parts.part_sizes", lambda _size: iter([3, 3]))
    assert list(split_source(b"123456", "k", None, SourceDigest())) == [b"123", b"456"]
    with pytest.raises(NoSpace, match="5 TiB"):
        list(split_source(b"1234567", "k", None, SourceDigest()))
    with pytest.raises(IntegrityFailure):
        list(split_source(b"12345", "k", 6, SourceDigest()))


def test_a_child_process_has_its_own_client(s3):
    storage = s3()
    key, key_of_child = case_key(1, "wav"), case_key(2, "wav")
    storage.put(key, LARGE)
    with storage.get(key) as stream:
        assert stream.read(300_000) == LARGE[:300_000]
        client = storage._bucket.client
        child = os.fork()
        if child == 0:
            fresh = storage._bucket.client is not client
            equal = stream.read() == LARGE[300_000:] and storage.put(key_of_child, b"child").size == 5
            os._exit(0 if fresh and equal else 1)
        assert stream.read() == LARGE[300_000:]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert storage.get(key_of_child).read() == b"child"


def test_threads_share_a_storage(s3):
    storage = s3()
    mismatches = []

    def work(number):
        key, data = case_key(number, "wav"), bytes([number]) * 300_000
        storage.put(key, io.BytesIO(data))
        with storage.get(key) as stream:
            if stream.read() != data:
                mismatches.append(key)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mismatches == []
    assert len(list(storage.list())) == 8


def test_boto3_is_imported_at_first_use_and_named_when_missing():
    program = """
import sys
sys.modules["boto3"] = None
from src.errors import PackageMissing
from src.storage import case_key, open_backend
storage = open_backend("s3", bucket="speech")
assert "botocore" not in sys.modules
try:
    storage.head(case_key(1, "wav"))
except PackageMissing as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert "boto3" in done.stdout
    assert "pip install" in done.stdout


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"bucket": ""}, "S3_BUCKET"),
        ({"endpoint_url": "localhost:9000"}, "S3_ENDPOINT_URL"),
        ({"endpoint_url": "ftp://host"}, "S3_ENDPOINT_URL"),
        ({"endpoint_url": f"http://me:{SECRET}@host"}, "S3_ENDPOINT_URL"),
        ({"endpoint_url": "http://[::1"}, "S3_ENDPOINT_URL"),
        ({"access_key_id": "AKIATEST"}, "AWS_SECRET_ACCESS_KEY"),
        ({"secret_access_key": SecretStr(SECRET)}, "AWS_ACCESS_KEY_ID"),
        ({"access_key_id": "AKIATEST", "secret_access_key": SECRET}, "SecretStr"),
        ({"prefix": "a/../b"}, "S3_PREFIX"),
        ({"prefix": "a//b"}, "S3_PREFIX"),
        ({"prefix": "a b"}, "S3_PREFIX"),
        ({"server_side_encryption": "rot13"}, "S3_SERVER_SIDE_ENCRYPTION"),
        ({"kms_key_id": "key"}, "S3_KMS_KEY_ID"),
    ],
)
def test_invalid_settings_are_named(options, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        S3Storage(**{"bucket": "speech", **options})
    assert SECRET not in str(caught.value)


def test_the_settings_accept_the_encryptions_of_the_storage():
    annotation = Settings.model_fields["s3_server_side_encryption"].annotation
    assert get_args(annotation) == (Encryption, type(None))


def test_missing_credentials_are_named(moto_url):
    storage = S3Storage("speech", endpoint_url=moto_url)
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID"):
        storage.head(case_key(1, "wav"))


def test_a_missing_profile_is_named(moto_url, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigurationError, match="AWS_PROFILE"):
        S3Storage("speech", endpoint_url=moto_url).head(case_key(1, "wav"))


def test_repr_contains_no_secret():
    storage = S3Storage("speech", prefix="/team/audio/", **NOWHERE)
    assert repr(storage) == "S3Storage(Bucket 'speech' at 127.0.0.1:9, prefix='team/audio/')"
    assert SECRET not in repr(vars(storage)) + repr(vars(storage._bucket))


def test_the_settings_open_a_storage(monkeypatch, tmp_path, moto_url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="S3_BUCKET"):
        load_settings().s3_options()
    (tmp_path / ".env").write_text(
        f"S3_BUCKET=speech\nS3_PREFIX=from-settings\nS3_ENDPOINT_URL={moto_url}\nAWS_ACCESS_KEY_ID=AKIATEST\n"
        f"AWS_SECRET_ACCESS_KEY={SECRET}\nS3_SERVER_SIDE_ENCRYPTION=AES256\n"
    )
    storage = open_backend("s3", **load_settings().s3_options())
    key = case_key(1, "wav")
    before = datetime.now(UTC) - timedelta(minutes=1)
    storage.put(key, b"speech")
    assert storage.head(key).modified > before
    assert raw(storage, "head_object", key)["ServerSideEncryption"] == "AES256"
    storage.delete(key)
