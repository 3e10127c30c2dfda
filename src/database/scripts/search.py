"""Keep the search index up to date with its rules. Run as the owner."""

from __future__ import annotations

from typing import Annotated

import typer

from src.config import load_settings
from src.database.scripts.command import owner_engine, run_several
from src.maintenance import indexing
from src.maintenance.terminal import say


def reindex(
    *,
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Segments per transaction.")] = 5000,
    since: Annotated[int, typer.Option(min=0, help="Continue after the segment with this id.")] = 0,
) -> None:
    """Index segments again whose rules changed: after an upgrade, or when a language got another configuration."""
    changed = 0
    with owner_engine(load_settings(), "reindex") as engine:
        for done in indexing.reindex(engine, batch=batch, since=since):
            changed += done.changed
            say(f"up to segment {done.last_id}: {changed} indexed again")
    say(f"done: {changed} segments indexed again")


def names() -> None:
    """Create the indexes for parts of names without blocking writers; needs pg_trgm. init_db creates them too."""
    with owner_engine(load_settings(), "reindex") as engine:
        made = indexing.index_names(engine)
    say("indexed" if made else "pg_trgm is not installed: names are searched without an index")


if __name__ == "__main__":
    run_several("search", reindex, names)
