"""Keyset pagination: pages neither repeat nor skip rows; each has a cursor for the next one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from src.errors import InvalidInput

T = TypeVar("T")
MOST = 1000


class Page(list[T]):
    """A list of results. `next` is the value of `after` for the next page; None on the last page.

    `total` is the number of results on all pages, counted for the first page.
    """

    def __init__(self, found: Sequence[T], *, total: int, next: str | None) -> None:  # noqa: A002 - the attribute's name
        super().__init__(found)
        self.total = total
        self.next = next


@dataclass(frozen=True)
class Cursor:
    """The sort keys of a page's last row, and the total that the first page counted."""

    total: int
    keys: tuple[Any, ...]


def write_cursor(search: object, total: int, keys: Sequence[Any]) -> str:
    """Return a cursor as text. It contains only data of the page, and is valid for this search only."""
    written = json.dumps([_fingerprint(search), total, *keys], separators=(",", ":"))
    return base64.urlsafe_b64encode(written.encode()).decode("ascii").rstrip("=")


def read_cursor(search: object, after: str | None, kinds: Sequence[type]) -> Cursor | None:
    """Return the cursor from its text. Raises InvalidInput for a malformed cursor or one of another search."""
    if after is None:
        return None
    try:
        written = base64.b64decode(after + "=" * (-len(after) % 4), altchars="-_", validate=True)
        content = json.loads(written, parse_constant=_reject_constant)
        fingerprint, total, *keys = content
        right_types = len(keys) == len(kinds) and all(type(key) is kind for key, kind in zip(keys, kinds, strict=True))
        in_range = type(total) is int and all(abs(key) < 2**63 for key in keys if type(key) is int)
        for key in keys:
            if type(key) is str:
                datetime.fromisoformat(key)
    except (TypeError, ValueError, RecursionError, binascii.Error) as error:
        raise InvalidInput("after: not a cursor; give the `next` of a page.", field="after") from error
    if not (right_types and in_range) or fingerprint != _fingerprint(search):
        raise InvalidInput(
            "after: the cursor of another search; give the same query, filters and order.", field="after"
        )
    return Cursor(total, tuple(keys))


def require_limit(limit: int) -> int:
    """Return the limit. Raises InvalidInput unless it is an integer from 1 to 1000."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
        raise InvalidInput(f"limit: {limit!r}; give a number from 1 to {MOST}.", field="limit", value=limit, limit=MOST)
    return limit


def _reject_constant(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")


def _fingerprint(search: object) -> str:
    return hashlib.sha256(repr(search).encode("utf-8", "surrogatepass")).hexdigest()[:12]
