"""Verification of the log: the chain, exported heads, entries, archives, rows and segments of transcriptions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sqlalchemy import Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from src.database.models import Base
from src.database.schema import ADMIN_ROLE, captured_tables
from src.errors import Forbidden
from src.services.history.archive_checks import ArchiveStorage, check_archives, unread_archives
from src.services.history.chain_checks import check_chain
from src.services.history.column_forms import is_withheld_from_administrators
from src.services.history.entry_checks import check_entries
from src.services.history.findings import Batch, Finding, Report
from src.services.history.row_checks import REGISTERED, check_rows, unknown_tables
from src.services.history.seal_keys import SealKey
from src.services.history.state_checks import check_state
from src.services.history.table_forms import Forms, compare_forms
from src.services.history.tree_heads import HeadFile
from src.services.history.trusted_reading import begin_reading, identifier, read_without_row_security, values
from src.services.history.version_checks import check_versions

__all__ = ["Finding", "Report", "verify"]

# Of the table of entries, or of the database when somebody dropped it.
_IS_OWNER = """
    SELECT pg_catalog.pg_has_role(coalesce(
        (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass('public.activity_logs')),
        (SELECT d.datdba FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())), 'USAGE')
"""
_LOCKABLE = """
    SELECT pg_catalog.format('%s', c.relname) FROM pg_catalog.pg_class c
     WHERE c.relnamespace = pg_catalog.to_regnamespace('public') AND c.relname = ANY (:names)
       AND c.relkind IN ('r', 'p') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') ORDER BY c.relname
