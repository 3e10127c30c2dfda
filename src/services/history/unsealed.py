"""What is not sealed yet: how many entries wait, since when, and which transactions keep them from being sealed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Blocker:
    """A transaction that is still open: no entry from its beginning on can be sealed. `str(blocker)` is a sentence.

    `backend` is the process of its session; None for a prepared transaction, which has a name (`prepared`). `since` is
    None where the owner of the database may not read the statistics of that login.
    """

    transaction_id: int
    backend: int | None
    login: str | None
    application: str | None
    prepared: str | None
    database: str | None
    since: datetime | None

    def __str__(self) -> str:
        since = f" since {self.since:%Y-%m-%d %H:%M:%S %Z}" if self.since is not None else ""
        if self.prepared is not None:
            quoted = self.prepared.replace("'", "''")
            return (
                f"the prepared transaction {self.prepared!r} of {self.login} in {self.database} is open{since};"
                f" end it with: ROLLBACK PREPARED '{quoted}'"
            )
        if self.backend is None:
            return f"the transaction {self.transaction_id} is open, and the server does not show its session"
        return (
            f"the transaction {self.transaction_id} of backend {self.backend} (login {self.login}, application"
            f" {self.application!r}, database {self.database}) is open{since};"
            f" end it with: SELECT pg_terminate_backend({self.backend})"
        )


@dataclass(frozen=True, slots=True)
class Unsealed:
    """The entries that are not sealed, the age of the oldest, and the transactions that sealing waits for."""

    entries: int
    oldest: datetime | None
    age: timedelta
    blockers: tuple[Blocker, ...]

    def __str__(self) -> str:
        if self.oldest is None:
            return "all entries are sealed"
        waiting = f"{self.entries} entries are not sealed, the oldest since {self.oldest:%Y-%m-%d %H:%M:%S %Z}"
        reasons = "; ".join(map(str, self.blockers)) or "no transaction keeps them from being sealed: seal again"
        return f"{waiting}: {reasons}"


def unsealed(session: Session | Connection) -> Unsealed:
    """Return what is not sealed and why. Administrators only, or the owner; raises Forbidden for other actors."""
    waiting = session.execute(
        text("SELECT entries, oldest, newest_xid, coalesce(clock_timestamp() - oldest, interval '0') AS age"
             "  FROM public.unsealed_entries()")
    ).one()  # fmt: skip
    blockers = session.execute(
        text("SELECT * FROM public.seal_blockers(CAST(:newest AS xid8))"),
        {"newest": str(waiting.newest_xid) if waiting.newest_xid is not None else None},
    )
    return Unsealed(
        entries=waiting.entries,
        oldest=waiting.oldest,
        age=waiting.age,
        blockers=tuple(Blocker(int(found.transaction_id), *found[1:]) for found in blockers),
    )
