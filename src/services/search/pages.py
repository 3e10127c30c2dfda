"""Pages that neither repeat nor leave out: each says after which row the next one begins."""

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
    """A list of what was found. `next`: what to hand over as `after` for the page that follows; None on the last one.

    `total` is how many there are on all pages together, counted when the first page was asked for.
    """

    def __init__(self, found: Sequence[T], *, total: int, next: str | None) -> None:  # noqa: A002 - the contract's word
        super().__init__(found)
        self.total = total
        self.next = next


@dataclass(frozen=True)
class Cursor:
    """Where a page ended: the keys of its last row, and the total that the first page counted."""

    total: int
    keys: tuple[Any, ...]


def write_cursor(question: object, total: int, keys: Sequence[Any]) -> str:
    """Return a cursor as text. It says nothing that the page did not say, and fits this question only."""
    written = json.dumps([_fingerprint(question), total, *keys], separators=(",", ":"))
    return base64.urlsafe_b64encode(written.encode()).decode("ascii").rstrip("=")


def read_cursor(question: object, after: str | None, kinds: Sequence[type]) -> Cursor | None:
    """Return what a cursor says. Raises InvalidInput for one that is none, or is another question's."""
    if after is None:
        return None
    try:
        written = base64.b64decode(after + "=" * (-len(after) % 4), altchars="-_", validate=True)
        content = json.loads(written, parse_constant=_no_number)
        fingerprint, total, *keys = content
        fits = len(keys) == len(kinds) and all(type(key) is kind for key, kind in zip(keys, kinds, strict=True))
        whole = type(total) is int and all(abs(key) < 2**63 for key in keys if type(key) is int)
        for key in keys:
            if type(key) is str:
                datetime.fromisoformat(key)
    except (TypeError, ValueError, RecursionError, binascii.Error) as error:
        raise InvalidInput("`after` is not the `next` of a page.") from error
    if not (fits and whole) or fingerprint != _fingerprint(question):
        raise InvalidInput("`after` is the `next` of another search; give the same query, filters and order.")
    return Cursor(total, tuple(keys))


def require_limit(limit: int) -> int:
    """Return the limit. Raises InvalidInput for one that is no number from 1 to 1000."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
        raise InvalidInput(f"limit is {limit!r}; give a number from 1 to {MOST}.")
    return limit


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _fingerprint(question: object) -> str:
    return hashlib.sha256(repr(question).encode("utf-8", "surrogatepass")).hexdigest()[:12]
