"""The activity log: recording events, and reading them as a feed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import cast, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, Text

from src.database.base import Base
from src.database.connection.access_log import note_read as add_read
from src.database.connection.session import actor_of
from src.database.models import ActivityLog, ActivityType, Case, User
from src.database.schema.moments import require_moment
from src.errors import InvalidInput
from src.services.parameters import id_of
from src.services.readable_rows import Unreadable, one_line, readable_rest, readable_rows


@dataclass(frozen=True)
class Entry:
    """An entry of the activity log. `str(entry)` is a sentence."""

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
    detail: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        subjects = (self.detail.get(key) for key in ("name", "title", "user", "query", "refused"))
        subject = next((str(value) for value in subjects if value), None)
        if subject is None and self.entity is not None:
            subject = f"{self.entity} {self.entity_id}"
            if "version" in self.detail:
                subject = f"version {self.detail['version']} ({subject})"
        done = _VERBS.get(self.type, f"{self.name[0].lower()}{self.name[1:]}")
        because = self.reason or self.detail.get("reason") or self.detail.get("unreadable")
        failed = f" (failed: {self.detail.get('error')})" if self.detail.get("outcome") == "failed" else ""
        about, why = f" {subject}" if subject else "", f": {because}" if because else ""
        return one_line(f"{self.actor} {done}{about}{why}{failed}")


# The verb of each type in `str(entry)`; other types use their name.
_VERBS = {
    "row.insert": "added",
    "row.update": "changed",
    "row.delete": "deleted",
    "row.baseline": "recorded the existing",
    "access.refused": "was refused:",
    "audio.opened": "opened",
    "transcript.read": "read the transcript of",
    "note.read": "read notes of",
    "analysis.read": "read analyses of",
    "history.read": "read earlier states of",
    "search.made": "searched for",
    "export.made": "exported",
    "case.opened": "opened the case",
    "case.closed": "closed the case",
    "case.reopened": "reopened the case",
    "case.moved": "changed the status of the case",
    "case.prioritised": "changed the priority of the case",
    "sensitive.marked": "marked as sensitive",
    "sensitive.unmarked": "removed the mark sensitive from",
    "participant.added": "added participant",
    "participant.removed": "removed participant",
    "role.assigned": "assigned a role to",
    "audio.ingested": "ingested",
    "audio.archived": "archived",
    "audio.restored": "restored",
    "audio.deleted": "deleted",
    "audio.verified": "verified",
    "audio.moved": "moved",
    "audio.repaired": "repaired",
    "audio.purged": "permanently removed",
    "transcript.added": "transcribed",
    "transcript.accepted": "accepted",
    "analysis.added": "analysed",
    "analysis.accepted": "accepted the analysis",
    "history.reverted": "reverted",
    "history.delayed": "could not seal entries:",
    "history.erased": "erased the log payloads of",
}


def record(
    session: Session,
    type: str,  # noqa: A002 - the column's name, and part of the public interface
    *,
    case: Case | int | None = None,
    entity: Base | None = None,
    detail: Mapping[str, Any] | None = None,
) -> int:
    """Append an event to the activity log, in this transaction; return the entry's id.

    `type` is a code of `activity_types`. The actor, the reason and the request are those of the session. Raises
    InvalidInput for an unknown type, NotFound for a case that the actor may not see, Forbidden without an actor.
    """
    actor_of(session)
    if not session.scalar(select(func.count()).select_from(ActivityType).where(ActivityType.code == type)):
        raise InvalidInput(
            f"type: {type!r} is not an activity type; use a code of the table activity_types.", field="type", value=type
        )
    appended = func.public.record_activity(
        type,
        cast(id_of(Case, case) if case is not None else None, BigInteger),
        cast(entity.__tablename__ if entity is not None else None, Text),
        cast(getattr(entity, "id", None), BigInteger),
        cast(dict(detail or {}), JSONB),
    )
    entry: int = session.scalars(select(appended)).one()
    return entry


def note_read(
    session: Session,
    type: str,  # noqa: A002 - the column's name, and part of the public interface
    *,
    case: Case | int | None = None,
    entity: Base | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Record a read of sensitive data: written together when the session ends, even when it rolls back.

    The entry names the case if the actor may read it now, at the time of reading.

    For services that return recorded speech: recordings opened, transcripts read, searches made, exports.
    """
    read = {
        "type": type,
        "case_id": id_of(Case, case) if case is not None else None,
        "entity": entity.__tablename__ if entity is not None else None,
        "entity_id": getattr(entity, "id", None),
        "detail": dict(detail or {}),
    }
    add_read(session, read)


def feed(
    session: Session,
    *,
    case: Case | int | None = None,
    user: User | int | None = None,
    type: str | None = None,  # noqa: A002 - the column's name, and part of the public interface
    since: datetime | None = None,
    changes: bool = False,
    limit: int = 100,
) -> list[Entry]:
    """Return the newest `limit` entries that the actor may see, oldest first.

    `type` is a code of `activity_types`, such as `transcript.accepted`. `changes` adds the row changes that triggers
    recorded to the events. The detail of an entry that cannot be read is `{"unreadable": …}`, which names it.
    """
    if not 1 <= limit <= 10_000:
        raise InvalidInput(f"limit: {limit}; give a number from 1 to 10000.", field="limit", value=limit, limit=10000)
    if since is not None:
        require_moment(since, "since")
    query = (
        select(ActivityLog, ActivityType.code, ActivityType.name)
        .join(ActivityType, ActivityType.id == ActivityLog.activity_type_id)
        .order_by(ActivityLog.created_at.desc(), ActivityLog.id.desc())
        .limit(limit)
    )
    if case is not None:
        query = query.where(ActivityLog.case_id == id_of(Case, case))
    if user is not None:
        query = query.where(ActivityLog.actor_id == id_of(User, user))
    if type is not None:
        query = query.where(ActivityType.code == type)
    if since is not None:
        query = query.where(ActivityLog.created_at >= since)
    if not changes:
        query = query.where(ActivityLog.operation == "event")
    entries = []
    for row in readable_rows(session, query, ActivityLog):
        if isinstance(row, Unreadable):
            log = readable_rest(session, ActivityLog, row)
            kind = session.get_one(ActivityType, log.activity_type_id)
            entries.append(replace(_entry(log, kind.code, kind.name), detail={"unreadable": str(row)}))
        else:
            entries.append(_entry(*row))
    return entries[::-1]


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
        # Raw SQL may have recorded a list or a number: returned as it is, so that the feed does not fail.
        detail=log.new if isinstance(log.new, dict) else {"detail": log.new} if log.new is not None else {},
    )
