"""Presigned addresses, and the file names of downloads."""

import email.message
import re
import urllib.error
import urllib.request
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from src.errors import InvalidInput
from src.storage import S3Storage, case_key, open_backend
from src.storage.content_disposition import content_disposition
from tests.storage.conftest import SECRET
from tests.storage.hostile_names import HOSTILE_NAMES

HOUR = timedelta(hours=1)


def name_in(header):
    """The name for clients that support `filename*`, which takes precedence (RFC 6266)."""
    return plain_name_in(re.sub('filename="[^"]*"; ', "", header))


def plain_name_in(header):
    message = email.message.Message()
    message["Content-Disposition"] = header
    return message.get_filename()


def put(url, data, headers):
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method="PUT")) as response:
        return response.status


def test_a_get_downloads_the_bytes_under_the_name(s3):
    storage = s3()
    key = case_key(1, "wav")
    storage.put(key, b"speech", content_type="text/html")
    with urllib.request.urlopen(storage.url(key, expires_in=HOUR, filename='Gespräch "Ä"; x=1.wav')) as response:
        assert response.read() == b"speech"
        assert name_in(response.headers["Content-Disposition"]) == "Gespräch _Ä_; x=1.wav"
    with urllib.request.urlopen(storage.url(key, expires_in=HOUR)) as response:
        assert response.headers["Content-Disposition"] == "attachment"


def test_a_put_never_replaces(s3):
    storage = s3()
    key = case_key(1, "wav")
    url = storage.url(key, expires_in=HOUR, method="PUT", size=6, content_type="audio/wav")
    headers = storage.upload_headers(size=6, content_type="audio/wav")
    assert put(url, b"speech", headers) == 200
    assert storage.head(key).size == 6
    assert storage.head(key).sha256 is None
    with pytest.raises(urllib.error.HTTPError, match="412"):
        put(url, b"second", headers)
    assert storage.get(key).read() == b"speech"


def test_the_upload_headers_are_signed():
    storage = S3Storage(
        "speech",
        endpoint_url="https://s3.example.org",
        access_key_id="AKIATEST",
        secret_access_key=SecretStr(SECRET),
        server_side_encryption="aws:kms",
        kms_key_id="key-1",
    )
    options = {"size": 6, "content_type": "audio/wav"}
    url = storage.url(case_key(1, "wav"), expires_in=timedelta(minutes=5), method="PUT", **options)
    query = parse_qs(urlsplit(url).query)
    assert set(query["X-Amz-SignedHeaders"][0].split(";")) - {"host"} == {
        header.lower() for header in storage.upload_headers(**options)
    }
    assert query["X-Amz-Expires"] == ["300"]
    assert SECRET not in url


@pytest.mark.parametrize("expires_in", [timedelta(0), timedelta(seconds=-1), timedelta(days=7, seconds=1)])
def test_times_out_of_range_are_rejected(expires_in):
    with pytest.raises(InvalidInput, match="7 days"):
        S3Storage("speech").url(case_key(1, "wav"), expires_in=expires_in)


@pytest.mark.parametrize("kind", ["local", "memory", "s3"])
@pytest.mark.parametrize("method", ["get", "POST", "", None])
def test_unknown_methods_are_rejected_with_the_choices(tmp_path, kind, method):
    options = {"local": {"root": tmp_path}, "memory": {}, "s3": {"bucket": "speech"}}
    with pytest.raises(InvalidInput, match=r"method: .*'GET', 'PUT'"):
        open_backend(kind, **options[kind]).url(case_key(1, "wav"), expires_in=HOUR, method=method)


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_hostile_names_become_harmless_headers(name):
    check_header(content_disposition(name))


@given(st.text() | st.text(alphabet="./\\\"%\r\n;=' \u202e\ud800äß漢\U0001f3a4", max_size=300))
def test_any_name_becomes_a_harmless_header(name):
    check_header(content_disposition(name))


def check_header(header):
    assert header.isascii()
    assert header.isprintable()
    assert len(header) < 1200
    if header == "attachment":
        return
    for read in (name_in(header), plain_name_in(header.split("; filename*=")[0])):
        assert read.strip("._ ")
        assert not set(read) & set('/\\"\r\n\0<>|*?%:\u202e')
        assert len(read.encode()) <= 255


@pytest.mark.parametrize(
    ("name", "full", "plain"),
    [
        ("interview.flac", "interview.flac", "interview.flac"),
        ("Vernehmung Müller.wav", "Vernehmung Müller.wav", "Vernehmung Muller.wav"),
        ("会議.mp3", "会議.mp3", "recording.mp3"),
        ("../../etc/passwd", ".._.._etc_passwd", ".._.._etc_passwd"),
        ("a\r\nSet-Cookie: x=1.wav", "a__Set-Cookie_ x=1.wav", "a__Set-Cookie_ x=1.wav"),
        ("x\u202egpj.exe", "x_gpj.exe", "x_gpj.exe"),
        ("a" * 300 + ".wav", "a" * 251 + ".wav", "a" * 251 + ".wav"),
        ("ａ／ｂ.wav", "ａ／ｂ.wav", "a_b.wav"),
    ],
)
def test_harmless_characters_of_a_name_are_kept(name, full, plain):
    header = content_disposition(name)
    assert (name_in(header), plain_name_in(header.split("; filename*=")[0])) == (full, plain)


@pytest.mark.parametrize("name", [None, "", "...", " . ", "_/_"])
def test_a_name_without_characters_is_not_sent(name):
    assert content_disposition(name) == "attachment"
