"""Remove garbage from the storage, and verify recordings. Run as the owner."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from src.config import load_settings
from src.database.scripts.command import owner_engine, run_several, served_storages
from src.maintenance import superseded, sweeping, unknown_objects
from src.maintenance.fixity_rounds import verify_all
from src.maintenance.served_storages import unserved
from src.maintenance.terminal import say

_DECIDE = "adopt it with storage adopt, or name it to sweep remove-unknown"
Hours = Annotated[float, typer.Option(min=0, help="Leave out objects younger than this.")]


def storage(
    *,
    hours: Hours = 24,
    days: Annotated[float, typer.Option(min=0, help="How long deleted recordings can be restored.")] = 30,
) -> None:
    """Remove garbage and recordings deleted long enough ago; exit 1 when something must be looked at. Run hourly."""
    settings = load_settings()
    with owner_engine(settings, "sweep") as engine, Session(engine) as session:
        done = sweeping.sweep(
            session, served_storages(session, settings), older_than=timedelta(hours=hours), grace=timedelta(days=days)
        )
    say(
        f"purged: {done.purged_recordings}, removed: {done.removed_objects} ({done.removed_bytes} bytes),"
        f" incomplete: {done.incomplete}, kept back: {done.kept_back}"
    )
    for key, reason in (done.failed | done.differing).items():
        say(f"{key}: {reason}", err=True)
    for sentence in done.unserved:
        say(sentence, err=True)
    for key in done.offered:
        say(f"{key}: kept, since it may be a recording that is newer than the restored backup; {_DECIDE}", err=True)
    if done.failed or done.differing or done.unserved or done.offered:
        raise typer.Exit(1)


def unknown(*, hours: Hours = 24) -> None:
    """List objects without a row in the database. Reads the whole storage."""
    settings = load_settings()
    with owner_engine(settings, "sweep") as engine, Session(engine) as session:
        for each in served_storages(session, settings).every():
            for key in unknown_objects.unknown_objects(session, each, older_than=timedelta(hours=hours)):
                say(f"{each.name}: {key}")


def remove_unknown(
    keys: Annotated[
        list[str] | None, typer.Argument(help="Only these; needed for objects newer than a restore.")
    ] = None,
    *,
    hours: Hours = 24,
) -> None:
    """Remove objects without a row in the database: only where no other database uses the storage."""
    settings = load_settings()
    with owner_engine(settings, "sweep") as engine, Session(engine) as session:
        storages = served_storages(session, settings)
        left, removed = 0, set[str]()
        for each in storages.every():
            age = timedelta(hours=hours)
            listed = [] if keys else list(
                unknown_objects.unknown_objects(session, each, older_than=age, after_restore=True)
            )  # fmt: skip
            left += len(listed)
            for key in unknown_objects.remove_unknown(session, each, older_than=age, named=keys or ()):
                say(f"{each.name}: {key}, removed")
                removed.add(key)
    kept = sorted({*(keys or ())} - removed)
    for key in kept:
        say(f"{key}: kept: it has a row, its case is under a legal hold, or it does not exist", err=True)
    if left:
        say(
            f"{left} objects may be newer than the restored backup, and were kept: storage offered lists them", err=True
        )
    if kept:
        raise typer.Exit(1)


def point_back(recording: Annotated[int, typer.Argument(help="The id of the recording.")]) -> None:
    """Give a recording whose bytes are wrong since a move the object that it had before, if that has its bytes."""
    settings = load_settings()
    with owner_engine(settings, "sweep") as engine, Session(engine) as session:
        key = superseded.point_back(session, served_storages(session, settings), recording)
    say(f"recording {recording}: {key}")


def verify(
    *,
    days: Annotated[float, typer.Option(min=0, help="Leave out what was verified within that many days.")] = 90,
    sample: Annotated[int | None, typer.Option(min=1, help="Only so many, at random.")] = None,
) -> None:
    """Read recordings again and compare them; exit 1 when one is missing or damaged. An interrupted run continues."""
    settings = load_settings()
    counted: Counter[str] = Counter()
    with owner_engine(settings, "sweep") as engine, Session(engine) as session:
        storages = served_storages(session, settings)
        left_out = [*unserved(session, storages), *(f"{name}: {why}" for name, why in storages.left_out.items())]
        for check in verify_all(session, storages, unchecked_for=timedelta(days=days), sample=sample):
            counted[check.outcome] += 1
            if check.outcome != "sound":
                say(f"recording {check.audio_id}: {check.outcome} ({check.key})")
    say(", ".join(f"{outcome}: {counted[outcome]}" for outcome in ("sound", "missing", "damaged")))
    for sentence in left_out:
        say(sentence, err=True)
    if counted["missing"] or counted["damaged"] or left_out:
        raise typer.Exit(1)


if __name__ == "__main__":
    run_several("sweep", storage, unknown, remove_unknown, point_back, verify)
