"""Dump the database for a backup that every owner can restore. Run as the owner; docs/operations.md restores it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from src.config import load_settings
from src.database.scripts.command import owner_engine, run
from src.maintenance.dumping import dump_database, log_dump
from src.maintenance.terminal import say


def dump(file: Annotated[Path, typer.Argument(help="The new file, in the custom format of pg_dump.")]) -> None:
    """Dump the database of the settings to a file, without what belongs to its server."""
    with owner_engine(load_settings(), "dump") as engine:
        size = dump_database(engine, file)
        with Session(engine) as session, session.begin():
            log_dump(session, size)
    say(f"{file}: {size} bytes")


if __name__ == "__main__":
    run(dump, "dump")
