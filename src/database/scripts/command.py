"""What every script shares: the owner's connection, the storage, and how it ends.

It ends with 0 done, 1 findings or refused, 2 wrong arguments, 3 something outside is missing.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from src.config import Settings
from src.database.connection.addresses import owner_url
from src.database.connection.driver_errors import translate
from src.database.connection.engine import PoolOptions, make_engine
from src.errors import SpeechError, Unavailable
from src.storage import StorageBackend, open_backend

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@contextmanager
def owner_engine(settings: Settings, name: str) -> Iterator[Engine]:
    """Lend an engine of the database's owner, with one connection that calls itself `name`.

    Raises DatabaseMissing where there is no embedded database yet; none is made.
    """
    engine = make_engine(owner_url(settings, create=False), PoolOptions(application_name=name, size=1))
    try:
        yield engine
    finally:
        engine.dispose()


def storage_of(settings: Settings) -> StorageBackend:
    """Return the storage that new recordings go to. Raises ConfigurationError for S3 without a bucket."""
    return open_backend(settings.audio_storage_type, **settings.storage_options())


def run(function: Callable[..., Any], name: str) -> None:
    """Run a typer function as a program: an error is one line on stderr and an exit code, a traceback with --debug."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name=name)(function)
    _run(app, name)


def run_several(name: str, *functions: Callable[..., Any]) -> None:
    """Run typer functions as the commands of one program, which ends as `run` says."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
    for function in functions:
        app.command()(function)
    _run(app, name)


def _run(app: typer.Typer, name: str) -> None:
    try:
        app(prog_name=f"python -m src.database.scripts.{name}")
    except (SpeechError, DBAPIError) as error:
        meant = translate(error) if isinstance(error, DBAPIError) else error
        if meant is None:
            raise
        if "--debug" in sys.argv:
            traceback.print_exc()
        typer.echo(f"{name}: {meant}", err=True)
        sys.exit(3 if isinstance(meant, Unavailable) else 1)
