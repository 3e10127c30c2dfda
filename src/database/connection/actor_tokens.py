"""Signing who acts: the client's half of what `sql/actor.sql` verifies."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_bytes

from src.errors import ConfigurationError, InvalidInput

# How long after its making a token may begin a transaction: so short that one that was seen is of no use to whoever
# gets the same backend later. One that came too late is made anew, by the clock of the transaction itself.
TOKEN_SECONDS = 2
_BLOCK = 64


@dataclass(frozen=True)
class Actor:
    """Who acts in a transaction, why, and for which request. Nobody acts when `name` is None."""

    name: str | None = None
    reason: str | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        for label, value, most in (
            ("actor", self.name, 64),
            ("reason", self.reason, 2000),
            ("request_id", self.request_id, 200),
        ):
            if value is None:
                continue
            if not isinstance(value, str):
                raise InvalidInput(f"{label} must be text, not {type(value).__name__}.")
            if len(value) > most:
                raise InvalidInput(f"{label} has {len(value)} characters; shorten it to {most}.")
            if not value.isprintable() and label != "reason":
                raise InvalidInput(f"{label} holds a control character; remove it.")
            if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
                raise InvalidInput(f"{label} holds a character that no database can store; remove it.")


@dataclass(frozen=True)
class SigningKey:
    """The secret that signs actor tokens, and its number in the table `actor_keys`."""

    id: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 16 <= len(self.secret) <= _BLOCK:
            raise ConfigurationError("The signing key must have 16 to 64 bytes; make a new one with init_db.")

    @classmethod
    def generate(cls, key_id: int = 1) -> SigningKey:
        return cls(key_id, token_bytes(32))

    @classmethod
    def from_pads(cls, key_id: int, inner_pad: bytes) -> SigningKey:
        """Recover the key from what the database holds, so that a second machine can be given the same one."""
        padded = bytes(byte ^ 0x36 for byte in inner_pad)
        # HMAC takes a key and the same key with NULs behind it for one and the same.
        return cls(key_id, padded.rstrip(b"\0").ljust(16, b"\0"))

    @classmethod
    def decode(cls, key_id: int, text: str) -> SigningKey:
        try:
            return cls(key_id, b64decode(text, validate=True))
        except ValueError as error:
            raise ConfigurationError("The signing key in the key file is damaged; run init_db to renew it.") from error

    def encode(self) -> str:
        return b64encode(self.secret).decode("ascii")

    @property
    def inner_pad(self) -> bytes:
        return bytes(byte ^ 0x36 for byte in self.secret.ljust(_BLOCK, b"\0"))

    @property
    def outer_pad(self) -> bytes:
        return bytes(byte ^ 0x5C for byte in self.secret.ljust(_BLOCK, b"\0"))

    def token(
        self, purpose: str, subject: str, *, backend_pid: int, server_time: float, cluster: int | None = None
    ) -> str:
        """Return a token for one purpose and subject, good on one backend for `TOKEN_SECONDS`.

        `server_time` is the server's clock in seconds since the epoch, `cluster` its system identifier, which spares it
        looking itself. Raises InvalidInput for a subject that cannot
        stand in a token.
        """
        if "|" in subject or "\0" in subject:
            raise InvalidInput("A user name holds no '|' and no NUL; correct it.")
        body = f"{self.id}|{backend_pid}|{int(server_time) + TOKEN_SECONDS}|{purpose}|{subject}"
        body += "" if cluster is None else f"|{cluster}"
        mac = hmac.new(self.secret, body.encode("utf-8"), sha256).hexdigest()
        return f"{mac}|{body}"
