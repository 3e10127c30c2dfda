"""From settings to URLs and logins: of the owner of the database and of the logins that serve sessions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import URL

from src.config import Settings, load_settings
from src.database.connection.actor_tokens import SigningKey
from src.database.connection.engine import PoolOptions, normalise_url
from src.database.connection.key_file import KeyFile
from src.database.embedded import EmbeddedServer, default_folder
from src.errors import ConfigurationError, DatabaseMissing

EMBEDDED_FOLDER = Path("storage/postgres")
KEY_FOLDER = Path("storage/keys")

_servers: dict[Path, EmbeddedServer] = {}


def owner_url(settings: Settings | None = None, *, create: bool = True) -> URL:
    """Return the URL of the owner of the database; start the embedded server when the settings name no server.

    Without `settings` they are read from the environment and `.env`. `create` creates the embedded server and its
    database when they do not exist; otherwise DatabaseMissing is raised.
    """
    settings = settings or load_settings()
    if settings.database_url is None and settings.postgres_host is None:
        if not create and not (embedded_folder(settings) / "data").exists():
            raise DatabaseMissing("The embedded database does not exist. Run: python -m src.database.scripts.init_db")
        server = embedded_server(settings)
        if create:
            server.ensure_database(settings.postgres_db)
        return server.url(settings.postgres_db)
    if settings.database_url is not None:
        url = normalise_url(settings.database_url.get_secret_value())
        if not url.database:
            raise ConfigurationError(
                "DATABASE_URL names no database; its form is postgresql://user:password@host:5432/name."
            )
    elif not settings.postgres_user:
        raise ConfigurationError("POSTGRES_HOST is set but POSTGRES_USER is not; set it to the owner of the database.")
    else:
        url = URL.create(
            "postgresql+psycopg2",
            settings.postgres_user,
            settings.postgres_password.get_secret_value() if settings.postgres_password else None,
            settings.postgres_host,
            settings.postgres_port,
            settings.postgres_db,
        )
    # In the URL, so that it applies to every connection, including those of the owner.
    return url.update_query_dict({"sslmode": settings.postgres_sslmode}) if settings.postgres_sslmode else url


def embedded_folder(settings: Settings) -> Path:
    return (settings.embedded_postgres_dir or default_folder(EMBEDDED_FOLDER.resolve())).resolve()


def embedded_server(settings: Settings) -> EmbeddedServer:
    """Return the running embedded server, one object per folder and process; it stops with the last process."""
    folder = embedded_folder(settings)
    if folder not in _servers:
        server = EmbeddedServer(folder)
        server.start()
        _servers[folder] = server
    return _servers[folder]


def pool_options(settings: Settings) -> PoolOptions:
    """Return the pool options of these settings."""
    return PoolOptions(
        size=settings.postgres_pool_size,
        max_overflow=settings.postgres_max_overflow,
        timeout_seconds=settings.postgres_pool_timeout_seconds,
        recycle_seconds=settings.postgres_pool_recycle_seconds,
        connect_timeout_seconds=settings.postgres_connect_timeout_seconds,
        statement_timeout_seconds=settings.postgres_statement_timeout_seconds,
        idle_transaction_timeout_seconds=settings.postgres_idle_transaction_timeout_seconds,
        application_name=settings.postgres_application_name,
    )


def key_path(settings: Settings) -> Path:
    """Return the path of the key file: one file per server and database."""
    if settings.key_file is not None:
        return settings.key_file
    if settings.database_url is not None:
        url = normalise_url(settings.database_url.get_secret_value())
        stem = f"{url.host or url.query.get('host') or 'local'}_{url.port or 5432}_{url.database}"
    elif settings.postgres_host is None:
        stem = f"embedded_{settings.postgres_db}"
    else:
        stem = f"{settings.postgres_host}_{settings.postgres_port}_{settings.postgres_db}"
    return KEY_FOLDER / f"{re.sub(r'[^A-Za-z0-9_.-]', '-', stem).lstrip('.')}.json"


@dataclass(frozen=True)
class LoginNames:
    """The names of the logins for sessions of members and of administrators."""

    members: str
    administrators: str


@dataclass(frozen=True)
class LoginUrls:
    """The URLs of the logins for sessions; None when this program has no login for administrators."""

    members: URL
    administrators: URL | None


def login_names(settings: Settings, database: str | None) -> LoginNames:
    """Return the names of the logins: one pair per database, since logins are shared by the server."""

    def default(ending: str) -> str:
        # PostgreSQL silently truncates names to 63 bytes.
        name = (database or settings.postgres_db).encode("utf-8")
        return name[: 63 - len(ending)].decode("utf-8", errors="ignore") + ending

    return LoginNames(settings.postgres_app_user or default("_app"), settings.postgres_admin_user or default("_admin"))


def serving_logins(settings: Settings | None = None) -> tuple[Settings, LoginUrls, SigningKey]:
    """Return the settings, the URLs that serve sessions and the key that signs actors.

    Raises ConfigurationError without a key file.
    """
    settings = settings or load_settings()
    path = key_path(settings)
    keys = KeyFile.load(path)
    if keys is None:
        raise ConfigurationError(
            f"The key file {path} does not exist. Run: python -m src.database.scripts.init_db"
            " (or copy the file from the machine where init_db was run, or set KEY_FILE)."
        )
    return settings, login_urls(settings, keys, owner_url(settings)), keys.signing_key


def login_urls(settings: Settings, keys: KeyFile, owner: URL) -> LoginUrls:
    """Return the URLs that serve sessions of the database that `owner` names; settings precede the key file."""

    def serving(login: str, configured: SecretStr | None, stored: str) -> URL:
        password = configured.get_secret_value() if configured else stored or None
        return owner.set(username=login, password=password)

    administrator = settings.postgres_admin_user or keys.admin_login
    return LoginUrls(
        serving(settings.postgres_app_user or keys.login, settings.postgres_app_password, keys.password),
        serving(administrator, settings.postgres_admin_password, keys.admin_password) if administrator else None,
    )
