"""Password hashes on their way to and from the database, without appearing in the text of a statement or in a log.

A hash is read by a definer function, with the driver's cursor, since SQLAlchemy's log can show rows. It is stored by
COPY: the data of COPY is not part of the statement (src/database/schema/credential_view.py).
"""

from __future__ import annotations

import io
import struct
from typing import Any

from sqlalchemy.orm import Session

from src.database.connection.actor_transaction import sign
from src.database.connection.driver_errors import translate
from src.database.connection.session import database_of
from src.database.schema import credential_view

# In the binary format an error of the server quotes no data.
_COPY = f"COPY public.{credential_view.NAME} (token, hash) FROM STDIN (FORMAT binary)"
_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)


def read_credential(session: Session, username: str) -> tuple[Any, ...] | None:
    """Return the row of the function `credential` for this user name, and the epoch; None for an unknown one.

    In one statement: with an older hash, a newer epoch would let a changed password in.
    """
    token = _sign(session, "login", username)
    with _driver_connection(session).cursor() as cursor:
        try:
            cursor.execute("SELECT c.*, public.login_epoch(%s) FROM public.credential(%s) AS c", (token, token))
        except _error_class(session) as error:
            raise translate(error) or error from error
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def send_credential(session: Session, purpose: str, subject: str, hashed: str | None) -> None:
    """Have the database do what the token for this purpose and subject names, with this hash."""
    with _driver_connection(session).cursor() as cursor:
        try:
            copy_credential(cursor, _sign(session, purpose, subject), hashed)
        except _error_class(session) as error:
            raise translate(error) or error from error


def copy_credential(cursor: Any, token: str | None, hashed: str | None) -> None:
    """Copy a row into the view with this cursor of the driver; raises errors of the driver."""
    values = (token, hashed)
    data = _HEADER + struct.pack("!h", len(values)) + b"".join(map(_field, values)) + _TRAILER
    cursor.copy_expert(_COPY, io.BytesIO(data))


def _sign(session: Session, purpose: str, subject: str) -> str:
    return sign(session.connection(), database_of(session).signing_key, purpose, subject)


def _field(value: str | None) -> bytes:
    if value is None:
        return struct.pack("!i", -1)
    encoded = value.encode("utf-8")
    return struct.pack("!i", len(encoded)) + encoded


def _driver_connection(session: Session) -> Any:
    return session.connection().connection.dbapi_connection


def _error_class(session: Session) -> Any:
    return session.connection().dialect.loaded_dbapi.Error
