"""The marker of a storage in a bucket: an object below the prefix, next to the areas of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from src.errors import ObjectExists, ObjectNotFound, UnsupportedOperation
from src.storage.marker import LARGEST_MARKER, MARKER_NAME

if TYPE_CHECKING:
    from src.storage.s3_bucket import Bucket


def read(bucket: Bucket) -> bytes | None:
    """Return the marker; None without one."""
    return _read(bucket)[0]


def write(bucket: Bucket, content: bytes, *, encryption: dict[str, str], replaces: bytes | None) -> None:
    """Store the marker; see `MarkedBackend.write_marker`.

    It is read before and after: some servers ignore conditions, and there the later of two writers wins.
    """
    found, etag = _read(bucket)
    if found != replaces:
        raise _exists()
    condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": etag} if etag else {}
    try:
        _put(bucket, content, encryption | condition)
    except UnsupportedOperation:
        _put(bucket, content, encryption)
    except ObjectNotFound as error:  # the one to be replaced is gone
        raise _exists() from error
    if _read(bucket)[0] != content:
        raise _exists()


def _put(bucket: Bucket, content: bytes, parameters: dict[str, Any]) -> None:
    bucket.call("put_object", MARKER_NAME, Body=content, ContentType="application/json", **parameters)


def _read(bucket: Bucket) -> tuple[bytes | None, str | None]:
    try:
        response = bucket.call("get_object", MARKER_NAME)
    except ObjectNotFound:
        return None, None
    with response["Body"] as body, bucket.failures(MARKER_NAME):
        return bytes(body.read(LARGEST_MARKER)), response.get("ETag")


def _exists() -> ObjectExists:
    return ObjectExists(f"Another marker {MARKER_NAME} was written meanwhile; markers are never replaced unread.")
