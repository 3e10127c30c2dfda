"""What `init_db --check` tries as services do: sign in with both logins, begin transactions, work on the storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import URL, Connection, text

from src.config import Settings
from src.database.connection.actor_tokens import Actor, SigningKey
from src.database.connection.addresses import key_path, login_urls, pool_options
from src.database.connection.engine import make_engine, serve_sessions
from src.database.connection.key_file import KeyFile
from src.errors import LoginRefused, SchemaMismatch, SpeechError, UnsafeConnection
from src.storage import open_backend

Report = Callable[[str], None]


def check_storage(settings: Settings, report: Report) -> list[str]:
    """Do in the storage of the settings what work does, with temporary objects; return why that is not possible.

    `report` receives the notes of the probe: what the storage does not support, and what that costs.
    """
    if settings.audio_storage_type == "local" and not settings.audio_storage_root.is_dir():
        # The probe would create it.
        return [f"the folder of the recordings, {settings.audio_storage_root}, is missing"]
    try:
        capabilities = open_backend(settings.audio_storage_type, **settings.storage_options()).probe()
    except SpeechError as error:
        return [f"the storage: {error}"]
    for note in capabilities.notes:
        report(f"storage: {note}")
    return []


def check_sign_in(connection: Connection, settings: Settings, *, sound: bool) -> Iterator[str]:
    """Sign in as the logins that serve sessions and begin a transaction as a user; yield why that is not possible.

    `connection` is the owner's. Without a key file nothing is tried. `sound` is whether nothing else was found: only
    then the users are read, and the inspection of new connections would not repeat what the comparison has found.
    Nothing is changed: the transactions are rolled back.
    """
    keys = KeyFile.load(key_path(settings))
    if keys is None:
        return
    urls = login_urls(settings, keys, connection.engine.url)
    members, administrators = _actors(connection) if sound else (None, None)
    for url, actor in ((urls.members, members), (urls.administrators, administrators)):
        if url is None:
            continue
        try:
            problem = _begin(url, keys.signing_key, settings, Actor(actor, reason="init_db --check"))
        except (UnsafeConnection, SchemaMismatch) as error:
            problem = str(error) if sound else None
        except LoginRefused as error:
            problem = _refusal(connection, settings, str(url.username), error)
        except SpeechError as error:
            problem = str(error)
        if problem is not None:
            yield f"the login {url.username} cannot serve sessions: {problem.rstrip('.')}"


def _begin(url: URL, key: SigningKey, settings: Settings, actor: Actor) -> str | None:
    options = replace(pool_options(settings), size=1, max_overflow=0)
    engine = make_engine(url, options)
    serve_sessions(engine, key, options)
    try:
        with engine.execution_options(actor=actor).connect() as connection:
            connection.execute(text("SELECT 1"))  # begins the transaction, as a session does
            signed: Any = connection.info["actor_id"]
            connection.rollback()
    finally:
        engine.dispose()
    if actor.name is not None and signed is None:
        return f"a transaction of {actor.name} begins without an actor; copy the key file from where init_db was run"
    return None


def _refusal(connection: Connection, settings: Settings, login: str, error: LoginRefused) -> str | None:
    """The reason why the server refuses the login; None for one that the comparison names."""
    role = connection.execute(
        text("SELECT rolcanlogin AND coalesce(rolvaliduntil > now(), true) FROM pg_roles WHERE rolname = :login"),
        {"login": login},
    ).scalar()
    if not role:  # missing, NOLOGIN, or expired
        return None
    if "wrong password" not in str(error):
        return str(error)
    return (
        f"its password is not the one of {key_path(settings)} or of POSTGRES_APP_PASSWORD and POSTGRES_ADMIN_PASSWORD."
        " Run init_db, which sets that password again, or init_db --reset-login, which sets a new one: then copy the"
        " key file to every machine and restart the services"
    )


def _actors(connection: Connection) -> tuple[str | None, str | None]:
    """The names of an active user and of an active administrator; None where there is none."""
    rows = connection.execute(
        text(
            "SELECT public.role_permits(role_id, '*', '*'), min(username) FROM public.users WHERE is_active GROUP BY 1"
        )
    )
    names = {bool(administers): name for administers, name in rows}
    return names.get(False), names.get(True)
