"""Make a database ready: migrations, seeds, the serving login, the signing key. Safe to run any number of times."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Annotated

import typer
from sqlalchemy import Connection, Engine, func, select, text

from src.config import Settings, load_settings
from src.database.connection.addresses import app_login, key_path, owner_url
from src.database.connection.key_file import KeyFile
from src.database.models import User, UserRole
from src.database.provisioning import seeding
from src.database.provisioning.apply import applied_by_newer, apply, require_served
from src.database.provisioning.databases import create_database
from src.database.provisioning.differences import Difference
from src.database.provisioning.extensions import create_extensions, create_name_indexes
from src.database.provisioning.logins import provide_login, rotate_key
from src.database.provisioning.migrate import migration_lock, upgrade
from src.database.provisioning.readiness import check as check_readiness
from src.database.scripts.command import Debug, owner_engine, run, storage_of
from src.errors import ConfigurationError, InvalidInput
from src.services.passwords import hash_password
from src.storage import open_backend

# Long enough for services to be restarted one after the other, in working hours.
KEY_GRACE = timedelta(days=1)


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
    debug: Debug = False,  # noqa: ARG001 - read by the runner
) -> None:  # fmt: skip
    """Make the database of the settings ready to serve sessions, or check that it is."""
    settings = load_settings()
    if check:
        _check(settings)
        return
    # Refused before anything is changed: a database without a place for its recordings serves nobody.
    storage_of(settings).probe()
    # Asked for, and hashed, before anything is changed, too: a refusal must not leave half a set-up behind.
    hashed = None if admin is None else hash_password(_admin_password(settings, admin), cost=settings.bcrypt_cost)
    url = owner_url(settings)
    if create_database(url):
        typer.echo(f"database {url.database}: created")
    with owner_engine(settings, "init_db") as engine:
        newer = _newer(engine)
        if newer is None:
            upgrade(url)
            _initialise(engine, settings, force=force)
        else:
            typer.echo(newer)
        keys = _provide_login(engine, settings, reset_login=reset_login, rotate=rotate)
        if admin is not None and hashed is not None:
            _create_administrator(engine, admin, hashed)
        if newer is None:
            _require_readiness(engine, settings, keys)


def _newer(engine: Engine) -> str | None:
    """Return a sentence when newer code made this database and admits code as old as this: it is left as it is."""
    with engine.connect() as connection:
        newer = applied_by_newer(connection)
        if newer is not None:
            require_served(connection)
    return newer


def _initialise(engine: Engine, settings: Settings, *, force: bool) -> None:
    with engine.begin() as connection:
        seeding.hold_lock(connection)
        present = create_extensions(connection, settings.postgres_required_extensions)
        create_name_indexes(connection)
        months = connection.scalar(text("SELECT public.ensure_activity_partitions(3)"))
        report = seeding.apply_seeds(connection, force=force)
    for sown in report:
        typer.echo(str(sown))
    typer.echo(f"activity_logs: {months} monthly partitions made")
    absent = [name for name, there in present.items() if not there]
    if absent:
        typer.echo(f"extensions not available here, done without: {', '.join(absent)}")


def _provide_login(engine: Engine, settings: Settings, *, reset_login: bool, rotate: bool) -> KeyFile:
    path = key_path(settings)
    configured = settings.postgres_app_password.get_secret_value() if settings.postgres_app_password else None
    with engine.begin() as connection:
        seeding.hold_lock(connection)
        keys = provide_login(
            connection,
            path,
            login=app_login(settings, connection.engine.url.database),
            password=configured,
            reset=reset_login,
        )
    typer.echo(f"login {keys.login}: ready; its password and the signing key are in {path}")
    typer.echo(f"recordings: kept in {settings.audio_storage_root.resolve()}")
    if rotate:
        keys = rotate_key(engine, path, keys, grace=KEY_GRACE)
        made = f"signing key {keys.signing_key.id}: made"
        typer.echo(f"{made}; copy {path} to every machine within a day, then restart its services")
    return keys


def _require_readiness(engine: Engine, settings: Settings, keys: KeyFile) -> None:
    """End with 1 when something is left that this program may not mend; name what belongs to somebody else."""
    # Under the lock: newer code may be migrating by now, and then `apply` does nothing.
    with migration_lock(engine):
        apply(engine, keys.login)
    with engine.connect() as connection:
        left = check_readiness(
            connection, login=keys.login, keys=keys, extensions=settings.postgres_required_extensions
        )
    for difference in left:
        typer.echo(str(difference), err=True)
    if not all(difference.foreign for difference in left):
        sys.exit(1)


def _check(settings: Settings) -> None:
    found: list[str] = []
    root = settings.audio_storage_root
    if root.is_dir():
        open_backend("local", root=root).probe()
    else:
        found.append(f"the folder of the recordings, {root}, is missing")
    with owner_engine(settings, "init_db") as engine, engine.connect() as connection:
        require_served(connection)
        newer = applied_by_newer(connection)
        if newer is not None:
            found.append(f"{newer}; check with the newer version")
        else:
            found += map(str, _differences(connection, settings))
    for sentence in found:
        typer.echo(sentence)
    if found:
        sys.exit(1)
    typer.echo("everything is in place")


def _differences(connection: Connection, settings: Settings) -> list[Difference | str]:
    keys = KeyFile.load(key_path(settings))
    missing: list[Difference | str] = [] if keys else [f"the key file {key_path(settings)} is missing"]
    login = keys.login if keys else app_login(settings, connection.engine.url.database)
    return missing + check_readiness(
        connection, login=login, keys=keys, extensions=settings.postgres_required_extensions
    )


def _admin_password(settings: Settings, name: str) -> str:
    if not 1 <= len(name) <= 64 or name != name.strip() or "|" in name or not name.isprintable():
        raise InvalidInput("The administrator's name must be 1 to 64 printable characters without '|' or outer spaces.")
    if settings.admin_password is not None:
        return settings.admin_password.get_secret_value()
    if not sys.stdin.isatty():
        raise ConfigurationError("There is nobody to ask for the administrator's password; set ADMIN_PASSWORD.")
    typed: str = typer.prompt("Password of the administrator", hide_input=True, confirmation_prompt=True)
    return typed


def _create_administrator(engine: Engine, name: str, password_hash: str) -> None:
    with engine.begin() as connection:
        seeding.hold_lock(connection)
        role = select(UserRole.id).where(UserRole.code == "admin").scalar_subquery()
        made = connection.scalar(
            text(
                "INSERT INTO public.users (username, password_hash, role_id) SELECT :name, :hash,"
                " (SELECT id FROM public.user_roles WHERE code = 'admin') ON CONFLICT (lower(username)) DO NOTHING"
                " RETURNING id"
            ),
            {"name": name, "hash": password_hash},
        )
        is_admin = connection.scalar(select(User.role_id == role).where(func.lower(User.username) == name.lower()))
    if made:
        typer.echo(f"administrator {name}: created")
    elif is_admin:
        typer.echo(f"administrator {name}: is there already, left alone")
    else:
        raise InvalidInput(f"A user named {name} exists and is no administrator; choose another name.")


if __name__ == "__main__":
    run(init_db, "init_db")
