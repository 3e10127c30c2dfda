"""How every script ends: 0 done, 1 findings or refused, 2 wrong arguments, 3 something outside is missing."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer
from sqlalchemy.exc import DBAPIError

from src.database.failures import translate
from src.errors import SpeechError, Unavailable

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


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
