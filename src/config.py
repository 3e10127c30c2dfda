"""The settings: read once, immutable.

The environment takes precedence over `.env` in the current folder. Every variable is described in `.env.example` and
in the README's table; a test keeps the three equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from src.errors import ConfigurationError

# PostgreSQL stores a timeout as a 32-bit number of milliseconds: at most 24 days.
Seconds = Annotated[float, Field(gt=0, le=2_000_000, allow_inf_nan=False)]


class Settings(BaseSettings):
    """The settings, typed. Secrets are `SecretStr`: no repr, log or error shows them."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
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
    probe_timeout_seconds: Seconds = Field(300, description="Longest time to decode a recording at ingest")
    admin_password: SecretStr | None = Field(None, description="Password for init_db --admin; default: a prompt")

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


def load_settings() -> Settings:
    """Read the settings. Raises ConfigurationError, which names each wrong variable and never its value."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg'].lower()}" for e in error.errors())
        raise ConfigurationError(f"{wrong}. Correct it in .env or the environment.") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError("The file .env is not UTF-8 text; save it as UTF-8.") from error
    except OSError as error:
        raise ConfigurationError(
            f"The file .env cannot be read ({error.strerror}); make it readable for this user."
        ) from error
