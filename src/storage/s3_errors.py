"""The errors of boto3 and of S3 servers, translated into those of `src.errors` with the server's own reason.

No message contains a credential: servers never receive the secret, and only code and message of a response are shown.
"""

from __future__ import annotations

import re
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

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

_WRONG_KEY = "unknown access key; correct AWS_ACCESS_KEY_ID"
_WRONG_TOKEN = "unknown session token; correct AWS_SESSION_TOKEN, or unset it"  # noqa: S105 - a sentence
_WRONG_REGION = "the bucket is in another region; correct S3_REGION"
_PATH_STYLE = (
    "the server refuses addresses with the bucket in the path; use an endpoint that accepts them, such as the one of"
    " its S3-compatible interface"
)
# Wrong settings: repeating does not help.
_SETTINGS = {
    "InvalidAccessKeyId": _WRONG_KEY,
    "InvalidClientTokenId": _WRONG_KEY,
    "SignatureDoesNotMatch": "the secret does not match the access key; correct AWS_SECRET_ACCESS_KEY",
    "InvalidToken": _WRONG_TOKEN,
    "NoSuchBucket": "the bucket does not exist; create it, or correct S3_BUCKET",
    "AllAccessDisabled": "access to the bucket is disabled; correct S3_BUCKET, or ask its owner",
    "InvalidBucketName": "the name of the bucket is invalid; correct S3_BUCKET",
    "PermanentRedirect": _WRONG_REGION,
    "TemporaryRedirect": _WRONG_REGION,
    "IllegalLocationConstraintException": _WRONG_REGION,
    "IncorrectEndpoint": _WRONG_REGION,
    "301": _WRONG_REGION,
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "InvalidEncryptionAlgorithmError": "unsupported encryption; correct S3_SERVER_SIDE_ENCRYPTION",
    "ServerSideEncryptionConfigurationNotFoundError": "unsupported encryption; correct S3_SERVER_SIDE_ENCRYPTION",
    "SecondLevelDomainForbidden": _PATH_STYLE,
    "PathStyleDomainForbidden": _PATH_STYLE,
    "VirtualHostDomainRequired": _PATH_STYLE,
}
# Errors of boto3 itself, before it sends a request.
_LOCAL = {
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "PartialCredentialsError": "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "CredentialRetrievalError": "repair the source of credentials that AWS_PROFILE names, or set AWS_ACCESS_KEY_ID and"
    " AWS_SECRET_ACCESS_KEY",
    "ProfileNotFound": "correct AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "UnauthorizedSSOTokenError": "run: aws sso login",
    "SSOTokenLoadError": "run: aws sso login",
    "TokenRetrievalError": "run: aws sso login",
    "NoRegionError": "set S3_REGION",
    "InvalidRegionError": "correct S3_REGION",
    "ParamValidationError": "correct S3_BUCKET",
    "InvalidProxiesConfigError": "correct HTTPS_PROXY and HTTP_PROXY",
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
_NOT_IMPLEMENTED = {"NotImplemented", "MethodNotAllowed"}
_PERMISSIONS = (
    "the credentials lack a permission; allow to list, read, write and delete objects, and to list and abort uploads"
)
_EXPIRED = "the session token has expired; get a new one"
_ADVICE = {
    "AccessDenied": _PERMISSIONS,
    "AccountProblem": "the account has a problem; ask the provider of the storage",
    "403": _PERMISSIONS,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": "the clocks of client and server differ; correct the clock of this machine",
    "RequestExpired": "the clocks of client and server differ; correct the clock of this machine",
    "InvalidObjectState": "the object is in an archive storage class; restore it in the bucket and try again",
    "SlowDown": "too many requests; try again later",
}
_KMS = (
    "the encryption key is rejected; correct S3_KMS_KEY_ID, or allow kms:GenerateDataKey and kms:Decrypt in its policy"
)
_NO_TLS = re.compile(
    "WRONG_VERSION_NUMBER|record layer failure|UNKNOWN_PROTOCOL|unexpected eof|UNEXPECTED_EOF", re.IGNORECASE
)
_MAX_REASON = 300
# What boto3 raises for a response with a missing or invalid field: a list entry without its key, an invalid date.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


@cache
def failures() -> tuple[type[Exception], ...]:
    """The errors of boto3, and of urllib3, which boto3 does not always wrap while a body is read."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an optional package, slow to load
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - the same

    return BotoCoreError, ClientError, HTTPError, *_UNREADABLE


def status_of(error: Exception) -> int:
    """The HTTP status of the response; 0 without a response."""
    return int(_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def storage_error(error: Exception, place: str, key: str | None, *, bodiless: bool = False) -> SpeechError:
    """Translate an error of boto3 into one of `src.errors`, for the object `key` in `place`.

    `bodiless`: the request was HEAD, whose response has a status but neither code nor message.
    """
    found = _response(error).get("Error", {}).get("Code")
    if found is None:
        return _local_error(error, place)
    code = str(found)
    status = status_of(error)
    if code.isdigit() and not bodiless:
        foreign = _foreign_response(error, place, status)
        if foreign is not None:
            return foreign
    return _response_error(error, code, status, place, key)


def lacks_reason(error: Exception) -> bool:
    """Return whether a rejection came without a document of S3, which names its code."""
    code, status = str(_response(error).get("Error", {}).get("Code", "")), status_of(error)
    return code.isdigit() and status in range(400, 500) and status != HTTPStatus.PRECONDITION_FAILED


def missing_field(place: str, operation: str, name: str) -> StorageUnavailable:
    """The error for a response without a field that every S3 server sends."""
    return StorageUnavailable(
        f"{place} sent no {name} in its response to {operation}, and the layer cannot do without it; check that"
        " S3_ENDPOINT_URL is the address of an S3 server, then update that server or configure it to send the field."
    )


def reason_of(error: Exception) -> str:
    """Operation, code and message of the server's response in one printable line."""
    reported = _response(error).get("Error", {})
    parts = (getattr(error, "operation_name", ""), reported.get("Code", ""), reported.get("Message", ""))
    line = ": ".join(" ".join(part.split()).rstrip(".") for part in map(str, parts) if part)
    return _printable(line)


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:_MAX_REASON]


