"""The hashes of an entry and of a version, computed from texts of the server; src/database/sql defines them.

    payload_hash = sha256(salt ‖ {"new": …, "old": …})
    leaf_hash    = sha256(0x00 ‖ [id, µs, type, actor id, actor, case, entity, entity id, operation, reason, request,
                                  transaction, epoch, revision] ‖ payload_hash)

Independent of the functions of the database, which its owner can replace.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from src.services.history.chain import microseconds

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?\+00")


def sha256(*parts: bytes) -> bytes:
    """Return the SHA-256 of the concatenated parts."""
    return hashlib.sha256(b"".join(parts)).digest()


def payload_hash(salt: bytes, new: str | None, old: str | None) -> bytes:
    """Return the hash of the two images of an entry, given as the text of jsonb."""
    images = f'{{"new": {"null" if new is None else new}, "old": {"null" if old is None else old}}}'
    return sha256(salt, images.encode("utf-8"))


def leaf_hash(head: Sequence[Any], payload: bytes) -> bytes:
    """Return the hash that seals include, from the fields in the order above; times in µs, the transaction as text."""
    return sha256(b"\x00", json.dumps(head, ensure_ascii=False).encode("utf-8"), payload)


def parse_time(written: str | None) -> datetime | None:
    """Return a time in UTC from PostgreSQL's ISO form; None for one outside the years 1 to 9999, infinity, and null."""
    found = _TIME.fullmatch(written or "")
    if found is None:
        return None
    *whole, fraction = found.groups()
    try:
        return datetime(*map(int, whole), tzinfo=UTC) + timedelta(microseconds=int((fraction or "0").ljust(6, "0")))  # type: ignore[arg-type, misc]  # six numbers
    except ValueError:
        return None


def time_of_head(at: datetime | None) -> int | None:
    """Return the time as the head of an entry contains it."""
    return None if at is None else microseconds(at)


def digest_of_version(content: str | None, sources: str, segments: Iterable[str]) -> str | None:
    """Return the digest of a transcription, from the texts of its parts: see transcription_versions.sql."""
    if content is None:
        return None
    digest = hashlib.sha256(sha256(content.encode("utf-8")))
    digest.update(sources.encode("utf-8"))
    for segment in segments:
        digest.update(sha256(segment.encode("utf-8")))
    return digest.hexdigest()
