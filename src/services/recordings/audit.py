"""Entries of the log beside the plain ones: what failed, and what the owner's maintenance did, where no user acts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from src.database.models import AudioFile
from src.errors import ConfigurationError, Conflict, Forbidden, InvalidInput, StorageError
from src.services import activity

FAILURES = (StorageError, InvalidInput, Conflict, ConfigurationError, OSError)


@dataclass
class Attempt:
    """What is known of an operation while it is tried."""

    name: str | None = None
    size_bytes: int | None = None


@contextmanager
def logged_attempt(
    session: Session,
    kind: str,
    *,
    case_id: int,
    audio: AudioFile | None = None,
    name: str | None = None,
    size_bytes: int | None = None,
) -> Iterator[Attempt]:
    """Have a failure of this block in the log when the session ends, whatever becomes of its transaction.

    The entry has the kind of error and not its sentence, which may name more than the log's readers should see.
    """
    tried = Attempt(name, size_bytes)
    try:
        yield tried
    except Forbidden:
        raise  # told by the session itself
    except FAILURES as error:
        detail = {"name": tried.name, "size_bytes": tried.size_bytes}
        detail |= {"outcome": "failed", "error": type(error).__name__}
        activity.note_read(session, kind, case_id=case_id, entity=audio, detail=detail)
        raise


def log_as_owner(
    session: Session, kind: str, *, case_id: int | None = None, audio_id: int | None = None, detail: Mapping[str, Any]
) -> None:
    """Append what maintenance did, in this transaction of the owner's."""
    session.execute(
        text(
            "SELECT public.append_activity(:kind, 'event', NULL, public.actor_name(), CAST(:case AS bigint),"
            " CASE WHEN CAST(:audio AS bigint) IS NOT NULL THEN 'audio_files' END, CAST(:audio AS bigint), NULL,"
            " CAST(:detail AS jsonb), NULL)"
        ),
        {"kind": kind, "case": case_id, "audio": audio_id, "detail": json.dumps(detail)},
    )
