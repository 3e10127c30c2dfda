"""The exceptions of this layer.

Every exception is a `SpeechError`; its message states what is wrong and what to do.

    SpeechError
    ├── Unavailable                 an external requirement is missing or wrong: scripts exit with code 3
    │   ├── ConfigurationError      a setting or a key file
    │   │   └── Quarantined         a copy of a database: read-only storage, no sweep, no claims, no sign-ins
    │   ├── ServerUnreachable       unknown host, connection refused, or no answer in time
    │   ├── LoginRefused            unknown login or wrong password
    │   ├── DatabaseMissing         the server has no database of that name
    │   ├── ServerTooOld            PostgreSQL older than 15
    │   ├── RightMissing            a privilege that only the administrator of the server can grant
    │   ├── ExtensionMissing        a required extension that cannot be created
    │   ├── SchemaMismatch          the database is older or newer than this code
    │   ├── UnsafeConnection        row security would not apply on this connection
    │   └── PackageMissing          an optional Python package is not installed
    ├── InvalidInput                an unacceptable value
    │   └── NotAudio                input that no decoder can read
    ├── NotFound                    the object does not exist or is not visible: not distinguished on purpose
    ├── Forbidden                   the object is visible, but the actor may not do this
    ├── Conflict                    the change contradicts existing rows or a database rule
    │   └── LostUpdate              the row was changed by another transaction since it was read
    ├── LeaseLost                   another worker has the job, or the lease expired
    └── StorageError
        ├── ObjectNotFound          no object has this key
        ├── ObjectExists            an object has this key, and objects are never replaced
        ├── InvalidKey              not a key of this layer
        ├── IntegrityFailure        the bytes differ from those that were stored
        ├── NoSpace                 the device is full
        ├── StorageUnavailable      the storage does not answer or is not writable; a retry may help
        └── UnsupportedOperation    the backend does not support the operation
"""

from __future__ import annotations


class SpeechError(Exception):
    """Base of every error raised by this layer."""


class Unavailable(SpeechError):
    """An external requirement is missing or wrong."""


class ConfigurationError(Unavailable):
    """A setting or a key file is missing or wrong."""


class Quarantined(ConfigurationError):
    """The database is a restored or copied one, and nobody has confirmed which of the two owns the storage."""


class ServerUnreachable(Unavailable):
    """The database server does not answer."""


class LoginRefused(Unavailable):
    """Unknown login or wrong password."""


class DatabaseMissing(Unavailable):
    """The server has no database of that name."""


class ServerTooOld(Unavailable):
    """The server is older than PostgreSQL 15."""


class RightMissing(Unavailable):
    """The login lacks a privilege that only the administrator of the server can grant."""


class ExtensionMissing(Unavailable):
    """A required extension cannot be created."""


class SchemaMismatch(Unavailable):
    """The database is older or newer than this code."""


class UnsafeConnection(Unavailable):
    """Row security would not apply on this connection."""


class WrongLogin(ConfigurationError):
    """The login of the connection may not serve a session of this actor."""


class AdminLoginRequired(WrongLogin):
    """The actor is an administrator, and this program has only the login of members."""


class PackageMissing(Unavailable):
    """A required optional Python package is not installed."""


class InvalidInput(SpeechError, ValueError):
    """A value is not acceptable."""


class NotAudio(InvalidInput):
    """No decoder can read the input as audio."""


class NotFound(SpeechError, LookupError):
    """The object does not exist or is not visible to the actor; the two are not distinguished on purpose."""


class Forbidden(SpeechError, PermissionError):
    """The actor may not do that."""


class Conflict(SpeechError):
    """The change contradicts existing rows or a database rule."""

    def __init__(self, message: str, *, constraint: str | None = None) -> None:
        super().__init__(message)
        self.constraint = constraint


class LostUpdate(Conflict):
    """The row was changed by another transaction since it was read."""


class LeaseLost(SpeechError):
    """Another worker has the job, or the lease expired."""


class StorageError(SpeechError):
    """Base of the errors of stored objects."""


class ObjectNotFound(StorageError, LookupError):
    """No object has this key."""


class ObjectExists(StorageError):
    """An object with this key exists; objects are never replaced."""


class InvalidKey(StorageError, ValueError):
    """The text is not a key of this layer."""


class IntegrityFailure(StorageError):
    """The bytes differ from those that were stored."""


class NoSpace(StorageError):
    """The device is full."""


class StorageUnavailable(StorageError, Unavailable):
    """The storage does not answer or is not writable; a retry may help."""


class UnsupportedOperation(StorageError):
    """The backend does not support the operation."""
