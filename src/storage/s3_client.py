"""The client of boto3: retries, checksums, addresses, and its errors translated into those of `src.errors`.

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
    "InvalidAccessKeyId": "it does not know the access key; correct AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret does not belong to the access key; correct AWS_SECRET_ACCESS_KEY",
    "InvalidToken": "it does not know the session token; correct AWS_SESSION_TOKEN, or leave it out",
    "NoSuchBucket": "the bucket does not exist; create it, or correct S3_BUCKET",
    "InvalidBucketName": "the name of the bucket is invalid; correct S3_BUCKET",
    "PermanentRedirect": "the bucket lies in another region; correct S3_REGION",
    "301": "the bucket lies in another region; correct S3_REGION",
    "AuthorizationHeaderMalformed": "the bucket lies in another region; correct S3_REGION",
    "InvalidEncryptionAlgorithmError": "it does not know this encryption; correct S3_SERVER_SIDE_ENCRYPTION",
}
# Rejected by boto3 itself, by the name of its error.
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
_CHANGED_ON_THE_WAY = {
    "BadDigest",
    "InvalidDigest",
    "IncompleteBody",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
}
_UNKNOWN = {"NotImplemented", "MethodNotAllowed", "501", "405"}
_ADVICE = {
    "AccessDenied": "the login lacks a right; let it list, read, write and delete objects and list and end uploads",
    "403": "the login lacks a right; let it list, read, write and delete objects and list and end uploads",
    "ExpiredToken": "the session token has expired; get a new one",
    "RequestTimeTooSkewed": "the clocks differ by more than minutes; set the clock of this machine",
    "InvalidObjectState": "the object lies in an archive class; restore it in the bucket and try again",
    "SlowDown": "it asks to slow down; try again later",
}
_CONNECT_SECONDS = 5
_SILENCE_SECONDS = 60  # without a byte from the server; a slow transfer may take as long as it likes
_ATTEMPTS = 5  # of one request: about 8 s of waiting on the average before a server that answers 500 is given up


@cache
def failures() -> tuple[type[Exception], ...]:
    """The errors of boto3, and those of urllib3 that it does not always wrap while a body is read."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an optional package, slow to load
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - the same

    return BotoCoreError, ClientError, HTTPError


def status_of(error: Exception) -> int:
    """The HTTP status of the answer; 0 where there was none."""
    return int(getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def storage_error(error: Exception, place: str, key: str | None) -> SpeechError:
    """The error of the tree that says what boto3's error means for the object `key` in `place`."""
    code = getattr(error, "response", {}).get("Error", {}).get("Code")
    if code is not None:
        return _refusal(code, status_of(error), place, key)
    kind = type(error).__name__
    if kind in _LOCAL:
        return ConfigurationError(f"{place} cannot be asked ({kind}): {_LOCAL[kind]}.")
    if kind == "SSLError":
        return StorageUnavailable(
            f"The connection to {place} is not trusted; correct its certificate, or AWS_CA_BUNDLE here."
        )
    return StorageUnavailable(f"{place} does not answer ({kind}); check that it runs and try again.")


def _refusal(code: str, status: int, place: str, key: str | None) -> SpeechError:
    about = key or "The object"
    setting = _SETTINGS.get(code)
    if code.startswith("KMS."):
        setting = f"the encryption key is rejected ({code}); correct S3_KMS_KEY_ID or its policy"
    advice = _ADVICE.get(code, f"it answered {status} {code}; check the server and try again")
    # The first that holds; some servers put a precise code under a status that means something else.
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
            f"{about} is too large for {place}; split the recording.",
        ),
        (
            code in _CHANGED_ON_THE_WAY,
            IntegrityFailure,
            f"{about} changed on its way to {place} ({code}); nothing was stored, try again.",
        ),
        (
            code == "ConditionalRequestConflict" or status == HTTPStatus.PRECONDITION_FAILED,
            ObjectExists,
            f"{about} is stored already; use a new key, objects are never replaced.",
        ),
        (status == HTTPStatus.NOT_FOUND, ObjectNotFound, f"No object is stored under {about}."),
        (code in _UNKNOWN, UnsupportedOperation, f"{place} cannot do that ({code}); use a server that can."),
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
        raise ConfigurationError("S3_ENDPOINT_URL is not the address of a server; write https://host:port.") from error
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
