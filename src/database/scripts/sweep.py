"""Remove garbage from the storage, and verify recordings. Run as the owner."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from src.config import Settings, load_settings
from src.database.scripts.command import owner_engine, run_several
from src.maintenance import superseded, sweeping
from src.maintenance.fixity_rounds import verify_all
from src.maintenance.terminal import say
from src.storage import StorageBackend, open_backend

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
            session, _storages(settings), older_than=timedelta(hours=hours), grace=timedelta(days=days)
        )
    say(
        f"purged: {done.purged_recordings}, removed: {done.removed_objects} ({done.removed_bytes} bytes),"
        f" incomplete: {done.incomplete}, kept back: {done.kept_back}"
    )
    for key, reason in (done.failed | done.differing).items():
        say(f"{key}: {reason}", err=True)
    if done.failed or done.differing:
        raise typer.Exit(1)


def unknown(*, hours: Hours = 24) -> None:
    """List objects without a row in the database. Reads the whole storage."""
    settings = load_settings()
    with owner_engine(settings, "sweep") as engine, Session(engine) as session:
        for each in _storages(settings).values():
            for key in sweeping.unknown_objects(session, each, older_than=timedelta(hours=hours)):
                say(f"{each.name}: {key}")


def remove_unknown(*, hours: Hours = 24) -> None:
    """Remove objects without a row in the database: only where no other database uses the storage."""
    settings = load_settings()
    with owner_engine(settings, "sweep") as engine, Session(engine) as session:
        for each in _storages(settings).values():
            for key in sweeping.remove_unknown(session, each, older_than=timedelta(hours=hours)):
                say(f"{each.name}: {key}, removed")


def point_back(recording: Annotated[int, typer.Argument(help="The id of the recording.")]) -> None:
    """Give a recording whose bytes are wrong since a move the object that it had before, if that has its bytes."""
    settings = load_settings()
    with owner_engine(settings, "sweep") as engine, Session(engine) as session:
        key = superseded.point_back(session, _storages(settings), recording)
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
        for check in verify_all(session, _storages(settings), unchecked_for=timedelta(days=days), sample=sample):
            counted[check.outcome] += 1
            if check.outcome != "sound":
                say(f"recording {check.audio_id}: {check.outcome} ({check.key})")
    say(", ".join(f"{outcome}: {counted[outcome]}" for outcome in ("sound", "missing", "damaged")))
    if counted["missing"] or counted["damaged"]:
        raise typer.Exit(1)


def _storages(settings: Settings) -> dict[str, StorageBackend]:
    """Every backend that the settings describe: recordings may have moved between them."""
    storages = {"local": open_backend("local", root=settings.audio_storage_root)}
    if settings.s3_bucket is not None:
        storages["s3"] = open_backend("s3", **settings.s3_options())
    return storages


if __name__ == "__main__":
    run_several("sweep", storage, unknown, remove_unknown, point_back, verify)
