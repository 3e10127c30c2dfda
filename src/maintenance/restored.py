"""What a database that was restored or copied cannot know: objects that were stored after its snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from src.database.models import DatabaseIdentity

_SLACK = timedelta(hours=1)
"""Of clocks, and of uploads that were in progress."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """When a copy was confirmed as the owner, and the last object that it knew; None when it knew none."""

    restored_at: datetime
    snapshot_at: datetime | None

    def is_newer(self, modified: datetime) -> bool:
        """Return whether an object without a row may be newer than the snapshot."""
        return self.snapshot_at is None or modified > self.snapshot_at - _SLACK

    def may_be_live(self, announced: datetime) -> bool:
        """Return whether an object, announced in the snapshot, may have become a recording after it."""
        return announced <= self.restored_at


def restoration_of(session: Session) -> Restoration | None:
    """Return it, in the transaction of this session; None for a database that never was a copy."""
    found = session.execute(select(DatabaseIdentity.restored_at, DatabaseIdentity.snapshot_at)).one_or_none()
    if found is None or found.restored_at is None:
        return None
    return Restoration(found.restored_at, found.snapshot_at)
