"""Listing objects and unfinished uploads of a bucket, page by page; an incomplete list is an error, never an end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from src.errors import ObjectNotFound, StorageUnavailable, UnsupportedOperation
from src.storage.contract import ObjectInfo

if TYPE_CHECKING:
    from src.storage.s3_bucket import Bucket

_NEXT_PAGE = {
    "list_objects_v2": "NextContinuationToken",
    "list_multipart_uploads": "NextKeyMarker",
    "list_parts": "NextPartNumberMarker",
}


def objects(bucket: Bucket, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
    """The objects whose keys begin with `prefix`, in ascending order, starting after the key `after`.

    Raises UnsupportedOperation when the server lists in another order.
    """
    start = {}
    if after.startswith(prefix):
        start = {"StartAfter": bucket.prefix + after}
    elif after > prefix:  # than every key with this prefix
        return
    # Otherwise no StartAfter: MinIO rejects one that does not begin with the prefix.
    previous = ""
    for entry in _pages(bucket, "list_objects_v2", "Contents", Prefix=bucket.prefix + prefix, **start):
        key = bucket.field(entry, "ListObjectsV2", "Key").removeprefix(bucket.prefix)
        if key <= previous:
            raise UnsupportedOperation(f"{bucket.place} does not list in order; use a general purpose bucket.")
        previous = key
        if key > after:  # some servers ignore StartAfter
            size, modified = (bucket.field(entry, "ListObjectsV2", name) for name in ("Size", "LastModified"))
            yield ObjectInfo(key, size, None, modified)


def uploads(bucket: Bucket, prefix: str = "") -> Iterator[tuple[str, str, datetime]]:
    """Key, id and start of every unfinished upload whose key begins with `prefix`."""
    for entry in _pages(bucket, "list_multipart_uploads", "Uploads", Prefix=bucket.prefix + prefix):
        key, upload, started = (
            bucket.field(entry, "ListMultipartUploads", name) for name in ("Key", "UploadId", "Initiated")
        )
        yield key.removeprefix(bucket.prefix), upload, started


def uploaded_parts(bucket: Bucket, key: str, upload: str) -> tuple[datetime | None, int]:
    """The time of the last part of an upload, None without parts, and the bytes of all; a completed one is new."""
    last, size = None, 0
    try:
        for part in _pages(bucket, "list_parts", "Parts", key, UploadId=upload):
            modified = bucket.field(part, "ListParts", "LastModified")
            last = modified if last is None else max(last, modified)
            size += bucket.field(part, "ListParts", "Size")
    except ObjectNotFound:  # completed in the meantime
        return datetime.max.replace(tzinfo=UTC), 0
    return last, size


def _pages(bucket: Bucket, operation: str, field: str, key: str | None = None, **parameters: Any) -> Iterator[Any]:
    pages = bucket.client.get_paginator(operation)
    if key is not None:
        parameters["Key"] = bucket.prefix + key
    with bucket.failures(key):
        for page in pages.paginate(Bucket=bucket.name, **parameters):
            # A response without it, such as an empty one, is not an empty list.
            truncated = bucket.field(page, operation, "IsTruncated")
            yield from page.get(field, ())
            if truncated and not page.get(_NEXT_PAGE[operation]):
                raise StorageUnavailable(
                    f"{bucket.place} sent a part of a list without {_NEXT_PAGE[operation]}, so that the rest cannot be"
                    " requested; use a server with ListObjectsV2."
                )
