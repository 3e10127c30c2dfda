"""The boto3 client: timeouts, retries, checksums, addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from src.errors import ConfigurationError, PackageMissing

if TYPE_CHECKING:
    from pydantic import SecretStr

_CONNECT_SECONDS = 5
_READ_SECONDS = 60  # without a byte from the server; a slow transfer has no limit
_ATTEMPTS = 5  # per request: about 8 s on average until a request fails that the server answers with 500


def open_client(
    *,
    endpoint_url: str | None,
    region: str | None,
    access_key_id: str | None,
    secret_access_key: SecretStr | None,
    session_token: SecretStr | None,
) -> Any:
    """A low-level S3 client for this process and all its threads; sends no request.

    Without `access_key_id` boto3 searches as usual: environment, profile, role of the machine.
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
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        signature_version="s3v4",
        # Checksums are sent by s3_upload. Those that boto3 adds by default since 1.36 broke many compatible servers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Few compatible servers have a host name per bucket.
        s3={"addressing_style": "path" if endpoint_url else "auto"},
        tcp_keepalive=True,
    )
    try:
        # Not boto3.client: its default session, shared by the process, is not thread-safe.
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
        raise ConfigurationError(
            "S3_ENDPOINT_URL is not the address of a server; set it to https://HOST:PORT."
        ) from error
    except BotoCoreError as error:
        raise ConfigurationError(
            f"boto3 cannot create a client ({type(error).__name__}); correct AWS_PROFILE or its files."
        ) from error
    _stop_redirects(client, "before-call.s3" if endpoint_url else "before-call.s3.HeadBucket")
    _sign_checksums_only(client, Config(s3={"payload_signing_enabled": False}))
    return client


def _stop_redirects(client: Any, event: str) -> None:
    def stop(params: Any, **_: Any) -> None:
        # For a redirect boto3 asks HeadBucket for the region of the bucket. Where that is redirected too, for example
        # to a login page, it asks again, up to a RecursionError; and a compatible server has no other regions.
        params["context"].setdefault("s3_redirect", {})["redirected"] = True

    client.meta.events.register(event, stop)


def _sign_checksums_only(client: Any, unsigned: Any) -> None:
    def sign(request: Any, **_: Any) -> None:
        # The signed header binds the body: hashing the body again for the signature would add nothing.
        if "x-amz-checksum-sha256" in request.headers:
            request.context["client_config"] = unsigned

    for operation in ("PutObject", "UploadPart"):
        client.meta.events.register(f"before-sign.s3.{operation}", sign)
