"""How the clients of boto3 behave: patience, attempts, checksums, addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from src.errors import ConfigurationError, PackageMissing

if TYPE_CHECKING:
    from pydantic import SecretStr

_CONNECT_SECONDS = 5
_SILENCE_SECONDS = 60  # without a byte from the server; a slow transfer may take as long as it likes
_ATTEMPTS = 5  # of one request: about 8 s of waiting on the average before a server that answers 500 is given up


def open_client(
    *,
    endpoint_url: str | None,
    region: str | None,
    access_key_id: str | None,
    secret_access_key: SecretStr | None,
    session_token: SecretStr | None,
) -> Any:
    """A low-level S3 client for this process and all its threads; asks no server yet.

    Without `access_key_id` boto3 looks where it always does: environment, profile, role of the machine.
    Raises ConfigurationError; PackageMissing without boto3.
    """
    try:
        from boto3.session import Session as Boto  # noqa: PLC0415 - slow, optional, and tries sockets
        from botocore.config import Config  # noqa: PLC0415 - the same
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - the same
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"boto3", "botocore"}:
            raise
        raise PackageMissing(
            "S3 storage needs the Python package boto3; install it with: pip install 'speech-to-information[s3]'."
        ) from error
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_SILENCE_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        signature_version="s3v4",
        # We send checksums of our own. The ones that boto3 adds since 1.36 by default broke many compatible servers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Few compatible servers have a host name for each bucket.
        s3={"addressing_style": "path" if endpoint_url else "auto"},
        tcp_keepalive=True,
    )
    try:
        # Not boto3.client: the session that all of the process would share is not safe to use from several threads.
        client = Boto().client(
            "s3",
            config=config,
            endpoint_url=endpoint_url,
            region_name=region or ("us-east-1" if endpoint_url else None),
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key.get_secret_value() if secret_access_key else None,
            aws_session_token=session_token.get_secret_value() if session_token else None,
        )
    except ValueError as error:
        raise ConfigurationError("S3_ENDPOINT_URL is no address of a server; write https://host:port.") from error
    except BotoCoreError as error:
        raise ConfigurationError(
            f"boto3 cannot begin ({type(error).__name__}); correct AWS_PROFILE or its files."
        ) from error
    _sign_checksums_only(client, Config(s3={"payload_signing_enabled": False}))
    return client


def _sign_checksums_only(client: Any, unsigned: Any) -> None:
    def sign(request: Any, **_: Any) -> None:
        # The header is signed and binds the body; to hash the body once more for the signature would prove no more.
        if "x-amz-checksum-sha256" in request.headers:
            request.context["client_config"] = unsigned

    for operation in ("PutObject", "UploadPart"):
        client.meta.events.register(f"before-sign.s3.{operation}", sign)
