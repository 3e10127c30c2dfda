"""Log entries of operations on recordings: attempts that failed, and maintenance by the owner, without an actor."""

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
from src.services.parameters import row_of

FAILURES = (StorageError, InvalidInput, Conflict, ConfigurationError, OSError)


@dataclass
class Attempt:
    """What is known of an operation while it runs."""

    name: str | None = None
    size_bytes: int | None = None


@contextmanager
def logged_attempt(
    session: Session,
    type: str,  # noqa: A002 - the column's name
    case_id: int,
    audio_id: int | None = None,
    *,
    name: str | None = None,
    size_bytes: int | None = None,
) -> Iterator[Attempt]:
    """Log a failure of this block when the session ends, whether its transaction commits or not.

    The entry has the class of the error and not its message, which may hold more than readers of the log may see.
    """
    attempt = Attempt(name, size_bytes)
    try:
        yield attempt
    except Forbidden:
        raise  # logged by the session itself
    except FAILURES as error:
        detail = {"name": attempt.name, "size_bytes": attempt.size_bytes}
        detail |= {"outcome": "failed", "error": error.__class__.__name__}
        audio = row_of(AudioFile, audio_id) if audio_id is not None else None
        activity.note_read(session, type, case=case_id, entity=audio, detail=detail)
        raise


def log_as_owner(
    session: Session,
    type: str,  # noqa: A002 - the column's name
    *,
    case_id: int | None = None,
    audio_id: int | None = None,
    detail: Mapping[str, Any],
) -> None:
    """Log what maintenance did, in this transaction of the owner."""
    session.execute(
        text(
            "SELECT public.append_activity(:type, 'event', NULL, public.actor_name(), CAST(:case AS bigint),"
            " CASE WHEN CAST(:audio AS bigint) IS NOT NULL THEN 'audio_files' END, CAST(:audio AS bigint), NULL,"
            " CAST(:detail AS jsonb), NULL)"
        ),
        {"type": type, "case": case_id, "audio": audio_id, "detail": json.dumps(detail)},
    )
