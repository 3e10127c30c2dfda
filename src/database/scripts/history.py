"""Seal and verify the log, export, archive and erase it, write baselines. Run as the owner."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, cast

import typer
from psycopg2.errors import LockNotAvailable
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from src.config import Settings, load_settings
from src.database.connection.addresses import key_path, serving_logins
from src.database.connection.key_file import KeyFile
from src.database.models import ActivityArchive
from src.database.scripts.command import owner_engine, run_several, served_storages, storage_of
from src.errors import InvalidInput
from src.maintenance.archive_storage import ArchiveStorage
from src.maintenance.baselines import write_baselines
from src.maintenance.ending_sessions import LONGEST_BLOCKING, LONGEST_TRANSACTION, end_holders
from src.maintenance.erasure import erase_everywhere
from src.maintenance.log_archives import export_month
from src.maintenance.retention import archive_month
from src.maintenance.seal_schedule import (
    LONGEST_UNSEALED,
    heads_of,
    note_delay,
    seal_as_owner,
    sealing_key,
    verifying_key,
)
from src.maintenance.served_storages import raise_sequences, serve
from src.maintenance.terminal import say
from src.services.history import verify as verify_history
from src.storage import StorageBackend

Month = Annotated[str, typer.Argument(help="The month, such as 2026-01.")]


def seal(
    *,
    limit: Annotated[
        float, typer.Option(help="Exit 1 when entries could not be sealed for longer than this many minutes.", min=0)
    ] = LONGEST_UNSEALED.total_seconds() / 60,
    end_after: Annotated[
        float,
        typer.Option(help="End sessions whose transaction keeps entries from being sealed for so many minutes.", min=1),
    ] = LONGEST_TRANSACTION.total_seconds() / 60,
    end_blocking_after: Annotated[
        float,
        typer.Option(help="End sessions whose transaction is so many minutes old while others wait for it.", min=0),
    ] = LONGEST_BLOCKING.total_seconds() / 60,
) -> None:
    """Seal the entries of finished transactions, sign the seals, and export their heads. Run every few minutes.

    On a machine with the key file, sessions that hold up all others are ended first.
    """  # fmt: skip
    settings = load_settings()
    with owner_engine(settings, "history") as engine, Session(engine) as session:
        if KeyFile.load(key_path(settings)) is not None:
            _, urls, _ = serving_logins(settings)
            for url in filter(None, (urls.members, urls.administrators)):
                longest, blocking = timedelta(minutes=end_after), timedelta(minutes=end_blocking_after)
                for ended in end_holders(session, url, longest=longest, blocking=blocking):
                    say(f"ended: {ended}", err=True)
        unprepared = _prepare_partitions(session)
        storages = serve(session, [storage_of(settings)])
        sealed = seal_as_owner(session, sealing_key(settings), heads_of(settings), storage_of(settings))
        if sealed:
            # A copy of this database that was made before recognises itself by its smaller number.
            raise_sequences(session, storages)
        waiting = note_delay(session, limit=timedelta(minutes=limit))
    say(f"sealed: {sealed}")
    overdue = waiting.age > timedelta(minutes=limit)
    if overdue or waiting.blockers:
        say(str(waiting), err=True)
    if overdue or unprepared:
        raise typer.Exit(1)


def _prepare_partitions(session: Session) -> bool:
    """Create the partitions of the next months; return whether a lock of another session prevented it.

    Waits briefly: all readers of the log queue behind a statement that waits for the lock of a partition.
    """
    try:
        with session.begin():
            session.execute(text("SET LOCAL lock_timeout = '5s'"))
            session.execute(select(func.public.ensure_activity_partitions(3)))
            moved = session.scalar(select(func.public.empty_default_partition()))
    except DBAPIError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        say("partitions: an open transaction that has read the log keeps them locked; end it", err=True)
        return True
    if moved:
        say(f"{moved} entries moved from the default partition to their months", err=True)
    return False


def verify(*, archives: Annotated[bool, typer.Option(help="Read archived months too.")] = True) -> None:
    """Recompute all hashes; exit 1 with a line for each finding."""
    settings = load_settings()
    with owner_engine(settings, "history") as engine, Session(engine) as session:
        storage = _archives(session, settings) if archives and _has_archives(session) else None
        with session.begin():
            report = verify_history(
                session,
                key=verifying_key(settings),
                heads=heads_of(settings),
                archives=archives,
                storage=storage,
            )
    for line in report.lines():
        say(line)
    if report.in_default_partition:
        say(f"{report.in_default_partition} entries are in the default partition; run: history seal", err=True)
    if not report.ok:
        raise typer.Exit(1)


def export(
    month: Month,
    target: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    *,
    include_sensitive: Annotated[
        bool, typer.Option("--include-sensitive", help="Write the content of entries of sensitive cases too.")
    ] = False,
) -> None:
    """Write a month of the log to a file that verify_export.py checks without this package; the export is logged."""
    try:
        file = target.open("xb")
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written ({error.strerror}); name a new file.") from error
    with owner_engine(load_settings(), "history") as engine, Session(engine) as session, session.begin(), file:
        exported = export_month(session, _month(month), file, include_sensitive=include_sensitive)
    say(f"exported: {exported}")


def archive(month: Month) -> None:
    """Move a finished and sealed month into the storage and drop it from the database."""
    settings = load_settings()
    with owner_engine(settings, "history") as engine, Session(engine) as session:
        storage = _archives(session, settings)
        with session.begin():
            made = archive_month(session, storage, _month(month))
            say(f"archived: {made.entry_count} entries, {made.size_bytes} bytes, {made.storage_key}")


def erase(
    *,
    reason: Annotated[str, typer.Option(help="Why; the log keeps it.")],
    case: Annotated[int | None, typer.Option(help="The id of a case, deleted or not.")] = None,
    user: Annotated[str | None, typer.Option(help="The name of a user, for the user's own row.")] = None,
) -> None:
    """Erase what the log and its archives say about a case or a user; that entries existed stays provable."""
    settings = load_settings()
    with owner_engine(settings, "history") as engine, Session(engine) as session:
        erased = erase_everywhere(session, _archives(session, settings), case_id=case, username=user, reason=reason)
    say(f"erased: {erased}")


def baseline() -> None:
    """Write an entry for each row without one and a digest for each version without one: from before capture began."""
    with owner_engine(load_settings(), "history") as engine, Session(engine) as session:
        written = write_baselines(session)
    say(f"baselines: {written.entries}, digests: {written.digests}")


def _archives(session: Session, settings: Settings) -> StorageBackend:
    """Return the storages of archived months as one, compared with their markers."""
    storages = served_storages(session, settings)
    return cast("StorageBackend", ArchiveStorage(session, storages, storage_of(settings)))


def _has_archives(session: Session) -> bool:
    try:
        with session.begin():
            return session.scalar(select(ActivityArchive.id).limit(1)) is not None
    except DBAPIError:
        return False  # the verification says why the table cannot be read


def _month(name: str) -> date:
    try:
        return date.fromisoformat(f"{name}-01")
    except ValueError as error:
        raise InvalidInput(f"{name!r} is not a month; write it like 2026-01.") from error


if __name__ == "__main__":
    run_several("history", seal, verify, export, archive, erase, baseline)
