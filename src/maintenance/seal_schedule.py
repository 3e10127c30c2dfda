"""The files of the seal key and the exported heads on this machine, and sealing as the owner."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from src.config import Settings
from src.database.connection.addresses import key_path
from src.errors import ConfigurationError
from src.maintenance.brief_waits import brief_transaction
from src.services.history import HeadFile, SealKey, Unsealed, unsealed
from src.services.history.sealing import export_heads, head_of, seal_in
from src.storage import StorageBackend, keys

LONGEST_UNSEALED = timedelta(hours=1)
"""Entries that are unsealed for longer are a finding: their owner could rewrite them without a trace."""

# Once for each transaction. Databases without the activity type get it from the next `init_db`.
_NOTE_DELAY = text("""
    SELECT public.append_activity(t.code, 'event', NULL, public.actor_name(), NULL, NULL, NULL, NULL,
                                  CAST(:detail AS jsonb), NULL)
      FROM public.activity_types t
     WHERE t.code = 'history.delayed' AND NOT EXISTS (
           SELECT FROM public.activity_logs l
            WHERE l.activity_type_id = t.id AND l.actor_id IS NULL AND l.created_at > now() - interval '1 day'
              AND l.new ->> 'transaction' = :transaction)
""")


def seal_key_path(settings: Settings) -> Path:
    """Return the path of the seal key: SEAL_KEY_FILE, or derived from the key file."""
    return settings.seal_key_file or key_path(settings).with_suffix(".seal.pem")


def heads_of(settings: Settings) -> HeadFile:
    """Return the file of exported heads: SEAL_HEADS_FILE, or derived from the key file."""
    return HeadFile(settings.seal_heads_file or key_path(settings).with_suffix(".heads.jsonl"))


def sealing_key(settings: Settings) -> SealKey:
    """Return the key that signs seals; created on first use. Raises ConfigurationError for only a public key."""
    path = seal_key_path(settings)
    found = SealKey.load(path)
    if found is None:
        found = SealKey.create(path)
    if found.private is None:
        raise ConfigurationError(f"{path} contains only a public key; seal on the machine that has the private key.")
    return found


def verifying_key(settings: Settings) -> SealKey | None:
    """Return the key that must have signed seals; None when this machine has neither private nor public key."""
    path = seal_key_path(settings)
    return SealKey.load(path) or SealKey.load(path.with_suffix(f"{path.suffix}.pub"))


def seal_as_owner(session: Session, key: SealKey, heads: HeadFile, storage: StorageBackend | None = None) -> int:
    """Seal in the owner's session, commit, export the heads to the file and the storage; return the number of seals."""
    with brief_transaction(session):
        sealed = [head_of(created) for created in seal_in(session, key=key)]
    # Export only after the seals are committed.
    with session.begin():
        export_heads(session, heads)
    if storage is not None:
        for head in sealed:
            storage.put(keys.head_key(int(str(head["seal"]))), json.dumps(head).encode("ascii"))
    return len(sealed)


def note_delay(session: Session, *, limit: timedelta = LONGEST_UNSEALED) -> Unsealed:
    """Return what is not sealed, in the owner's session; what waits for longer than `limit` is logged and committed.

    One entry for each transaction that sealing waits for, with its session.
    """
    with session.begin():
        waiting = unsealed(session)
        if waiting.age > limit:
            for blocker in waiting.blockers:
                detail = {
                    "name": str(blocker),
                    "transaction": str(blocker.transaction_id),
                    "backend": blocker.backend,
                    "login": blocker.login,
                    "application": blocker.application,
                    "entries": waiting.entries,
                }
                session.execute(_NOTE_DELAY, {"transaction": str(blocker.transaction_id), "detail": json.dumps(detail)})
    return waiting
