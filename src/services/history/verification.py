"""Verification of the log: the chain, exported heads, entries, archives, rows and segments of transcriptions."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.orm import Session

from src.errors import Forbidden
from src.services.history.archive_checks import ArchiveStorage, check_archives, unread_archives
from src.services.history.chain_checks import check_chain
from src.services.history.entry_checks import check_entries
from src.services.history.findings import Batch, Finding, Report
from src.services.history.row_checks import check_rows
from src.services.history.seal_keys import SealKey
from src.services.history.state_checks import check_state
from src.services.history.tree_heads import HeadFile
from src.services.history.trusted_reading import PINNED
from src.services.history.version_checks import check_versions

__all__ = ["Finding", "Report", "verify"]

_SEES_EVERYTHING = text("""
    SELECT public.actor_may('*', '*') OR pg_catalog.pg_has_role(session_user, c.relowner, 'MEMBER')
      FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass('public.activity_logs')
""")
# A month that is archived meanwhile would look deleted.
_NO_ARCHIVING = text("SELECT public.keep_archives()")


def verify(
    session: Session,
    *,
    key: SealKey | None = None,
    heads: HeadFile | None = None,
    rows: bool = True,
    segments: bool = True,
    storage: ArchiveStorage | None = None,
) -> Report:
    """Recompute all hashes and return the differences as classified findings.

    `key` is the public key that must have signed the seals; load it from outside the database. `heads` are the exported
    heads: without them, missing seals at the end of the chain cannot be detected. Verifying without one of the two is
    a finding. `rows` compares every row of the captured tables with its last entry, `segments` every transcription with
    its digest. Archived months are read from `storage`, by default that of the session's database; without one the
    report says that they were not read.

    Trusts no object of the database but its tables: names resolve in `pg_catalog` only, and hashes are computed here.
    Can run concurrently with writers, does not depend on settings of the session, nor change them. Raises Forbidden
    unless the actor is an administrator or the database's owner, since other actors do not see all entries.
    """
    report, batches = Report(), list[Batch]()
    with session.begin_nested() as savepoint:
        session.execute(PINNED)
        if not session.scalar(_SEES_EVERYTHING):
            raise Forbidden("Verification needs an administrator or the database's owner, who can see all entries.")
        session.execute(_NO_ARCHIVING)
        report.findings += check_chain(session, key, heads, report, batches)
        report.findings += check_entries(session, batches, report)
        report.findings += _check_archives(session, storage, report)
        if rows:
            report.findings += check_rows(session, report)
            report.findings += check_state(session)
        if segments:
            report.findings += check_versions(session, report)
        savepoint.rollback()
    return report


def _check_archives(session: Session, storage: ArchiveStorage | None, report: Report) -> Iterator[Finding]:
    unread = unread_archives(session)
    if storage is None and unread and "database" in session.info:
        from src.services.recordings.context import ArchivedMonths  # noqa: PLC0415 - only for archived months

        storage = ArchivedMonths(session)
    if storage is None:
        report.not_read += unread
    else:
        yield from check_archives(session, storage)
