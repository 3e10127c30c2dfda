"""Keep the index of what was said in step with its rules. Run as the owner."""

from __future__ import annotations

from typing import Annotated

import typer

from src.config import load_settings
from src.database.scripts.command import Debug, owner_engine, run_several
from src.maintenance import indexing


def reindex(
    *,
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Segments in one transaction.")] = 5000,
    since: Annotated[int, typer.Option(min=0, help="Go on after the segment of this id.")] = 0,
    debug: Debug = False,  # noqa: ARG001 - read by the runner
) -> None:
    """Index anew what the rules of today index otherwise: after an upgrade, or when a language got other rules."""
    changed = 0
    with owner_engine(load_settings(), "reindex") as engine:
        for done in indexing.reindex(engine, batch=batch, since=since):
            changed += done.changed
            typer.echo(f"up to segment {done.last_id}: {changed} indexed anew")
    typer.echo(f"done: {changed} segments indexed anew")


def names(*, debug: Debug = False) -> None:  # noqa: ARG001 - read by the runner
    """Make the indexes for parts of names where pg_trgm is, while people write; init_db makes them too."""
    with owner_engine(load_settings(), "reindex") as engine:
        made = indexing.index_names(engine)
    typer.echo("indexed" if made else "pg_trgm is not here: names are searched without an index")


if __name__ == "__main__":
    run_several("search", reindex, names)