def _response(error: Exception) -> dict[str, Any]:
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}


def _headers(error: Exception) -> dict[str, str]:
    headers: dict[str, str] = _response(error).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def _local_error(error: Exception, place: str) -> SpeechError:
    kind = type(error).__name__
    if kind in _LOCAL:
        return ConfigurationError(f"{place} cannot be accessed ({kind}): {_LOCAL[kind]}.")
    if kind == "SSLError":
        if _NO_TLS.search(str(error)):
            return ConfigurationError(
                f"{place} does not speak TLS; write http:// in S3_ENDPOINT_URL, or the port of its TLS listener."
            )
        return StorageUnavailable(
            f"The TLS connection to {place} is not trusted; correct the certificate of the server, or AWS_CA_BUNDLE."
        )
    if kind == "ResponseParserError" or isinstance(error, _UNREADABLE):
        return StorageUnavailable(
            f"{place} sent a response that is not one of S3 ({kind}); check that S3_ENDPOINT_URL is the address of an"
            " S3 server, not of its console or of another service."
        )
    return StorageUnavailable(f"{place} does not answer ({kind}); check that it runs and try again.")


def _foreign_response(error: Exception, place: str, status: int) -> SpeechError | None:
    """The error for a response without an S3 error document: it comes from a proxy or from another server."""
    answered = f"{place} answers {reason_of(error)}, without a code of S3"
    headers = _headers(error)
    location = urlsplit(headers.get("location", ""))
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        if "x-amz-bucket-region" in headers:
            return None
        target = f"{location.scheme}://{location.hostname}" if location.hostname else "another address"
        return ConfigurationError(f"{answered}, and redirects to {target}; correct S3_ENDPOINT_URL.")
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return ConfigurationError(
            f"{answered}: a proxy in front of it limits the size of requests; allow 16 MiB (nginx: "
            "client_max_body_size 16m)."
        )
    if status < HTTPStatus.BAD_REQUEST or status in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.INSUFFICIENT_STORAGE}:
        return None
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
        # boto3 turns a response of 200 without a readable document into 500 as well.
        return StorageUnavailable(
            f"{answered}: the server behind a proxy does not run, or S3_ENDPOINT_URL is not the address of an S3"
            " server; check both and try again."
        )
    return ConfigurationError(
        f"{answered}: no S3 server, or one that wants TLS; correct S3_ENDPOINT_URL (https://HOST:PORT)."
    )


def _response_error(error: Exception, code: str, status: int, place: str, key: str | None) -> SpeechError:
    subject = key or "The object"
    reason = reason_of(error)
    setting = _setting(error, code)
    advice = _ADVICE.get(code, f"response {status}; check the server and try again")
    # The first match counts: some servers send a precise code with an unrelated status.
    meanings: tuple[tuple[bool, type[SpeechError], str], ...] = (
        (setting is not None, ConfigurationError, f"{place} rejects the request: {setting} ({reason})."),
        (
            code in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE,
            NoSpace,
            f"{place} is full or over its quota ({reason}); free space and try again.",
        ),
        (
            code == "EntityTooLarge",
            NoSpace,
            f"{subject} is too large for {place} ({reason}); split the recording.",
        ),
        (
            code in _CORRUPTED_IN_TRANSIT,
            IntegrityFailure,
            f"{subject} was corrupted in transit to {place} ({reason}); nothing was stored, try again.",
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
            f"{place} does not implement this request ({reason}); use another server.",
        ),
        (True, StorageUnavailable, f"{place} cannot be used: {advice} ({reason})."),
    )
    return next(kind(sentence) for holds, kind, sentence in meanings if holds)


def _setting(error: Exception, code: str) -> str | None:
    """What is wrong with the settings, and the remedy; None when the settings are not the cause."""
    message = str(_response(error).get("Error", {}).get("Message", ""))
    # KMS answers AccessDenied with the missing permission in the message.
    if code.startswith("KMS") or (code in {"AccessDenied", "403"} and "kms:" in message.lower()):
        return _KMS
    setting = _SETTINGS.get(code)
    region = _region_of(error) if setting == _WRONG_REGION else None
    return setting if region is None else f"the bucket is in the region {region}; set S3_REGION={region}"


def _region_of(error: Exception) -> str | None:
    """The region of the bucket, as the server states it."""
    response = _response(error)
    headers = _headers(error)
    region = str(response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region") or "")
    return region if re.fullmatch("[a-z0-9-]{1,40}", region) else None
