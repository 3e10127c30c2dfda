"""The memory as people read it: recording what was done, and telling it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import cast, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, Text

from src.database.base import Base
from src.database.connection.session import actor_of
from src.database.models import ActivityLog, ActivityType, Case, User
from src.errors import InvalidInput


@dataclass(frozen=True)
class Entry:
    """One thing that happened. `str(entry)` reads as a person would tell it."""

    id: int
    at: datetime
    actor: str
    type: str
    name: str
    case_id: int | None
    entity: str | None
    entity_id: int | None
    reason: str | None
    request_id: str | None
    detail: dict[str, Any]

    def __str__(self) -> str:
        told = (self.detail.get(key) for key in ("name", "title", "user", "query", "refused"))
        subject = next((str(value) for value in told if value), None)
        if subject is None and self.entity is not None:
            subject = f"{self.entity} {self.entity_id}"
            if "version" in self.detail:
                subject = f"version {self.detail['version']} ({subject})"
        done = _TOLD.get(self.type, f"{self.name[0].lower()}{self.name[1:]}")
        because = self.reason or self.detail.get("reason")
        failed = f" (failed: {self.detail.get('error')})" if self.detail.get("outcome") == "failed" else ""
        return f"{self.actor} {done}{f' {subject}' if subject else ''}{f': {because}' if because else ''}{failed}"


# How a person would say it; other types are told by their name.
_TOLD = {
    "row.insert": "added",
    "row.update": "changed",
    "row.delete": "deleted",
    "row.baseline": "was found beside",
    "access.refused": "was refused:",
    "audio.opened": "opened",
    "transcript.read": "read the transcript of",
    "search.made": "searched for",
    "export.made": "exported",
    "case.opened": "opened the case",
    "case.closed": "closed the case",
    "participant.added": "let in",
    "participant.removed": "removed",
    "role.assigned": "gave a role to",
    "audio.ingested": "ingested",
    "audio.archived": "archived",
    "audio.restored": "restored",
    "audio.deleted": "deleted",
    "audio.verified": "verified",
    "audio.moved": "moved",
    "audio.repaired": "gave back its bytes to",
    "audio.purged": "removed for good",
    "transcript.added": "transcribed",
    "transcript.accepted": "accepted",
    "analysis.added": "analysed",
    "analysis.accepted": "accepted the analysis",
    "history.reverted": "put back",
    "history.erased": "erased what was said about",
}


def record(
    session: Session,
    type: str,  # noqa: A002 - the word of the field, and of the contract
    *,
    case: Case | None = None,
    case_id: int | None = None,
    entity: Base | None = None,
    detail: Mapping[str, Any] | None = None,
) -> int:
    """Append what was done to the activity log, in this transaction; return the entry's id.

    `type` is a code of `activity_types`. The actor, the reason and the request are those of the session. Raises
    InvalidInput for an unknown type, NotFound for a case that the actor may not see, Forbidden when nobody acts.
    """
    actor_of(session)
    if not session.scalar(select(func.count()).select_from(ActivityType).where(ActivityType.code == type)):
        raise InvalidInput(f"There is no activity type {type!r}; see the table activity_types.")
    appended = func.public.record_activity(
        type,
        cast(case.id if case is not None else case_id, BigInteger),
        cast(entity.__tablename__ if entity is not None else None, Text),
        cast(getattr(entity, "id", None), BigInteger),
        cast(dict(detail or {}), JSONB),
    )
    entry: int = session.scalars(select(appended)).one()
    return entry


def note_read(
    session: Session,
    type: str,  # noqa: A002 - the word of the field, and of the contract
    *,
    case_id: int | None = None,
    entity: Base | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Remember that something sensitive was read: written in one go when the session ends, even when it rolls back.

    For services that hand out what people said: recordings opened, transcripts read, searches made, exports.
    """
    session.info["reads"].append(
        {
            "type": type,
            "case_id": case_id,
            "entity": entity.__tablename__ if entity is not None else None,
            "entity_id": getattr(entity, "id", None),
            "detail": dict(detail or {}),
        }
    )


def feed(
    session: Session,
    *,
    case: Case | None = None,
    user: User | None = None,
    type: str | None = None,  # noqa: A002 - the word of the field, and of the contract
    since: datetime | None = None,
    changes: bool = False,
    limit: int = 100,
) -> list[Entry]:
    """Return what happened, oldest first: the newest `limit` entries that the actor may see.

    `user` is a row, as `accounts.find_user` returns it; `type` a code of `activity_types`, such as
    `transcript.accepted`. `changes` adds the row changes that triggers recorded to what people and programs did.
    """
    if not 1 <= limit <= 10_000:
        raise InvalidInput(f"limit is {limit}; give a number from 1 to 10000.")
    query = (
        select(ActivityLog, ActivityType.code, ActivityType.name)
        .join(ActivityType, ActivityType.id == ActivityLog.activity_type_id)
        .order_by(ActivityLog.created_at.desc(), ActivityLog.id.desc())
        .limit(limit)
    )
    if case is not None:
        query = query.where(ActivityLog.case_id == case.id)
    if user is not None:
        query = query.where(ActivityLog.actor_id == user.id)
    if type is not None:
        query = query.where(ActivityType.code == type)
    if since is not None:
        query = query.where(ActivityLog.created_at >= since)
    if not changes:
        query = query.where(ActivityLog.operation == "event")
    return [_entry(log, code, name) for log, code, name in session.execute(query)][::-1]


def _entry(log: ActivityLog, code: str, name: str) -> Entry:
    return Entry(
        id=log.id,
        at=log.created_at,
        actor=log.actor,
        type=code,
        name=name,
        case_id=log.case_id,
        entity=log.entity,
        entity_id=log.entity_id,
        reason=log.reason,
        request_id=log.request_id,
        # Raw SQL may have recorded a list or a number: told as it is, and nobody's feed fails over it.
        detail=log.new if isinstance(log.new, dict) else {"detail": log.new} if log.new is not None else {},
    )
