"""The settings: read once, immutable.

The environment takes precedence over `.env`, which is looked for as `src.dot_env.find` says. Every variable is
described in `.env.example` and in the table of the documentation; a test keeps the three equal.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from src import dot_env, setting_names
from src.errors import ConfigurationError

# PostgreSQL stores a timeout as a 32-bit number of milliseconds: at most 24 days.
Seconds = Annotated[float, Field(gt=0, le=2_000_000, allow_inf_nan=False)]


# Without a host these have no meaning, so they were meant for a server that is not named.
SERVER_SETTINGS = (
    "postgres_port",
    "postgres_user",
    "postgres_password",
    "postgres_sslmode",
    "postgres_app_user",
    "postgres_app_password",
    "postgres_admin_user",
    "postgres_admin_password",
    "postgres_login_passwords",
)
_BUCKET_SETTINGS = ("s3_prefix", "s3_region", "s3_endpoint_url", "s3_server_side_encryption", "s3_kms_key_id")
_PATHS = ("key_file", "seal_key_file", "seal_heads_file", "embedded_postgres_dir", "audio_storage_root")
# In place of the path of a file: look for it.
_SEARCH = Path("/dev/null/.env")


@dataclass(frozen=True)
class Read:
    """The `.env` that was read: its path, and the lines of the settings in it; `blank` are those without a value."""

    path: Path | None
    lines: Mapping[str, int]
    blank: tuple[str, ...]

    def place(self, *names: str) -> str:
        """Return where these settings have their values: the environment precedes the file."""
        in_environment = {name.upper() for name, value in os.environ.items() if value}
        wanted = [name.upper() for name in names]
        lines = sorted({self.lines[name] for name in wanted if name in self.lines and name not in in_environment})
        places = []
        if lines:
            places.append(f"{self.path}, line{'s' if len(lines) > 1 else ''} {' and '.join(map(str, lines))}")
        if any(name in in_environment for name in wanted):
            places.append("the environment")
        return " and ".join(places) or "the program"


class Settings(BaseSettings):
    """The settings, typed. Secrets are `SecretStr`: no repr, log or error shows them.

    Relative paths, the defaults too, start at the folder of `.env`; without one at the current folder.
    """

    model_config = SettingsConfigDict(
        env_file=_SEARCH,
        # NAME= in a partly filled file means: not set.
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    postgres_host: str | None = Field(None, description="Host of the database server; default: the embedded server")
    postgres_port: int = Field(5432, ge=1, le=65535, description="Port of the server")
    postgres_db: str = Field("speech_to_info", min_length=1, max_length=63, description="Name of the database")
    postgres_user: str | None = Field(None, description="Owner of the database: migrations and maintenance only")
    postgres_password: SecretStr | None = Field(None, description="Password of the owner")
    postgres_sslmode: str | None = Field(None, description="libpq's sslmode: require, verify-full, …")
    database_url: SecretStr | None = Field(
        None, description="Instead of POSTGRES_*: postgresql://owner:password@host:5432/name"
    )
    postgres_app_user: str | None = Field(
        None, max_length=63, description="Login that serves sessions; default: the database's name followed by _app"
    )
    postgres_app_password: SecretStr | None = Field(
        None, description="Password of this login; default: a random one in the key file"
    )
    postgres_admin_user: str | None = Field(
        None, max_length=63, description="Login for sessions of administrators; default: the name followed by _admin"
    )
    postgres_admin_password: SecretStr | None = Field(
        None, description="Password of this login; default: a random one in the key file"
    )
    postgres_login_passwords: bool = Field(
        True, description="false: both logins use a certificate or peer authentication and get no password"
    )
    key_file: Path | None = Field(
        None, description="Signing key and login (mode 0600); default: storage/keys/HOST_PORT_NAME.json"
    )
    seal_key_file: Path | None = Field(
        None,
        description="Ed25519 key that signs seals of the log (mode 0600); default: next to the key file, .seal.pem",
    )
    seal_heads_file: Path | None = Field(
        None, description="File to which heads of seals are appended; default: next to the key file, .heads.jsonl"
    )
    postgres_required_extensions: str = Field("", description="Extensions that init_db requires, separated by commas")
    embedded_postgres_dir: Path | None = Field(
        None, description="Folder of the embedded server; default: storage/postgres (as root: /var/lib)"
    )
    embedded_postgres_locale: str | None = Field(
        None, description="Locale of a new embedded server: de_DE.UTF-8, or de-DE with ICU; default: Unicode's order"
    )
    audio_storage_root: Path = Field(Path("storage/audio"), description="Folder of recordings")
    audio_storage_type: Literal["local", "s3"] = Field("local", description="Storage of new recordings: local or s3")
    audio_storage_modules: str = Field(
        "", description="Python modules that call register_backend, separated by commas; commands import them"
    )
    s3_bucket: str | None = Field(None, description="Bucket of recordings")
    s3_prefix: str = Field("", description="Prefix of the names of all objects in the bucket")
    s3_region: str | None = Field(None, description="Region of the bucket; default: boto3's own search")
    s3_endpoint_url: str | None = Field(None, description="URL of an S3-compatible server; default: Amazon's")
    s3_server_side_encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(
        None, description="AES256, aws:kms or aws:kms:dsse; default: the setting of the bucket"
    )
    s3_kms_key_id: str | None = Field(None, description="Key for aws:kms; default: that of the bucket's account")
    aws_access_key_id: str | None = Field(None, description="Access key of S3; default: boto3's own search")
    aws_secret_access_key: SecretStr | None = Field(None, description="Secret access key of S3")
    aws_session_token: SecretStr | None = Field(None, description="Session token of temporary S3 credentials")
    postgres_pool_size: int = Field(5, ge=1, le=1000, description="Connections that a process keeps open")
    postgres_max_overflow: int = Field(2, ge=0, le=1000, description="Additional connections under load")
    postgres_pool_timeout_seconds: Seconds = Field(10, description="Longest wait for a connection of the pool")
    postgres_pool_recycle_seconds: int = Field(1800, ge=1, description="Age at which a connection is replaced")
    postgres_connect_timeout_seconds: int = Field(5, ge=1, description="Longest wait for the server to answer")
    postgres_statement_timeout_seconds: Seconds = Field(60, description="Longest statement of a session")
    postgres_idle_transaction_timeout_seconds: Seconds = Field(300, description="Longest pause inside a transaction")
    postgres_application_name: str = Field(
        "speech-to-information", max_length=63, description="Name of the connections in pg_stat_activity"
    )
    bcrypt_cost: int = Field(12, ge=10, le=14, description="Work factor of password hashes")
    password_min_length: int = Field(12, ge=8, le=64, description="Fewest characters of a new password")
    probe_timeout_seconds: Seconds = Field(300, description="Longest time to decode a recording at ingest")
    admin_password: SecretStr | None = Field(None, description="Password for init_db --admin; default: a prompt")

    _env_file_found: Path | None = PrivateAttr(None)
    _folder: Path = PrivateAttr()
    _read: Read = PrivateAttr()

    @property
    def env_file(self) -> Path | None:
        """The `.env` that was read, if any."""
        return self._env_file_found

    @property
    def folder(self) -> Path:
        """The folder at which relative paths start."""
        return self._folder

    @property
    def has_server(self) -> bool:
        """Whether these settings name a server; otherwise the embedded one is used."""
        return self.postgres_host is not None or self.database_url is not None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        unknown_fields = sorted(set(getattr(init_settings, "init_kwargs", ())) - set(cls.model_fields))
        if unknown_fields:
            raise ConfigurationError(f"Settings has no field {', '.join(unknown_fields)}; correct the name.")
        named = getattr(dotenv_settings, "env_file", None)
        path = dot_env.find(os.environ) if named == _SEARCH else None if named is None else Path(named).absolute()
        names = {name.upper() for name in cls.model_fields}
        entries = {} if path is None else dot_env.read(path, names)
        unknown = setting_names.unknown_in_file(entries, names)
        if unknown:
            raise ConfigurationError(
                setting_names.sentence(unknown, {name: f"{path}, line {entries[name].line}" for name in unknown})
            )
        # An empty value means: not set.
        values = {name.lower(): entry.value for name, entry in entries.items() if entry.value and name in names}
        lines = {name: entry.line for name, entry in entries.items() if entry.value or name not in names}
        blank = tuple(name for name in entries if name not in lines)
        source = InitSettingsSource(settings_cls, init_kwargs={**values, "_read": Read(path, lines, blank)})
        return init_settings, env_settings, source

    @model_validator(mode="wrap")
    @classmethod
    def _complete(cls, given: dict[str, Any], handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Make paths absolute, and reject settings that would be ignored."""
        read = given.pop("_read", Read(None, {}, ()))
        path = read.path
        if str(given.get("postgres_port", "")).startswith("tcp://"):
            del given["postgres_port"]  # set by Kubernetes for a service with the name postgres
        for name, value in given.items():
            if isinstance(value, str) and value != value.strip() and not _is_secret(cls, name):
                raise ConfigurationError(
                    f"{name.upper()}: the value begins or ends with a blank ({read.place(name)}); remove it."
                )
        folder = Path.cwd() if path is None else path.parent
        given.setdefault("audio_storage_root", cls.model_fields["audio_storage_root"].default)
        for name in _PATHS:
            value = given.get(name)
            if value is None:
                continue
            if str(value).startswith("~") or "$" in str(value):
                raise ConfigurationError(
                    f"{name.upper()}: ~ and $ are not replaced ({read.place(name)}); write the whole path."
                )
            given[name] = folder / value
        try:
            settings = handler(given)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg'].lower()} ({read.place(*map(str, e['loc'][:1]))})"
                for e in error.errors()
            )
            raise ConfigurationError(f"{wrong}. Correct it there.") from None
        return settings._completed(read, folder, given)  # noqa: SLF001 - a method of this class, called on its instance

    def _completed(self, read: Read, folder: Path, given: dict[str, Any]) -> Self:
        self._env_file_found, self._folder, self._read = read.path, folder, read
        self._require_sense(given, {*read.lines, *read.blank})
        return self

    def place(self, *names: str) -> str:
        """Return where these settings have their values, for messages: the file with the lines, and the environment."""
        return self._read.place(*names)

    def _require_sense(self, given: dict[str, Any], in_file: set[str]) -> None:
        names = {name.upper() for name in type(self).model_fields}
        unknown = setting_names.unknown_in_environment(
            os.environ, names, [name.upper() for name in given], serverless=not self.has_server
        )
        if unknown:
            raise ConfigurationError(setting_names.sentence(unknown, dict.fromkeys(unknown, "in the environment")))
        spelled: dict[str, str] = {}
        for name in os.environ:
            other = spelled.setdefault(name.upper(), name)
            if name.upper() in names and os.environ[other] != os.environ[name]:
                raise ConfigurationError(f"{other} and {name} in the environment have different values; unset one.")
        if self.s3_bucket is None:
            orphans = [name.upper() for name in _BUCKET_SETTINGS if given.get(name)]
            if orphans:
                raise ConfigurationError(
                    f"{', '.join(orphans)}: set, but S3_BUCKET is not ({self.place(*orphans)}). Set it or remove the"
                    " others."
                )
        if self.has_server:
            return
        orphans = [name.upper() for name in SERVER_SETTINGS if given.get(name) is not None]
        written = {*in_file, *(name.upper() for name in os.environ)}
        empty = [name for name in ("POSTGRES_HOST", "DATABASE_URL") if name in written]
        if empty and given.get("postgres_db") is not None:
            orphans.append("POSTGRES_DB")
        if orphans:
            missing = f"{' and '.join(empty)} is empty" if empty else "POSTGRES_HOST is not"
            raise ConfigurationError(
                f"{', '.join(orphans)}: set, but {missing} ({self.place(*orphans)})."
                " Set POSTGRES_HOST or DATABASE_URL, or remove the others for the embedded server."
            )

    @property
    def where_from(self) -> str:
        """Where the settings were read, for messages."""
        if self._env_file_found is None:
            return f"no .env in {self._folder}, only the environment"
        return f"read from {self._env_file_found} and the environment"

    @property
    def where_to_run(self) -> str:
        """What to do when the settings lead to nothing, for messages: a command may run in another folder."""
        if self._env_file_found is None:
            return (
                f"No .env was read, in {self._folder} or in its project: run this in the folder of your project, or"
                " name its file with SPEECH_ENV_FILE"
            )
        return f"The settings are those of {self._env_file_found}: if another project is meant, run this in its folder"

    def storage_options(self) -> dict[str, Any]:
        """Return the options of `open_backend(audio_storage_type, …)`. Raises ConfigurationError without a bucket."""
        return self.s3_options() if self.audio_storage_type == "s3" else {"root": self.audio_storage_root}

    def s3_options(self) -> dict[str, Any]:
        """Return the options of `open_backend("s3", …)`. Raises ConfigurationError without S3_BUCKET."""
        if self.s3_bucket is None:
            raise ConfigurationError("S3_BUCKET is not set; S3 storage needs it, in .env or the environment.")
        return {
            "bucket": self.s3_bucket,
            "prefix": self.s3_prefix,
            "endpoint_url": self.s3_endpoint_url,
            "region": self.s3_region,
            **self.s3_credentials(),
        }

    def s3_credentials(self) -> dict[str, Any]:
        """Return the options of `open_backend("s3", …)` that do not say where the bucket is."""
        return {
            "access_key_id": self.aws_access_key_id,
            "secret_access_key": self.aws_secret_access_key,
            "session_token": self.aws_session_token,
            "server_side_encryption": self.s3_server_side_encryption,
            "kms_key_id": self.s3_kms_key_id,
        }


def _is_secret(settings: type[Settings], name: str) -> bool:
    return name in settings.model_fields and "SecretStr" in str(settings.model_fields[name].annotation)


def load_settings() -> Settings:
    """Read the settings. Raises ConfigurationError, which names each wrong variable and its place, never its value."""
    return Settings()
