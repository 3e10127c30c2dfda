"""What every script shares: the owner's connection, the storage, error handling and exit codes.

Exit codes: 0 done, 1 findings or rejected, 2 wrong arguments, 3 something outside is missing, 130 interrupted, 141 the
reader of the output has gone.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import Annotated, Any

import typer
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from src.config import Settings
from src.database.connection.addresses import describe, owner_url
from src.database.connection.command_errors import explain
from src.database.connection.engine import PoolOptions, make_engine
from src.errors import ConfigurationError
from src.maintenance.served_storages import ServedStorages, serve
from src.maintenance.terminal import discard_output, flush, printable, say
from src.services.recordings.locating import open_registered, require_marker
from src.services.recordings.registered import KnownStorage, Register, read_register
from src.storage import StorageBackend, open_backend

_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def announce(settings: Settings, name: str) -> None:
    """Say in one line on stderr which database and which storage the program `name` works on.

    Raises ConfigurationError for settings that contradict each other, before anything is started or changed.
    """
    say(f"{name}: {describe(settings)}", err=True)


@contextmanager
def owner_engine(settings: Settings, name: str, *, announced: bool = False) -> Iterator[Engine]:
    """Yield an engine of the database's owner, with one connection whose application name is `name`.

    Announces both, unless the caller did. Raises DatabaseMissing when the embedded database does not exist yet; it is
    not created here.
    """
    if not announced:
        announce(settings, name)
    engine = make_engine(owner_url(settings, create=False), PoolOptions(application_name=name, size=1))
    try:
        yield engine
    finally:
        engine.dispose()


def storage_of(settings: Settings) -> StorageBackend:
    """Return the storage for new recordings. Raises ConfigurationError for S3 without a bucket."""
    return open_backend(settings.audio_storage_type, **settings.storage_options())


def import_backends(settings: Settings) -> None:
    """Import the modules of AUDIO_STORAGE_MODULES, which register backends. Raises ConfigurationError."""
    for module in filter(None, (part.strip() for part in settings.audio_storage_modules.split(","))):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigurationError(
                f"AUDIO_STORAGE_MODULES: the module {module!a} cannot be imported ({error}); correct its name, or"
                " PYTHONPATH."
            ) from error


def served_storages(session: Session, settings: Settings) -> ServedStorages:
    """Return the storages that the database knows, and that of the settings, compared with their markers.

    Raises ConfigurationError and Quarantined: see `serve`.
    """
    import_backends(settings)
    current = storage_of(settings)
    backends = [current]
    with session.begin():
        register = read_register(session)
    if register is None or register.identity is None:
        # Before init_db: what the settings describe.
        if current.name != "local":
            backends.append(open_backend("local", root=settings.audio_storage_root))
        elif settings.s3_bucket is not None:
            backends.append(open_backend("s3", **settings.s3_options()))

    def open_known(register: Register, known: KnownStorage) -> StorageBackend:
        backend = open_registered(known, settings)
        require_marker(register, backend, known)
        return backend

    return serve(session, backends, open_registered=open_known)


def run(function: Callable[..., None], name: str) -> None:
    """Run a typer function as the program `name`; every command has the option `--debug`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name=name)(_command(function, name))
    _neutral_output()
    app(prog_name=f"python -m src.database.scripts.{name}")


def run_several(name: str, *functions: Callable[..., None]) -> None:
    """Run typer functions as the commands of the program `name`: one command for each verb."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
    for function in functions:
        app.command()(_command(function, name))
    _neutral_output()
    app(prog_name=f"python -m src.database.scripts.{name}")


class OneLine(logging.Formatter):
    """The messages of loggers, which may contain names of users or of database objects."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _neutral_output() -> None:
    """Print unexpected errors and warnings of loggers like all other output."""
    sys.excepthook = _unhandled
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(OneLine())


def _unhandled(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of an unexpected error: its message may contain values of users."""
    for part in traceback.format_exception(kind, error, trace):
        for line in part.splitlines():
            say(line, err=True)


def _command(function: Callable[..., None], name: str) -> Callable[..., None]:
    """Return the function with an option `--debug`, and with errors as one line on stderr and an exit code."""

    @wraps(function)
    def command(*arguments: Any, debug: bool = False, **options: Any) -> None:
        try:
            function(*arguments, **options)
            flush()
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except BrokenPipeError:
            discard_output()
            raise typer.Exit(141) from None
        except KeyboardInterrupt:
            say(f"{name}: interrupted", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            if debug:
                _unhandled(type(error), error, error.__traceback__)
            sentence, code = explain(error)
            say(f"{name}: {sentence}", err=True)
            raise typer.Exit(code) from error

    # Typer reads both; `wraps` copied those of the function.
    signature = inspect.signature(function, eval_str=True)
    debug = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Debug)
    command.__signature__ = signature.replace(parameters=[*signature.parameters.values(), debug])  # type: ignore[attr-defined]  # what inspect.signature reads
    command.__annotations__ = function.__annotations__ | {"debug": _Debug}
    return command
