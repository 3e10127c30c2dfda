"""The boto3 client: timeouts, retries, checksums, addresses; and its errors, translated into those of `src.errors`.

No message contains a credential.
"""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from src.errors import (
    ConfigurationError,
    IntegrityFailure,
    NoSpace,
    ObjectExists,
    ObjectNotFound,
    PackageMissing,
    SpeechError,
    StorageUnavailable,
    UnsupportedOperation,
)

if TYPE_CHECKING:
    from pydantic import SecretStr

# Wrong settings: repeating does not help.
_SETTINGS = {
    "InvalidAccessKeyId": "unknown access key; correct AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret does not match the access key; correct AWS_SECRET_ACCESS_KEY",
    "InvalidToken": "unknown session token; correct AWS_SESSION_TOKEN, or unset it",
    "NoSuchBucket": "the bucket does not exist; create it, or correct S3_BUCKET",
    "InvalidBucketName": "the name of the bucket is invalid; correct S3_BUCKET",
    "PermanentRedirect": "the bucket is in another region; correct S3_REGION",
    "301": "the bucket is in another region; correct S3_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region; correct S3_REGION",
    "InvalidEncryptionAlgorithmError": "unsupported encryption; correct S3_SERVER_SIDE_ENCRYPTION",
}
# Errors of boto3 itself, before it sends a request.
_LOCAL = {
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "PartialCredentialsError": "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "ProfileNotFound": "correct AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "NoRegionError": "set S3_REGION",
    "InvalidRegionError": "correct S3_REGION",
    "ParamValidationError": "correct S3_BUCKET",
}
_FULL = {
    "QuotaExceeded",
    "InsufficientCapacity",
    "InsufficientStorage",
    "StorageFull",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
}
_CORRUPTED_IN_TRANSIT = {
    "BadDigest",
    "InvalidDigest",
    "IncompleteBody",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
}
_NOT_IMPLEMENTED = {"NotImplemented", "MethodNotAllowed", "501", "405"}
_PERMISSIONS = (
    "the credentials lack a permission; allow to list, read, write and delete objects, and to list and abort uploads"
)
_ADVICE = {
    "AccessDenied": _PERMISSIONS,
    "403": _PERMISSIONS,
    "ExpiredToken": "the session token has expired; get a new one",
    "RequestTimeTooSkewed": "the clocks of client and server differ; correct the clock of this machine",
    "InvalidObjectState": "the object is in an archive storage class; restore it in the bucket and try again",
    "SlowDown": "too many requests; try again later",
}
_CONNECT_SECONDS = 5
_READ_SECONDS = 60  # without a byte from the server; a slow transfer has no limit
_ATTEMPTS = 5  # per request: about 8 s on average until a request fails that the server answers with 500


@cache
def failures() -> tuple[type[Exception], ...]:
    """The errors of boto3, and of urllib3, which boto3 does not always wrap while a body is read."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an optional package, slow to load
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - the same

    return BotoCoreError, ClientError, HTTPError


def status_of(error: Exception) -> int:
    """The HTTP status of the response; 0 without a response."""
    return int(getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def storage_error(error: Exception, place: str, key: str | None) -> SpeechError:
    """Translate an error of boto3 into one of `src.errors`, for the object `key` in `place`."""
    code = getattr(error, "response", {}).get("Error", {}).get("Code")
    if code is not None:
        return _response_error(code, status_of(error), place, key)
    kind = type(error).__name__
    if kind in _LOCAL:
        return ConfigurationError(f"{place} cannot be accessed ({kind}): {_LOCAL[kind]}.")
    if kind == "SSLError":
        return StorageUnavailable(
            f"The TLS connection to {place} is not trusted; correct the certificate of the server, or AWS_CA_BUNDLE."
        )
    return StorageUnavailable(f"{place} does not answer ({kind}); check that it runs and try again.")


def _response_error(code: str, status: int, place: str, key: str | None) -> SpeechError:
    subject = key or "The object"
    setting = _SETTINGS.get(code)
    if code.startswith("KMS."):
        setting = f"the encryption key is rejected ({code}); correct S3_KMS_KEY_ID or its policy"
    advice = _ADVICE.get(code, f"response {status} {code}; check the server and try again")
    # The first match counts: some servers send a precise code with an unrelated status.
    meanings: tuple[tuple[bool, type[SpeechError], str], ...] = (
        (setting is not None, ConfigurationError, f"{place} rejects the request: {setting}."),
        (
            code in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE,
            NoSpace,
            f"{place} is full or over its quota ({code}); free space and try again.",
        ),
        (
            code == "EntityTooLarge",
            NoSpace,
            f"{subject} is too large for {place}; split the recording.",
        ),
        (
            code in _CORRUPTED_IN_TRANSIT,
            IntegrityFailure,
            f"{subject} was corrupted in transit to {place} ({code}); nothing was stored, try again.",
        ),
        (
            code == "ConditionalRequestConflict" or status == HTTPStatus.PRECONDITION_FAILED,
            ObjectExists,
            f"{subject} is stored already; use a new key, objects are never replaced.",
        ),
        (status == HTTPStatus.NOT_FOUND, ObjectNotFound, f"No object is stored under {subject}."),
        (
            code in _NOT_IMPLEMENTED,
            UnsupportedOperation,
            f"{place} does not implement this request ({code}); use another server.",
        ),
        (True, StorageUnavailable, f"{place} cannot be used: {advice}."),
    )
    return next(kind(sentence) for holds, kind, sentence in meanings if holds)


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
    _sign_checksums_only(client, Config(s3={"payload_signing_enabled": False}))
    return client


def _sign_checksums_only(client: Any, unsigned: Any) -> None:
    def sign(request: Any, **_: Any) -> None:
        # The signed header binds the body: hashing the body again for the signature would add nothing.
        if "x-amz-checksum-sha256" in request.headers:
            request.context["client_config"] = unsigned

    for operation in ("PutObject", "UploadPart"):
        client.meta.events.register(f"before-sign.s3.{operation}", sign)
