"""The exceptions of this layer.

Every exception is a `SpeechError`; its message states what is wrong and what to do.

    SpeechError
    ├── Unavailable                 an external requirement is missing or wrong: scripts exit with code 3
    │   ├── ConfigurationError      a setting or a key file
    │   │   └── Quarantined         a copy of a database: read-only storage, no sweep, no claims, no sign-ins
    │   ├── ServerUnreachable       unknown host, connection refused, or no answer in time
    │   │   └── OutcomeUnknown      the connection ended during COMMIT: stored or not, nobody knows
    │   ├── Busy                    a timeout, a deadlock, no free connection: the same may succeed a moment later
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
    ├── NotSignedIn                 no active user has the name of the actor, or the signing key is of another database
    ├── SignInFailed                unknown user name, wrong password, or too many failed attempts
    ├── TransactionAborted          an error inside the block was caught: nothing of the transaction was saved
    ├── SessionMisused              a session committed by hand, left in a forked process, …
    │   └── SessionEnded            a session, its connection or an object of it, used after its block
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

    retryable: bool = False
    """Whether repeating the whole transaction, unchanged, may succeed: `db.run` does that."""


class Unavailable(SpeechError):
    """An external requirement is missing or wrong."""


class ConfigurationError(Unavailable):
    """A setting or a key file is missing or wrong."""


class Quarantined(ConfigurationError):
    """The database is a restored or copied one, and nobody has confirmed which of the two owns the storage."""


class ServerUnreachable(Unavailable):
    """The database server does not answer."""

    retryable = True


class OutcomeUnknown(ServerUnreachable):
    """The connection ended during COMMIT: whether the transaction is stored is unknown."""

    # A repetition could do everything twice.
    retryable = False


class Busy(Unavailable):
    """A timeout, a deadlock, a serialisation failure or no free connection: the same may succeed a moment later."""

    retryable = True


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
    """A value is not acceptable.

    `field` names the parameter or column, `value` is what was given, `limit` what is allowed at most, at least or
    instead; each is None where it is unknown. `value` is None for secrets and for texts of cases.
    """

    def __init__(self, message: str, *, field: str | None = None, value: object = None, limit: object = None) -> None:
        super().__init__(message)
        self.field = field
        self.value = value
        self.limit = limit


class NotAudio(InvalidInput):
    """No decoder can read the input as audio; `field` is `source`, the parameter of the services that take audio."""

    def __init__(
        self, message: str, *, field: str | None = "source", value: object = None, limit: object = None
    ) -> None:
        super().__init__(message, field=field, value=value, limit=limit)


class NotSignedIn(SpeechError):
    """No active user has the name of the actor, or the signing key belongs to another database."""


class SignInFailed(SpeechError):
    """Unknown user name, wrong password, or too many failed attempts: not distinguished on purpose."""


class TransactionAborted(SpeechError):
    """An error inside the block was caught, and had ended the transaction: nothing of it was saved.

    `__cause__` is that error; `retryable` is that of its translation.
    """


class SessionMisused(SpeechError):
    """A session is used against its rules, for example committed by hand."""


class SessionEnded(SessionMisused):
    """A session, its connection, or an object that is not loaded, is used after the block of the session."""


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

    # A repetition reads the row again.
    retryable = True


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

    retryable = True


class UnsupportedOperation(StorageError):
    """The backend does not support the operation."""
