"""From settings to URLs and logins: of the owner of the database and of the logins that serve sessions."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import URL

from src.config import Settings, load_settings
from src.database.connection.actor_tokens import SigningKey
from src.database.connection.engine import PoolOptions, normalise_url
from src.database.connection.key_file import KeyFile
from src.database.connection.libpq_environment import require_plain
from src.database.embedded import EmbeddedServer, default_folder
from src.errors import ConfigurationError, DatabaseMissing

EMBEDDED_FOLDER = Path("storage/postgres")
KEY_FOLDER = Path("storage/keys")
_INIT_DB = "python -m src.database.scripts.init_db"

# As the URLs of the embedded server are: with all parts.
_COMPLETE = URL.create("postgresql", "owner", host="socket", port=5432, database="any")

_servers: dict[Path, EmbeddedServer] = {}


def owner_url(settings: Settings | None = None, *, create: bool = True) -> URL:
    """Return the URL of the owner of the database; start the embedded server when the settings name no server.

    Without `settings` they are read from the environment and `.env`. `create` creates the embedded server and its
    database when they do not exist; otherwise DatabaseMissing is raised.
    """
    settings = settings or load_settings()
    if settings.has_server:
        return server_url(settings)
    folder = embedded_folder(settings)
    require_plain(_COMPLETE, os.environ)
    if not create and not (folder / "data").exists():
        raise DatabaseMissing(
            f"The embedded database does not exist in {folder} ({settings.where_from}). {settings.where_to_run}."
            f" For a new database: {_INIT_DB}"
        )
    server = embedded_server(settings)
    if create:
        server.ensure_database(settings.postgres_db)
    return server.url(settings.postgres_db)


def server_url(settings: Settings) -> URL:
    """Return the URL of the owner on the server of these settings.

    Parts that DATABASE_URL leaves out are taken from POSTGRES_*. Raises ConfigurationError when both have a part and
    differ, or when a part is missing.
    """
    password = settings.postgres_password.get_secret_value() if settings.postgres_password else None
    if settings.database_url is None:
        if not settings.postgres_user:
            raise ConfigurationError(
                f"POSTGRES_HOST is set ({settings.place('postgres_host')}) but POSTGRES_USER is not; set it to the"
                " owner of the database."
            )
        url = URL.create(
            "postgresql+psycopg2",
            settings.postgres_user,
            password,
            settings.postgres_host,
            settings.postgres_port,
            settings.postgres_db,
        )
    else:
        try:
            url = normalise_url(settings.database_url.get_secret_value())
        except ConfigurationError as error:
            raise ConfigurationError(f"{error} ({settings.place('database_url')})") from None
        url = _completed(url, settings, password)
    # In the URL, so that it applies to every connection, including those of the owner.
    return url.update_query_dict({"sslmode": settings.postgres_sslmode}) if settings.postgres_sslmode else url


def _completed(url: URL, settings: Settings, password: str | None) -> URL:
    """Return the URL with the parts that only POSTGRES_* have."""
    given = settings.model_fields_set
    host, port = url.query.get("host"), url.query.get("port")
    parts: dict[str, tuple[str | int | None, str | int | None]] = {
        "host": (url.host or (host if isinstance(host, str) else None), settings.postgres_host),
        "port": (
            url.port or (int(port) if isinstance(port, str) and port.isdigit() else None),
            settings.postgres_port if "postgres_port" in given else None,
        ),
        "username": (url.username, settings.postgres_user),
        "password": (url.password, password),
        "database": (url.database or None, settings.postgres_db if "postgres_db" in given else None),
    }
    contradicting = [_NAMES[part] for part, (ours, other) in parts.items() if ours and other and ours != other]
    sslmode = url.query.get("sslmode")
    if settings.postgres_sslmode and sslmode and sslmode != settings.postgres_sslmode:
        contradicting.append("POSTGRES_SSLMODE")
    if contradicting:
        raise ConfigurationError(
            f"{' and '.join(contradicting)} and DATABASE_URL contradict each other"
            f" ({settings.place('database_url', *contradicting)})."
            " Remove one of them."
        )
    url = url.set(**{part: other for part, (ours, other) in parts.items() if not ours and other})  # type: ignore[arg-type] # the keys name parts of a URL
    if not url.database:
        raise ConfigurationError(
            f"DATABASE_URL ({settings.place('database_url')}) names no database; its form is"
            " postgresql://user:password@host:5432/name."
        )
    return url


_NAMES = {
    "host": "POSTGRES_HOST",
    "port": "POSTGRES_PORT",
    "username": "POSTGRES_USER",
    "password": "POSTGRES_PASSWORD",
    "database": "POSTGRES_DB",
}


def describe(settings: Settings) -> str:
    """Return in one line which database and which storage these settings name, without passwords.

    Raises ConfigurationError for settings that contradict each other. Nothing is started or created.
    """
    if settings.has_server:
        url = server_url(settings)
        require_plain(url, os.environ)
        host = url.host or url.query.get("host") or f"service {url.query.get('service', 'of the local socket')}"
        database = f"{url.database} on {host}, port {url.port or url.query.get('port', 5432)}, as {url.username}"
    else:
        require_plain(_COMPLETE, os.environ)
        database = f"{settings.postgres_db} on the embedded server in {embedded_folder(settings)}"
    if settings.audio_storage_type == "s3":
        endpoint = settings.s3_endpoint_url
        at = f" at {re.sub(r'//[^/@]*@', '//', endpoint)}" if endpoint else ""
        storage = f"s3://{settings.s3_bucket or '(no S3_BUCKET)'}/{settings.s3_prefix}{at}"
    else:
        storage = str(settings.audio_storage_root)
    return f"database {database}; recordings in {storage}; {settings.where_from}"


def embedded_folder(settings: Settings) -> Path:
    """Return the folder of the embedded server."""
    project = settings.folder / EMBEDDED_FOLDER
    return (settings.embedded_postgres_dir or default_folder(project.resolve())).resolve()


def embedded_server(settings: Settings) -> EmbeddedServer:
    """Return the running embedded server, one object per folder and process; it stops with the last process."""
    folder = embedded_folder(settings)
    if folder not in _servers:
        server = EmbeddedServer(folder, locale=settings.embedded_postgres_locale)
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
        url = server_url(settings)
        stem = f"{url.host or url.query.get('host') or 'local'}_{url.port or 5432}_{url.database}"
    elif settings.postgres_host is None:
        stem = f"embedded_{settings.postgres_db}"
    else:
        stem = f"{settings.postgres_host}_{settings.postgres_port}_{settings.postgres_db}"
    return settings.folder / KEY_FOLDER / f"{re.sub(r'[^A-Za-z0-9_.-]', '-', stem).lstrip('.')}.json"


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
            f"The key file {path} does not exist ({settings.where_from}). {settings.where_to_run}. Where init_db has"
            f" not been run for this database: {_INIT_DB} (or copy the file from the machine where it was run, or set"
            " KEY_FILE)."
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
