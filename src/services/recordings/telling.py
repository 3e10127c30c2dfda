"""Entries of the log that the owner's maintenance leaves, where no user acts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session


def tell_as_owner(
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
