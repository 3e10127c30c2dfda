"""Addresses that work without credentials, and the names that downloads get."""

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
from src.storage import S3Storage, case_key
from src.storage.content_disposition import content_disposition
from tests.storage.conftest import SECRET
from tests.storage.hostile_names import HOSTILE_NAMES

HOUR = timedelta(hours=1)


def name_in(header):
    """What a client reads that knows the newer form, which wins (RFC 6266); read by the standard library."""
    return plain_name_in(re.sub('filename="[^"]*"; ', "", header))


def plain_name_in(header):
    message = email.message.Message()
    message["Content-Disposition"] = header
    return message.get_filename()


def put(url, data, headers):
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method="PUT")) as answer:
        return answer.status


def test_a_get_brings_the_bytes_as_a_download_of_that_name(s3):
    storage = s3()
    key = case_key(1, "wav")
    storage.put(key, b"speech", content_type="text/html")
    with urllib.request.urlopen(storage.url(key, expires_in=HOUR, filename='Gespräch "Ä"; x=1.wav')) as answer:
        assert answer.read() == b"speech"
        assert name_in(answer.headers["Content-Disposition"]) == "Gespräch _Ä_; x=1.wav"
    with urllib.request.urlopen(storage.url(key, expires_in=HOUR)) as answer:
        assert answer.headers["Content-Disposition"] == "attachment"


def test_a_put_stores_once(s3):
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


def test_what_a_client_must_send_is_signed():
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
def test_impossible_times_are_refused(expires_in):
    with pytest.raises(InvalidInput, match="7 days"):
        S3Storage("speech").url(case_key(1, "wav"), expires_in=expires_in)


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
def test_a_name_survives_as_far_as_it_may(name, full, plain):
    header = content_disposition(name)
    assert (name_in(header), plain_name_in(header.split("; filename*=")[0])) == (full, plain)


@pytest.mark.parametrize("name", [None, "", "...", " . ", "_/_"])
def test_a_name_without_characters_is_not_sent(name):
    assert content_disposition(name) == "attachment"
