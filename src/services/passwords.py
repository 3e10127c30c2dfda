"""Password hashing with bcrypt: normalise, hash, verify. Independent of users."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import bcrypt

from src.errors import InvalidInput

SCHEME = "bcrypt:"
DEFAULT_COST = 12
# bcrypt ignores everything after 72 bytes; longer passwords are rejected instead of truncated.
MOST_BYTES = 72
# A stored cost of 31 takes days of CPU time: a user who can write such a hash could stop the service.
_USABLE = re.compile(r"bcrypt:(\$2b\$(?:0[4-9]|1[0-6])\$[./A-Za-z0-9]{53})")


def hash_password(password: str, *, cost: int = DEFAULT_COST) -> str:
    """Return the password's bcrypt hash with its scheme as prefix, `bcrypt:$2b$12$…`.

    The password is normalised (NFKC) first. Raises InvalidInput when it is empty or longer than 72 bytes in UTF-8.
    """
    return SCHEME + bcrypt.hashpw(_encoded(password), bcrypt.gensalt(cost)).decode("ascii")


def verify(password: str, stored: str | None, *, cost: int) -> bool:
    """Return whether the password matches a stored hash.

    A missing or malformed hash takes the time of one with the given cost, and returns False.
    """
    usable = _USABLE.fullmatch(stored or "")
    hashed = usable[1] if usable else _dummy_hash(cost)
    try:
        right = bcrypt.checkpw(_encoded(password), hashed.encode("ascii"))
    except InvalidInput:
        # Not a valid password: the same work and the same result as for a wrong one.
        bcrypt.checkpw(b"too long, empty, or not text", _dummy_hash(cost).encode("ascii"))
        return False
    return right and usable is not None


def needs_renewal(stored: str, *, cost: int) -> bool:
    """Return whether a hash has a cost other than this one."""
    return not stored.startswith(f"{SCHEME}$2b${cost:02}$")


def _encoded(password: str) -> bytes:
    if not password:
        raise InvalidInput("password: empty; choose a password.", field="password")
    try:
        encoded = unicodedata.normalize("NFKC", password).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput("password: contains an unpaired surrogate; choose another.", field="password") from None
    if len(encoded) > MOST_BYTES:
        raise InvalidInput(
            f"password: {len(encoded)} bytes in UTF-8; at most {MOST_BYTES}. Shorten it.",
            field="password",
            limit=MOST_BYTES,
        )
    return encoded


@lru_cache(maxsize=8)
def _dummy_hash(cost: int) -> str:
    return bcrypt.hashpw(b"nobody has this password", bcrypt.gensalt(cost)).decode("ascii")