"""
_IS_ADMINISTRATOR = "SELECT pg_catalog.format('%s', current_user) = :role"
_SEES_USERS = "SELECT EXISTS (SELECT FROM public.users)"
_LOG = {
    "activity_logs": ("id", "created_at", "updated_at", "activity_type_id", "actor_id", "actor", "case_id", "entity",
                      "entity_id", "operation", "reason", "request_id", "transaction_id", "epoch", "schema_revision",
                      "salt", "new", "old", "payload_hash", "leaf_hash"),
    "activity_types": ("id", "code"),
    "activity_archives": ("id", "month", "storage_key", "storage_type", "size_bytes", "sha256", "entry_count"),
}  # fmt: skip
_SEALS = {
    "activity_seals": ("id", "created_at", "previous_id", "month", "epoch", "low_xid", "high_xid", "next_xid",
                       "entry_count", "root", "leaves", "seal_hash", "signature", "signing_key", "pruned_at",
                       "details"),
}  # fmt: skip
# Besides the captured tables.
_READ = ("activity_archives", "activity_logs", "activity_seals", "storages", "transcription_segments",
         "transcription_sources")  # fmt: skip
# The classes of errors that tampering can cause: data, writing in a read-only transaction, functions, syntax or access,
# limits, input and output, damage.
_OF_TAMPERING = ("22", "25", "38", "39", "42", "54", "58", "P0", "XX")


def verify(
    session: Session,
    *,
    key: SealKey | None = None,
    heads: HeadFile | None = None,
    rows: bool = True,
    segments: bool = True,
    archives: bool = True,
    storage: ArchiveStorage | None = None,
) -> Report:
    """Recompute all hashes and return the differences as classified findings.

    `key` is the public key that must have signed the seals; load it from outside the database. `heads` are the exported
    heads: without them, missing seals at the end of the chain cannot be detected. Verifying without one of the two is
    a finding. `rows` compares every row of the captured tables with its last entry, `segments` every transcription with
    its digest. Archived months are read from `storage`, by default that of the session's database; without one the
    report says that they were not read, and is not ok. `archives=False` leaves them out.

    Trusts no object of the database but its tables, and these only in the form that the models declare: names resolve
    in `pg_catalog`, no function of `public` is called, nothing can be written meanwhile, and hashes are computed here.
    An administrator sees the rows by policies, which call `actor_may`, and finds archived months in several storages by
    `storage_register`: as a proof, verify as the owner. Can run concurrently with writers, does not depend on settings
    of the session, nor change them. Raises Forbidden unless the
    actor is an administrator or the database's owner, since other actors do not see all entries.
    """
    report = Report()
    with session.begin_nested() as savepoint:
        begin_reading(session)
        _Verification(session, report).run(key, heads, storage, rows=rows, segments=segments, archives=archives)
        savepoint.rollback()
    return report


class _Verification:
    """One run: each part is checked if what it reads has the right form, and its findings are added to the report."""

    def __init__(self, session: Session, report: Report) -> None:
        self._session = session
        self._report = report
        self._forms = Forms()
        self._is_owner = bool(values(session, _IS_OWNER)[0])

    def run(
        self,
        key: SealKey | None,
        heads: HeadFile | None,
        storage: ArchiveStorage | None,
        *,
        rows: bool,
        segments: bool,
        archives: bool,
    ) -> None:
        session, report, batches = self._session, self._report, list[Batch]()
        self._require_rights()
        self._check_forms()
        self._part("the seals", _SEALS, check_chain(session, key, heads, report, batches))
        self._part(
            "the entries",
            {**_LOG, **_SEALS},
            check_entries(session, batches, report, by_index=self._forms.has_trusted_indexes),
        )
        self._part("the archives", {**_LOG, **_SEALS}, self._check_archives(storage, is_wanted=archives))
        if rows:
            self._part("the rows", {"activity_logs": _LOG["activity_logs"]}, check_rows(session, report, self._forms))
            for what, needs, findings in check_state(session):
                self._part(what, needs, findings)
        if segments:
            for what, needs, findings in check_versions(session, report):
                self._part(what, needs, findings)

    def _part(self, what: str, needs: Mapping[str, Iterable[str]], findings: Iterator[Finding]) -> None:
        """Add the findings of a part; without the tables that it needs, or when they cannot be read, this is one."""
        if lacking := self._forms.lacking(needs):
            self._report.not_read.append(f"{what}, without {', '.join(lacking)} in the form that they should have")
            return
        with self._session.begin_nested() as savepoint:
            try:
                for finding in findings:
                    self._report.findings.append(finding)
            except DBAPIError as error:
                code = getattr(error.orig, "pgcode", None) or ""
                if not code.startswith(_OF_TAMPERING):
                    raise
                savepoint.rollback()
                sentence = f"{what} cannot be read: {str(error.orig).splitlines()[0]}"
                self._report.findings.append(Finding("table", sentence))

    def _require_rights(self) -> None:
        if self._is_owner:
            read_without_row_security(self._session)
        elif not values(self._session, _IS_ADMINISTRATOR, {"role": ADMIN_ROLE})[0]:
            raise Forbidden("Verification needs an administrator or the database's owner, who can see all entries.")

    def _check_forms(self) -> None:
        """Keep the form of the tables for the time of the verification, and compare it."""
        models: dict[str, Table | None] = {name: Base.metadata.tables[name] for name in _READ}
        models |= {table.name: table for table in captured_tables(Base.metadata)}
        if self._is_owner:
            models[REGISTERED] = Base.metadata.tables[REGISTERED]
        self._compare(models)
        if not self._is_owner:
            self._part("the users", {"users": ()}, self._check_sight())
        self._part("the tables of services", {"activity_logs": ("entity", "operation")}, self._check_services())

    def _check_sight(self) -> Iterator[Finding]:
        if not values(self._session, _SEES_USERS)[0]:
            raise Forbidden("Verification needs the token of an administrator, who can see all entries.")
        yield from ()

    def _check_services(self) -> Iterator[Finding]:
        unknown: dict[str, Table | None] = dict.fromkeys(unknown_tables(self._session, self._forms))
        self._compare(unknown)
        yield from ()

    def _compare(self, models: Mapping[str, Table | None]) -> None:
        # An archiving, which would make entries look deleted, waits too: it detaches a partition.
        for name in values(self._session, _LOCKABLE, {"names": list(models)}):
            self._session.execute(text(f"LOCK TABLE public.{identifier(name)} IN ACCESS SHARE MODE"))
        self._report.findings += compare_forms(self._session, models, self._forms, is_owner=self._is_owner)
        for table in models:
            found = self._forms.tables.get(table)
            for column in () if found is None else found.withheld:
                model = Base.metadata.tables.get(table)
                if not self._is_owner and is_withheld_from_administrators(model, column):
                    self._report.left_out.append(f"{table}.{column} (only the owner of the database may read it)")
                else:
                    sentence = f"the column {table}.{column} is not readable: the privilege SELECT was revoked"
                    self._report.findings.append(Finding("table", sentence))

    def _check_archives(self, storage: ArchiveStorage | None, *, is_wanted: bool) -> Iterator[Finding]:
        session = self._session
        unread = unread_archives(session)
        if not is_wanted:
            self._report.left_out += unread
            return
        if storage is None and unread and "database" in session.info:
            from src.services.recordings.context import ArchivedMonths  # noqa: PLC0415 - only for archived months

            storage = ArchivedMonths(session)
        if storage is None:
            self._report.not_read += unread
        else:
            yield from check_archives(session, storage)
