"""Keep the log: seal it, verify it, export, archive and erase, give rows their baseline. Run as the owner."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from src.config import load_settings
from src.database.models import User
from src.database.scripts.command import Debug, owner_engine, run_several, storage_of
from src.errors import InvalidInput
from src.maintenance.log_archives import write_month
from src.maintenance.retention import archive_month, check_archives, erase_archived, forget_replaced
from src.maintenance.seal_schedule import heads_of, seal_as_owner, sealing_key, verifying_key
from src.services.history import verify as verify_history

Month = Annotated[str, typer.Argument(help="The month, such as 2026-01.")]
BASELINES_AT_ONCE = 1_000


def seal(*, debug: Debug = False) -> None:  # noqa: ARG001 - read by the runner
    """Seal everything that is finished, sign it, and export the heads. Run it every few minutes."""
    settings = load_settings()
    with owner_engine(settings, "history") as engine, Session(engine) as session:
        with session.begin():
            session.execute(select(func.public.ensure_activity_partitions(3)))
            moved = session.scalar(select(func.public.empty_default_partition()))
        sealed = seal_as_owner(session, sealing_key(settings), heads_of(settings), storage_of(settings))
    if moved:
        typer.echo(f"{moved} entries had no month of their own and have one now", err=True)
    typer.echo(f"sealed: {sealed}")


def verify(
    *,
    archives: Annotated[bool, typer.Option(help="Read archived months too.")] = True,
    debug: Debug = False,  # noqa: ARG001 - read by the runner
) -> None:
    """Recompute everything; exit 1 with a line for each finding when something is not as it was written."""
    settings = load_settings()
    with owner_engine(settings, "history") as engine, Session(engine) as session, session.begin():
        report = verify_history(session, key=verifying_key(settings), heads=heads_of(settings))
        if archives:
            report.findings += check_archives(session, storage_of(settings))
    typer.echo(str(report))
    if report.in_default_partition:
        typer.echo(f"{report.in_default_partition} entries lie in the default partition; run: history seal", err=True)
    if not report.ok:
        raise typer.Exit(1)


def export(
    month: Month,
    target: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    *,
    debug: Debug = False,  # noqa: ARG001 - read by the runner
) -> None:
    """Write a month of the log to a file that verify_export.py checks without us."""
    try:
        file = target.open("xb")
    except OSError as error:
        raise InvalidInput(f"{target} cannot be written ({error.strerror}); name a new file.") from error
    with owner_engine(load_settings(), "history") as engine, Session(engine) as session, session.begin(), file:
        typer.echo(f"exported: {write_month(session, _month(month), file)}")


def archive(month: Month, *, debug: Debug = False) -> None:  # noqa: ARG001 - read by the runner
    """Move a finished and sealed month into the storage and drop it from the database."""
    settings = load_settings()
    with owner_engine(settings, "history") as engine, Session(engine) as session, session.begin():
        made = archive_month(session, storage_of(settings), _month(month))
        typer.echo(f"archived: {made.entry_count} entries, {made.size_bytes} bytes, {made.storage_key}")


def erase(
    *,
    reason: Annotated[str, typer.Option(help="Why; it stands in the log.")],
    case: Annotated[int | None, typer.Option(help="The number of a case, deleted or not.")] = None,
    user: Annotated[str | None, typer.Option(help="The name of a user, whose own row is meant.")] = None,
    debug: Debug = False,  # noqa: ARG001 - read by the runner
) -> None:
    """Erase what the log and its archives say about a case or a user; that it was said stays, and is provable."""
    settings = load_settings()
    storage = storage_of(settings)
    with owner_engine(settings, "history") as engine, Session(engine) as session:
        with session.begin():
            session.execute(select(func.set_config("sti.reason", reason, True)))
            person = (
                None if user is None else session.scalars(select(User.id).where(User.username == user)).one_or_none()
            )
            if user is not None and person is None:
                raise InvalidInput(f"There is no user {user!r}.")
            if (case is None) == (person is None):
                raise InvalidInput("Name a case with --case or a user with --user.")
            emptied = 0
            while found := session.scalar(select(func.public.erase_payloads(case, person, 5_000))):
                emptied += len(found)
            emptied += erase_archived(session, storage, case_id=case, user_id=person)
        with session.begin():
            forget_replaced(session, storage)
    typer.echo(f"erased: {emptied}")


def baseline(*, debug: Debug = False) -> None:  # noqa: ARG001 - read by the runner
    """Give an entry to rows that have none, and a digest to versions without one: those from before capture began."""
    written = 0
    with owner_engine(load_settings(), "history") as engine, Session(engine) as session:
        with session.begin():
            tables = session.scalars(select(func.public.captured_tables())).all()
        for table in tables:
            done = BASELINES_AT_ONCE
            while done == BASELINES_AT_ONCE:
                with session.begin():
                    done = session.scalar(select(func.public.write_baseline(table, BASELINES_AT_ONCE))) or 0
                written += done
        with session.begin():
            found = session.execute(
                text(
                    "UPDATE public.transcriptions t SET segments_sha256 = public.transcription_digest(t.id)"
                    " WHERE t.segments_sha256 IS NULL RETURNING t.id"
                )
            ).all()
    typer.echo(f"baselines: {written}, digests: {len(found)}")


def _month(name: str) -> date:
    try:
        return date.fromisoformat(f"{name}-01")
    except ValueError as error:
        raise InvalidInput(f"{name!r} is no month; write it like 2026-01.") from error


if __name__ == "__main__":
    run_several("history", seal, verify, export, archive, erase, baseline)
