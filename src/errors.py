"""All that can go wrong, drawn as a tree.

Every error of the layer is a `SpeechError`; its message is one sentence that says what is wrong and what to do.

    SpeechError
    ├── Unavailable                 something outside is missing or wrong: scripts end with exit code 3
    │   ├── ConfigurationError      a setting or a key file
    │   ├── ServerUnreachable       no such host, nothing listens there, or no answer in time
    │   ├── LoginRefused            wrong password or unknown login
    │   ├── DatabaseMissing         the server has no database of that name
    │   ├── ServerTooOld            PostgreSQL older than 15
    │   ├── RightMissing            a right that only the administrator of the server can give
    │   ├── ExtensionMissing        an extension that was asked for and cannot be created
    │   ├── SchemaMismatch          the database is behind or ahead of this code
    │   ├── UnsafeConnection        row security would not apply on this connection
    │   └── PackageMissing          an optional Python package
    ├── InvalidInput                a value that cannot be accepted
    │   └── NotAudio                bytes that no decoder can read
    ├── NotFound                    not there, or not yours: the two look the same on purpose
    ├── Forbidden                   visible, but this actor may not do that with it
    ├── Conflict                    it contradicts what is already there
    │   └── LostUpdate              somebody changed the row since it was read
    ├── LeaseLost                   another worker has the job by now
    └── StorageError
        ├── ObjectNotFound          no object has this key
        ├── ObjectExists            an object has this key, and objects are never replaced
        ├── InvalidKey              not a key that this layer makes
        ├── IntegrityFailure        the bytes are not the ones that were stored
        ├── NoSpace                 the device is full
        ├── StorageUnavailable      the storage does not answer or may not be written; trying again may help
        └── UnsupportedOperation    this backend cannot do that
"""

from __future__ import annotations


class SpeechError(Exception):
    """Base of every error raised by this layer."""


class Unavailable(SpeechError):
    """Something outside the program is missing or wrong."""


class ConfigurationError(Unavailable):
    """A setting or a key file is missing or wrong."""


class ServerUnreachable(Unavailable):
    """The database server does not answer."""


class LoginRefused(Unavailable):
    """The database server knows the login or its password not."""


class DatabaseMissing(Unavailable):
    """The server has no database of that name."""


class ServerTooOld(Unavailable):
    """The server is older than PostgreSQL 15."""


class RightMissing(Unavailable):
    """The login lacks a right that only the administrator of the server can give."""


class ExtensionMissing(Unavailable):
    """An extension was asked for and cannot be created."""


class SchemaMismatch(Unavailable):
    """The database is behind or ahead of this code."""


class UnsafeConnection(Unavailable):
    """Row security would not apply on this connection."""


class PackageMissing(Unavailable):
    """An optional Python package is needed and not installed."""


class InvalidInput(SpeechError, ValueError):
    """A value cannot be accepted."""


class NotAudio(InvalidInput):
    """No decoder can read these bytes as audio."""


class NotFound(SpeechError, LookupError):
    """The thing is not there, or not the actor's: the two look the same on purpose."""


class Forbidden(SpeechError, PermissionError):
    """The actor may not do that."""


class Conflict(SpeechError):
    """The change contradicts what is already there."""

    def __init__(self, message: str, *, constraint: str | None = None) -> None:
        super().__init__(message)
        self.constraint = constraint


class LostUpdate(Conflict):
    """Somebody changed the row since it was read."""


class LeaseLost(SpeechError):
    """Another worker has the job by now, or its time ran out."""


class StorageError(SpeechError):
    """Base of what can go wrong with stored bytes."""


class ObjectNotFound(StorageError, LookupError):
    """No object has this key."""


class ObjectExists(StorageError):
    """An object has this key already; objects are never replaced."""


class InvalidKey(StorageError, ValueError):
    """The text is not a key that this layer makes."""


class IntegrityFailure(StorageError):
    """The bytes are not the ones that were stored."""


class NoSpace(StorageError):
    """The device is full."""


class StorageUnavailable(StorageError, Unavailable):
    """The storage does not answer or may not be written; trying again may help."""


class UnsupportedOperation(StorageError):
    """This backend cannot do that."""
