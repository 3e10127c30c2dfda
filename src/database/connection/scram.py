"""The verifier of a password that PostgreSQL stores (RFC 5802), computed without a connection."""

from __future__ import annotations

import hmac
from base64 import b64encode
from hashlib import pbkdf2_hmac, sha256
from secrets import token_bytes

from src.errors import InvalidInput

_ROUNDS = 4096  # as PostgreSQL; clients compute them at each connection


def scram_verifier(password: str) -> str:
    """Return the verifier of a password, from which nobody can compute it: `PASSWORD 'SCRAM-SHA-256$…'`.

    Raises InvalidInput for a password that is not printable ASCII, whose characters SASLprep could change.
    """
    if not password or not password.isascii() or not password.isprintable():
        raise InvalidInput(
            "The password is not printable ASCII, so no verifier can be computed; set it with \\password."
        )
    salt = token_bytes(16)
    salted = pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ROUNDS)
    stored_key = sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${_ROUNDS}:{_text(salt)}${_text(stored_key)}:{_text(server_key)}"


def _text(value: bytes) -> str:
    return b64encode(value).decode("ascii")
