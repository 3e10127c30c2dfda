"""Make a database ready: migrations, seeds, the serving login, the signing key. Safe to run any number of times."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import Annotated

import typer

from src.config import Settings, load_settings
from src.database.connection.addresses import owner_url
from src.database.provisioning import apply
from src.database.provisioning.databases import create_database
from src.database.scripts.command import OneLine, announce, owner_engine, run, storage_of
from src.errors import ConfigurationError, InvalidInput
from src.maintenance import initialisation
from src.maintenance.administration import sql_for_administrator
from src.maintenance.terminal import say
from src.services.passwords import hash_password, require_acceptable


def init_db(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when something is missing or unprotected.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite seeds that an operator changed.")] = False,
    admin: Annotated[
        str | None,
        typer.Option("--admin", metavar="NAME", help="Create the first administrator; the password is asked for, or"
                     " taken from ADMIN_PASSWORD."),
    ] = None,
    reset_login: Annotated[
        bool, typer.Option("--reset-login", help="Give the login that serves sessions a new password.")
    ] = False,
    rotate: Annotated[
        bool, typer.Option("--rotate-key", help="Sign actors with a new key; the old one stays valid for a day.")
    ] = False,
    admin_sql: Annotated[
        bool,
        typer.Option("--admin-sql", help="Only print the SQL that the administrator of the server runs once."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="List every repair, also when there are many.")] = False,
) -> None:  # fmt: skip
    """Make the database of the settings ready to serve sessions, or check that it is."""
    settings = load_settings()
    if admin_sql:
        # The script, and nothing else, on stdout: names in it are checked, so it contains no control characters.
        for line in sql_for_administrator(settings, partial(say, err=True), reset_login=reset_login).splitlines():
            say(line)
        return
    if check:
        _check(settings)
        return
    announce(settings, "init_db")
    if verbose:
        _list_repairs()
    # Both are refused before anything changes: a database without a storage, or half initialised, serves nobody.
    storage = storage_of(settings)
    if initialisation.require_own_place(settings, storage):
        for note in storage.probe().notes:
            say(f"storage: {note}")
    administrator = None if admin is None else _administrator(settings, admin)
    url = owner_url(settings)
    if create_database(url):
        say(f"database {url.database}: created")
    with owner_engine(settings, "init_db", announced=True) as engine:
        left = initialisation.initialise(
            engine,
            settings,
            say,
            storage=storage,
            force=force,
            administrator=administrator,
            reset_login=reset_login,
            rotate=rotate,
        )
    # Last, where it is seen: a copy of a database asks for a decision.
    for difference in sorted(left, key=initialisation.is_quarantine):
        say(difference, err=True)
    # What belongs to other owners is named and does not fail the run.
    if not all(difference.foreign for difference in left):
        raise typer.Exit(1)


def _list_repairs() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    repairs = logging.getLogger(apply.__name__)
    repairs.addHandler(handler)
    repairs.setLevel(logging.INFO)
    repairs.propagate = False


def _check(settings: Settings) -> None:
    with owner_engine(settings, "init_db") as engine:
        found = initialisation.check(engine, settings, say)
        notes = [] if found else initialisation.optional(engine)
    for note in notes:
        say(note, err=True)
    for sentence in found:
        say(sentence)
    if found:
        raise typer.Exit(1)
    say("the database is ready")


def _administrator(settings: Settings, name: str) -> initialisation.Administrator:
    if not 1 <= len(name) <= 64 or name != name.strip() or "|" in name or not name.isprintable():
        raise InvalidInput(
            "--admin: a name has 1 to 64 printable characters, without '|' and outer spaces.", field="admin"
        )
    if settings.admin_password is not None:
        password = settings.admin_password.get_secret_value()
    elif sys.stdin.isatty():
        password = typer.prompt("Password of the administrator", hide_input=True, confirmation_prompt=True)
    else:
        raise ConfigurationError("No terminal to ask for the administrator's password; set ADMIN_PASSWORD.")
    require_acceptable(password, least=settings.password_min_length, known=(name,))
    return initialisation.Administrator(name, hash_password(password, cost=settings.bcrypt_cost))


if __name__ == "__main__":
    run(init_db, "init_db")
