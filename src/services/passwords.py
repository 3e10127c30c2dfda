"""Password hashing with bcrypt: normalise, hash, verify. Independent of users."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import bcrypt

from src.errors import InvalidInput

SCHEME = "bcrypt:"
DEFAULT_COST = 12
LEAST_CHARACTERS = 12
"""Between the 8 characters that NIST SP 800-63B requires beside a second factor and the 15 without one."""
# bcrypt ignores everything after 72 bytes; longer passwords are rejected instead of truncated.
MOST_BYTES = 72
# A stored cost of 31 takes days of CPU time: a user who can write such a hash could stop the service.
# Bare hashes are those of imported users: `$2a$` and `$2y$` are older names of `$2b$`, and were made from the password
# as it is, without normalisation.
_USABLE = re.compile(r"(?P<scheme>bcrypt:(?=\$2b))?(?P<hash>\$2[aby]\$(?:0[4-9]|1[0-6])\$[./A-Za-z0-9]{53})")


def hash_password(password: str, *, cost: int = DEFAULT_COST) -> str:
    """Return the password's bcrypt hash with its scheme as prefix, `bcrypt:$2b$12$…`.

    The password is normalised (NFKC) first. Raises InvalidInput when it is empty or longer than 72 bytes in UTF-8.
    """
    return SCHEME + bcrypt.hashpw(_encoded(password), bcrypt.gensalt(cost)).decode("ascii")


def require_acceptable(password: str, *, least: int = LEAST_CHARACTERS, known: Iterable[str | None] = ()) -> None:
    """Raise InvalidInput unless a new password may be used: of enough characters, and not what others know of a user.

    `known` are the name and the address of the user. Passwords that are stored already are not judged again.
    """
    _encoded(password)
    folded = _folded(password)
    if len(unicodedata.normalize("NFKC", password)) < least:
        raise InvalidInput(
            f"password: too short; at least {least} characters (PASSWORD_MIN_LENGTH).", field="password", limit=least
        )
    if len(set(folded)) <= 1:
        raise InvalidInput("password: blank, or one character repeated; choose another.", field="password")
    taken = {_folded(part) for name in known if name for part in (name, name.partition("@")[0])}
    if folded in taken:
        raise InvalidInput("password: the name or the address of the user; choose another.", field="password")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()


def verify(password: str, stored: str | None, *, cost: int) -> bool:
    """Return whether the password matches a stored hash.

    A bare bcrypt hash (`$2b$…`, `$2a$…`, `$2y$…`) is that of an imported user. A missing or malformed hash takes the
    time of one with the given cost, and returns False.
    """
    usable = _USABLE.fullmatch(stored or "")
    hashed = usable["hash"] if usable else _dummy_hash(cost)
    is_imported = usable is not None and usable["scheme"] is None
    try:
        right = bcrypt.checkpw(_as_imported(password) if is_imported else _encoded(password), hashed.encode("ascii"))
    except InvalidInput:
        # Not a valid password: the same work and the same result as for a wrong one.
        bcrypt.checkpw(b"too long, empty, or not text", _dummy_hash(cost).encode("ascii"))
        return False
    return right and usable is not None


def renewed(password: str, stored: str, *, cost: int) -> str | None:
    """Return a new hash for one of another cost, or in the bare form of imported users; None for an up-to-date one.

    Also None for an imported password that is too long for a hash of this layer: it stays as it is.
    """
    if stored.startswith(f"{SCHEME}$2b${cost:02}$"):
        return None
    try:
        return hash_password(password, cost=cost)
    except InvalidInput:
        return None


def _as_imported(password: str) -> bytes:
    # As most programs hash it: not normalised, and cut at the limit of bcrypt.
    if not password:
        raise InvalidInput("password: empty; choose a password.", field="password")
    return password.encode("utf-8", "surrogatepass")[:MOST_BYTES]


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
