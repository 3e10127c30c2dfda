"""Where this machine keeps the key that signs seals, and the heads that it exported."""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy.orm import Session

from src.config import Settings
from src.database.connection.addresses import key_path
from src.errors import ConfigurationError
from src.services.history import HeadFile, SealKey
from src.services.history.sealing import export_heads, head_of, seal_in
from src.storage import StorageBackend, keys


def seal_key_path(settings: Settings) -> Path:
    """Return where the key for seals lies: SEAL_KEY_FILE, or beside the key file."""
    return settings.seal_key_file or key_path(settings).with_suffix(".seal.pem")


def heads_of(settings: Settings) -> HeadFile:
    """Return the file of exported heads: SEAL_HEADS_FILE, or beside the key file."""
    return HeadFile(settings.seal_heads_file or key_path(settings).with_suffix(".heads.jsonl"))


def sealing_key(settings: Settings) -> SealKey:
    """Return the key that signs seals; made at its first use. Raises ConfigurationError for one that cannot sign."""
    path = seal_key_path(settings)
    found = SealKey.load(path)
    if found is None:
        found = SealKey.create(path)
    if found.private is None:
        raise ConfigurationError(f"{path} holds only a public key; seal on the machine that has the private one.")
    return found


def verifying_key(settings: Settings) -> SealKey | None:
    """Return the key that seals must be signed by; None when this machine knows none."""
    path = seal_key_path(settings)
    return SealKey.load(path) or SealKey.load(path.with_suffix(f"{path.suffix}.pub"))


def seal_as_owner(session: Session, key: SealKey, heads: HeadFile, storage: StorageBackend | None = None) -> int:
    """Seal in the owner's session, commit, and export the heads to the file and to the storage; return how many."""
    with session.begin():
        sealed = [head_of(made) for made in seal_in(session, key=key)]
    # The seals stand: only now may anything outside say so.
    with session.begin():
        export_heads(session, heads)
    if storage is not None:
        for head in sealed:
            storage.put(keys.head_key(int(str(head["seal"]))), json.dumps(head).encode("ascii"))
    return len(sealed)
