"""Passwords: normalised, hashed with bcrypt, compared. Nothing here knows whose they are."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import bcrypt

from src.errors import InvalidInput

SCHEME = "bcrypt:"
DEFAULT_COST = 12
# bcrypt reads 72 bytes; what comes after them would not count, so it is refused instead of cut.
MOST_BYTES = 72
# A stored cost of 31 would keep a processor busy for days: whoever could write such a hash could stop the service.
_USABLE = re.compile(r"bcrypt:(\$2b\$(?:0[4-9]|1[0-6])\$[./A-Za-z0-9]{53})")


def hash_password(password: str, *, cost: int = DEFAULT_COST) -> str:
    """Return the password's bcrypt hash with its scheme in front, `bcrypt:$2b$12$…`.

    The password is normalised (NFKC) first. Raises InvalidInput when it is empty or longer than 72 bytes in UTF-8.
    """
    return SCHEME + bcrypt.hashpw(_encoded(password), bcrypt.gensalt(cost)).decode("ascii")


def verify(password: str, stored: str | None, *, cost: int) -> bool:
    """Return whether the password is the one of a stored hash.

    No hash, or one that no password can have, costs the work of one with the given cost, and is false.
    """
    usable = _USABLE.fullmatch(stored or "")
    hashed = usable[1] if usable else _nobodys(cost)
    try:
        right = bcrypt.checkpw(_encoded(password), hashed.encode("ascii"))
    except InvalidInput:
        # No password that anybody can have: the same work and the same answer as for a wrong one.
        bcrypt.checkpw(b"too long, empty, or no text", _nobodys(cost).encode("ascii"))
        return False
    return right and usable is not None


def needs_renewal(stored: str, *, cost: int) -> bool:
    """Return whether a hash was made with another cost than this one."""
    return not stored.startswith(f"{SCHEME}$2b${cost:02}$")


def _encoded(password: str) -> bytes:
    if not password:
        raise InvalidInput("The password is empty; choose one.")
    try:
        encoded = unicodedata.normalize("NFKC", password).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput("The password holds a character that is no Unicode text; choose another.") from None
    if len(encoded) > MOST_BYTES:
        raise InvalidInput(f"The password has {len(encoded)} bytes in UTF-8; {MOST_BYTES} are the most. Shorten it.")
    return encoded


@lru_cache(maxsize=8)
def _nobodys(cost: int) -> str:
    return bcrypt.hashpw(b"nobody has this password", bcrypt.gensalt(cost)).decode("ascii")
