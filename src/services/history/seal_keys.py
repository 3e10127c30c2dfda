"""The Ed25519 key that signs seals, in a file outside the database and separate from the services' keys."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.errors import ConfigurationError, PackageMissing


def _cryptography() -> tuple[Any, Any]:
    """Return the package's modules for Ed25519 and for key files."""
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - only for sealing and verifying
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - the same
    except ImportError as error:
        raise PackageMissing(
            "Signed seals need the Python package cryptography; install it with:"
            " pip install 'speech-to-information[seals]'."
        ) from error
    return ed25519, serialization


@dataclass(frozen=True)
class SealKey:
    """A public key, with the private key on the machine that seals."""

    public: bytes
    private: Any = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the raw public key in hex, which seals store as `signing_key`."""
        return hashlib.sha256(self.public).hexdigest()

    @classmethod
    def create(cls, path: Path) -> SealKey:
        """Generate a key and write it to a file (mode 0600), and its public key to the same path with `.pub` appended.

        Raises ConfigurationError when the file exists or cannot be written, PackageMissing without `cryptography`.
        """
        kinds, how = _cryptography()
        private = kinds.Ed25519PrivateKey.generate()
        pem = private.private_bytes(how.Encoding.PEM, how.PrivateFormat.PKCS8, how.NoEncryption())
        public = private.public_key()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_new(path, pem, 0o600)
            pem_public = public.public_bytes(how.Encoding.PEM, how.PublicFormat.SubjectPublicKeyInfo)
            _write_new(path.with_suffix(f"{path.suffix}.pub"), pem_public, 0o644)
        except OSError as error:
            raise ConfigurationError(
                f"Cannot write the seal key {path} ({error.strerror}); set SEAL_KEY_FILE to another path."
            ) from error
        return cls(public.public_bytes_raw(), private)

    @classmethod
    def load(cls, path: Path) -> SealKey | None:
        """Return the key of a PEM file, private or public; None when the file does not exist.

        Raises ConfigurationError for a damaged key, another key type, or a private key that other users can read;
        PackageMissing without `cryptography`.
        """
        try:
            pem = path.read_bytes()
            mode = path.stat().st_mode
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(
                f"Cannot read the seal key {path} ({error.strerror}); check its owner and mode."
            ) from error
        kinds, how = _cryptography()
        try:
            if b"PUBLIC" in pem:
                public = how.load_pem_public_key(pem)
                private = None
            else:
                private = how.load_pem_private_key(pem, password=None)
                public = private.public_key()
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"The seal key {path} is damaged; restore it from a backup.") from error
        if not isinstance(public, kinds.Ed25519PublicKey):
            raise ConfigurationError(f"The seal key {path} is not an Ed25519 key; set SEAL_KEY_FILE to one.")
        if private is not None and mode & 0o077:
            raise ConfigurationError(f"The seal key {path} is readable by other users. Run: chmod 600 {path}")
        return cls(public.public_bytes_raw(), private)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message. Raises ConfigurationError without the private key."""
        if self.private is None:
            raise ConfigurationError("This is only the public key; seal on the machine that has the private key.")
        signature: bytes = self.private.sign(message)
        return signature

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether this key made the signature."""
        kinds, _ = _cryptography()
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - installed, else the line above raises

        try:
            kinds.Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
