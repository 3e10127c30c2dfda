"""Remove what no recording has, and what was deleted long enough ago; read recordings anew. Run as the owner."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from src.config import Settings, load_settings
from src.database.scripts.command import Debug, owner_engine, run_several
from src.maintenance import sweeping
from src.maintenance.fixity_rounds import verify_all
from src.storage import StorageBackend, open_backend


def storage(
    *,
    hours: Annotated[float, typer.Option(min=0, help="How long garbage must have been garbage.")] = 24,
    days: Annotated[float, typer.Option(min=0, help="How long deleted recordings can be restored.")] = 30,
    unknown: Annotated[bool, typer.Option(help="List objects that no row names; reads the whole storage.")] = False,
    remove: Annotated[
        bool, typer.Option(help="Remove those too: only where no other database uses the storage.")
    ] = False,
    debug: Debug = False,  # noqa: ARG001 - read by the runner
) -> None:
    """Sweep the storage; exit 1 when something could not be removed. Run it every hour."""
    settings, waiting = load_settings(), timedelta(hours=hours)
    places = _storages(settings)
    with owner_engine(settings, "sweep") as engine, Session(engine) as session:
        done = sweeping.sweep(session, places, older_than=waiting, grace=timedelta(days=days))
        for place in places.values() if unknown or remove else ():
            look = sweeping.remove_unknown if remove else sweeping.unknown_objects
            for key in look(session, place, older_than=waiting):
                typer.echo(f"{place.name}: no row names {key}{', removed' if remove else ''}")
    typer.echo(
        f"purged: {done.purged_recordings}, removed: {done.removed_objects} ({done.removed_bytes} bytes),"
        f" incomplete: {done.incomplete}, kept back: {done.kept_back}"
    )
    for key, reason in done.failed.items():
        typer.echo(f"{key}: {reason}", err=True)
    if done.failed:
        raise typer.Exit(1)


def verify(
    *,
    days: Annotated[float, typer.Option(min=0, help="Leave out what was checked within that many days.")] = 90,
    sample: Annotated[int | None, typer.Option(min=1, help="Only so many, at random.")] = None,
    debug: Debug = False,  # noqa: ARG001 - read by the runner
) -> None:
    """Read recordings anew and compare them; exit 1 when one is missing or damaged. Killed, it goes on next time."""
    settings = load_settings()
    counted: Counter[str] = Counter()
    with owner_engine(settings, "sweep") as engine, Session(engine) as session:
        for check in verify_all(session, _storages(settings), unchecked_for=timedelta(days=days), sample=sample):
            counted[check.outcome] += 1
            if check.outcome != "sound":
                typer.echo(f"recording {check.audio_id}: {check.outcome} ({check.key})")
    typer.echo(", ".join(f"{outcome}: {counted[outcome]}" for outcome in ("sound", "missing", "damaged")))
    if counted["missing"] or counted["damaged"]:
        raise typer.Exit(1)


def _storages(settings: Settings) -> dict[str, StorageBackend]:
    """Every backend that the settings describe: recordings may have moved between them."""
    places = {"local": open_backend("local", root=settings.audio_storage_root)}
    if settings.s3_bucket is not None:
        places["s3"] = open_backend("s3", **settings.s3_options())
    return places


if __name__ == "__main__":
    run_several("sweep", storage, verify)
