"""What the limits for one actor need to store: names that are locked, and entries that were not written to the log."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from src.database.base import Record
from src.database.schema import CLOSED


class NameLock(Record):
    """The lock of a name: a row that exists only inside the transaction that holds it (`lock_name`).

    Not an advisory lock: every session can compute, read and take the key of one, and hold it on an idle connection.
    """

    __tablename__ = "name_locks"
    __protection__ = CLOSED
    __plain__ = frozenset({"digest"})

    digest: Mapped[str] = mapped_column(unique=True, comment="SHA-256 of the name, in hexadecimal")


class LogOverflow(Record):
    """How many entries of an actor were counted instead of written, since the actor wrote too many."""

    __tablename__ = "log_overflows"
    __protection__ = CLOSED

    counter: Mapped[int] = mapped_column(
        unique=True,
        comment="id of the user; negative: failed sign-ins of the user; 0: those with unknown names; plus 2^62: reads",
    )
    ends_at: Mapped[datetime] = mapped_column(comment="from then on entries are written again")
    dropped: Mapped[int] = mapped_column(comment="entries that were counted and not written")
    entry_id: Mapped[int] = mapped_column(comment="the entry that states the count")
