"""Actor tokens: signed by the client, verified by `sql/actor.sql`."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_bytes

from src.errors import ConfigurationError, InvalidInput

_BLOCK = 64


@dataclass(frozen=True)
class Actor:
    """The actor of a transaction, with a reason and a request id. `name` None: no actor."""

    name: str | None = None
    reason: str | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        for field_name, value, limit in (
            ("actor", self.name, 64),
            ("reason", self.reason, 2000),
            ("request_id", self.request_id, 200),
        ):
            if value is None:
                continue
            if not isinstance(value, str):
                raise InvalidInput(f"{field_name}: must be text, not {type(value).__name__}.", field=field_name)
            if len(value) > limit:
                raise InvalidInput(
                    f"{field_name}: {len(value)} characters; at most {limit}.", field=field_name, limit=limit
                )
            if not value.isprintable() and field_name != "reason":
                raise InvalidInput(f"{field_name}: contains a control character; remove it.", field=field_name)
            if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
                raise InvalidInput(
                    f"{field_name}: contains a NUL or an unpaired surrogate; remove it.", field=field_name
                )


@dataclass(frozen=True)
class SigningKey:
    """The secret that signs actor tokens, and its id in the table `actor_keys`."""

    id: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 16 <= len(self.secret) <= _BLOCK:
            raise ConfigurationError(
                f"The signing key has {len(self.secret)} bytes; it needs 16 to 64. Create a new one with init_db."
            )

    @classmethod
    def generate(cls, key_id: int = 1) -> SigningKey:
        return cls(key_id, token_bytes(32))

    @classmethod
    def from_pads(cls, key_id: int, inner_pad: bytes) -> SigningKey:
        """Recover the key from the inner pad in the database, for the key file of another machine."""
        padded = bytes(byte ^ 0x36 for byte in inner_pad)
        # HMAC pads keys with NULs, so a key is equivalent to the same key with trailing NULs.
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

    def token(self, purpose: str, subject: str, *, backend_pid: int, started: int, cluster: int | None = None) -> str:
        """Return a token for one purpose and subject, valid in one transaction only.

        `started` is the start of the transaction in microseconds since the epoch, by the clock of the server. `cluster`
        is its system identifier; passing it saves the server a lookup. Raises InvalidInput for a subject that a token
        cannot contain.
        """
        if "|" in subject or "\0" in subject:
            raise InvalidInput("actor: contains '|' or NUL, which a user name cannot contain.", field="actor")
        body = f"{self.id}|{backend_pid}|{started}|{purpose}|{subject}"
        body += "" if cluster is None else f"|{cluster}"
        mac = hmac.new(self.secret, body.encode("utf-8"), sha256).hexdigest()
        return f"{mac}|{body}"
