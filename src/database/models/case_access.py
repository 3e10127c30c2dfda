"""The cases that each user may read, stored so that a row policy costs the same for any number of them.

Written by functions only (src/database/sql/case_access.sql); sessions have no access to these tables.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Integer
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Boolean

from src.database.base import Record
from src.database.schema import declaration
from src.database.schema.declaration import CLOSED

_COMPUTED = {declaration.COMPUTED: True}


class CaseAccess(Record):
    """The cases that a user may read as a participant: as ids, and as one flag for each case id.

    Derived from `case_participants`. `valid_until` is the earliest expiry of a participation. A set of another cluster
    is invalid, so that a restored database does not trust the sets of its backup; 0 is the cluster of a set that was
    never computed.
    """

    __tablename__ = "case_accesses"
    __protection__ = CLOSED

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)
    valid_until: Mapped[datetime | None]
    cluster: Mapped[int] = mapped_column(comment="system identifier of the cluster that computed the set")
    is_wide: Mapped[bool] = mapped_column(comment="a large part of all cases: read as sti_wide")
    case_ids: Mapped[list[int]] = mapped_column(ARRAY(Integer), info=_COMPUTED)
    flags: Mapped[list[bool]] = mapped_column(
        ARRAY(Boolean), info=_COMPUTED, comment="element n is true when case n may be read"
    )


class CaseAccessChange(Record):
    """A change of a participation since the set of its user was computed: that case is looked up instead."""

    __tablename__ = "case_access_changes"
    __protection__ = CLOSED
    __table_args__ = (Index("case_access_changes_user_id_idx", "user_id"),)

    # Without foreign keys: a deleted user or case may still have changes, and inserting must lock no other row.
    user_id: Mapped[int]
    case_id: Mapped[int] = mapped_column(Integer)
