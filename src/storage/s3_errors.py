"""What S3, or the way to it, refuses, as errors of the tree. No sentence repeats a credential."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus

from src.errors import (
    ConfigurationError,
    IntegrityFailure,
    NoSpace,
    ObjectExists,
    ObjectNotFound,
    SpeechError,
    StorageUnavailable,
    UnsupportedOperation,
)

# Settings that trying again will not mend.
_SETTINGS = {
    "InvalidAccessKeyId": "it does not know the access key; correct AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret does not belong to the access key; correct AWS_SECRET_ACCESS_KEY",
    "InvalidToken": "it does not know the session token; correct AWS_SESSION_TOKEN, or leave it out",
    "NoSuchBucket": "there is no such bucket; create it, or correct S3_BUCKET",
    "InvalidBucketName": "this is no name for a bucket; correct S3_BUCKET",
    "PermanentRedirect": "the bucket lies in another region; correct S3_REGION",
    "301": "the bucket lies in another region; correct S3_REGION",
    "AuthorizationHeaderMalformed": "the bucket lies in another region; correct S3_REGION",
    "InvalidEncryptionAlgorithmError": "it does not know this encryption; correct S3_SERVER_SIDE_ENCRYPTION",
}
# What boto3 refuses by itself, by the name of its error.
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
        setting = f"the key of the encryption refuses ({code}); correct S3_KMS_KEY_ID or its policy"
    advice = _ADVICE.get(code, f"it answered {status} {code}; check the server and try again")
    # The first that holds; some servers put a precise code under a status that means something else.
    meanings: tuple[tuple[bool, type[SpeechError], str], ...] = (
        (setting is not None, ConfigurationError, f"{place} refuses: {setting}."),
        (
            code in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE,
            NoSpace,
            f"{place} is full or over its quota ({code}); free space and try again.",
        ),
        (
            code == "EntityTooLarge",
            NoSpace,
            f"{place} takes no object as large as {about}; cut the recording.",
        ),
        (
            code in _CHANGED_ON_THE_WAY,
            IntegrityFailure,
            f"{about} changed on its way to {place} ({code}); nothing was stored, try again.",
        ),
        (
            code == "ConditionalRequestConflict" or status == HTTPStatus.PRECONDITION_FAILED,
            ObjectExists,
            f"{about} is stored already; take a fresh key, objects are never replaced.",
        ),
        (status == HTTPStatus.NOT_FOUND, ObjectNotFound, f"No object is stored under {about}."),
        (code in _UNKNOWN, UnsupportedOperation, f"{place} cannot do that ({code}); use a server that can."),
        (True, StorageUnavailable, f"{place} cannot be used: {advice}."),
    )
    return next(kind(sentence) for holds, kind, sentence in meanings if holds)
