"""Begin a transaction: reset the connection, authenticate the actor, set the role."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from src.database.connection.actor_tokens import Actor, SigningKey
from src.database.connection.driver_errors import translate_begin
from src.database.connection.pinned_settings import set_locally
from src.database.connection.transaction_rules import DATE_STYLE_AFTERWARDS
from src.database.schema.objects import ADMIN_ROLE
from src.errors import AdminLoginRequired, WrongLogin

# Removes the state of the previous user of the connection: settings, holdable cursors and temporary tables could expose
# or run another user's objects. All settings are then local to the transaction, so a pooler in transaction mode works
# as well. client_encoding and application_name are startup parameters of the driver, which RESET ALL does not restore
# behind a pooler: with an encoding other than the driver's, text would be stored garbled. The date style outside the
# transaction shows that it ended (driver_connection.py). The timeouts apply to the next statement. One column for all
# settings, since the driver takes longer to read a column than the server to set a setting.
# Returns the identity of the transaction, which the token names: one round trip.
_RESET = """
RESET ROLE; RESET ALL; CLOSE ALL; DISCARD TEMP; UNLISTEN *;
SELECT pg_catalog.pg_advisory_unlock_all(),
       pg_catalog.num_nulls(
           pg_catalog.set_config('client_encoding', 'UTF8', false),
           pg_catalog.set_config('application_name', %s, false),
           pg_catalog.set_config('DateStyle', '{afterwards}', false),
           pg_catalog.set_config('statement_timeout', %s, true),
           pg_catalog.set_config('idle_in_transaction_session_timeout', %s, true),
           {pinned}),
       pg_catalog.pg_backend_pid(),
       (extract(epoch FROM pg_catalog.now()) OPERATOR(pg_catalog.*) 1000000)::bigint
"""
_BEGIN = """
SELECT pg_catalog.set_config('role', CASE WHEN b.is_member THEN b.database_role ELSE 'none' END, true),
       b.database_role, b.is_member, b.actor
  FROM public.begin_actor(%s, %s, %s) AS b
"""


ADMIN_LOGIN_MISSING = (
    "An administrator needs the login of administrators, and this program has only that of members."
    " Set POSTGRES_ADMIN_USER and POSTGRES_ADMIN_PASSWORD, or use the key file that init_db wrote."
)


@lru_cache
def _reset(template: str, server_version: int, slow: bool) -> str:
    return template.format(afterwards=DATE_STYLE_AFTERWARDS, pinned=set_locally(server_version, slow=slow))


class ActorTransaction:
    """Begins transactions for actors, with tokens signed by `key`."""

    def __init__(self, key: SigningKey, *, application_name: str, statement_timeout: str, idle_timeout: str) -> None:
        self._key = key
        self._application, self._timeouts = application_name, (statement_timeout, idle_timeout)

    def enter(self, connection: Connection, actor: Actor) -> None:
        """Set the actor of this transaction; no actor without a name, or with an unknown or inactive one.

        Raises ServerUnreachable or Busy when the server does not begin the transaction, WrongLogin when the login of
        this connection may not take the role of the actor.
        """
        info = connection.info
        driver = _driver_connection(connection)
        cursor = driver.cursor()
        driver.failure, driver.in_block = None, False
        try:
            self._enter(cursor, _reset(_RESET, driver.server_version, driver.pins_slow), info, actor)
        except connection.dialect.loaded_dbapi.Error as error:
            # The driver's cursor saves a tenth of the time to open a session, but its errors must be handled here.
            connection.invalidate(error)
            raise translate_begin(error) from error
        finally:
            cursor.close()
        if not info["is_member"]:
            raise _wrong_login(actor, info["database_role"])

    def _enter(self, cursor: Any, reset: str, info: dict[str, Any], actor: Actor) -> None:
        # With the name of the actor, so that operators see whose transaction holds up others. PostgreSQL truncates it.
        name = self._application if actor.name is None else f"{self._application} {actor.name}"
        cursor.execute(reset, (name, *self._timeouts))
        *_, info["backend_pid"], info["started"] = cursor.fetchone()
        token = None if actor.name is None else _token(self._key, info, "session", actor.name, info["cluster"])
        cursor.execute(_BEGIN, (token, actor.reason, actor.request_id))
        _, info["database_role"], info["is_member"], info["actor_id"] = cursor.fetchone()


def _wrong_login(actor: Actor, role: str) -> WrongLogin:
    if role == ADMIN_ROLE:
        return AdminLoginRequired(ADMIN_LOGIN_MISSING)
    return WrongLogin(f"{actor.name} is not an administrator: open the session with the login of members.")


def sign(connection: Connection, key: SigningKey, purpose: str, subject: str) -> str:
    """Return a token of this key for the transaction of this connection, for one purpose and subject."""
    return _token(key, connection.info, purpose, subject)


def is_key_known(connection: Connection, key: SigningKey, actor: Actor) -> bool:
    """Return whether the database of this connection knows the key that signed the actor."""
    cursor = _driver_connection(connection).cursor()
    try:
        cursor.execute("SELECT public.is_valid_token(%s)", (sign(connection, key, "session", actor.name or ""),))
        return bool(cursor.fetchone()[0])
    finally:
        cursor.close()


def _token(key: SigningKey, info: dict[str, Any], purpose: str, subject: str, cluster: int | None = None) -> str:
    return key.token(purpose, subject, backend_pid=info["backend_pid"], started=info["started"], cluster=cluster)


def _driver_connection(connection: Connection) -> Any:
    return connection.connection.dbapi_connection
