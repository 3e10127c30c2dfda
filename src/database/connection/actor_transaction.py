"""Begin a transaction: reset the connection, authenticate the actor, set the role."""

from __future__ import annotations

import logging
import time
from typing import Any

from sqlalchemy import Connection

from src.database.connection.actor_tokens import TOKEN_SECONDS, Actor, SigningKey
from src.database.connection.driver_errors import first_line
from src.errors import ServerUnreachable

logger = logging.getLogger(__name__)

# One round trip. It first removes the state of the previous user of the connection: settings, holdable cursors and
# temporary tables could expose or run another user's objects (the cost is not measurable). All settings are then local
# to the transaction, so a pooler in transaction mode works as well. client_encoding and application_name are startup
# parameters of the driver, which RESET ALL does not restore behind a pooler: with an encoding other than the driver's,
# text would be stored garbled. pg_temp comes last, so that a temporary table of this transaction cannot hide a table of
# this layer.
_BEGIN = """
RESET ROLE; RESET ALL; CLOSE ALL; DISCARD TEMP; UNLISTEN *;
SELECT pg_catalog.pg_advisory_unlock_all(),
       pg_catalog.set_config('client_encoding', 'UTF8', false),
       pg_catalog.set_config('application_name', %s, false),
       pg_catalog.set_config('search_path', 'public, pg_temp', true),
       pg_catalog.set_config('DateStyle', 'ISO', true),
       pg_catalog.set_config('statement_timeout', %s, true),
       pg_catalog.set_config('idle_in_transaction_session_timeout', %s, true),
       pg_catalog.set_config('role', b.database_role, true),
       pg_catalog.pg_backend_pid(), extract(epoch FROM pg_catalog.now()), b.actor
  FROM public.begin_actor(%s, %s, %s) AS b
"""

# Behind a pooler the backend is known only inside the transaction: an additional round trip.
_QUERY_BACKEND = """
SELECT pg_catalog.pg_backend_pid(), extract(epoch FROM pg_catalog.now()),
       (SELECT system_identifier FROM pg_catalog.pg_control_system())
"""


class ActorTransaction:
    """Begins transactions for actors, with tokens signed by `key`."""

    def __init__(self, key: SigningKey, *, application_name: str, statement_timeout: str, idle_timeout: str) -> None:
        self._key = key
        self._settings = (application_name, statement_timeout, idle_timeout)

    def enter(self, connection: Connection, actor: Actor) -> None:
        """Set the actor of this transaction; no actor without a name, or with an unknown or inactive one.

        Raises ServerUnreachable when the server does not begin the transaction.
        """
        info = connection.info
        cursor = _driver_connection(connection).cursor()
        try:
            info["actor_id"] = self._enter(cursor, info, actor)
        except connection.dialect.loaded_dbapi.Error as error:
            # The driver's cursor saves a tenth of the time to open a session, but its errors must be handled here.
            connection.invalidate(error)
            raise ServerUnreachable(f"A transaction could not begin: {first_line(error)}. Try again.") from error
        finally:
            cursor.close()
        if actor.name is not None and info["actor_id"] is None:
            logger.warning(
                "No active user is named %r, or the key file belongs to another database: this session reads no rows.",
                actor.name,
            )

    def _enter(self, cursor: Any, info: dict[str, Any], actor: Actor) -> int | None:
        if actor.name is None:
            return self._begin(cursor, info, None, actor)
        if info["behind_pooler"]:
            return self._enter_behind_pooler(cursor, info, actor)
        pid, now = info["backend_pid"], time.time() + info["clock_offset"]
        entered = self._begin(cursor, info, self._token(actor, info, now), actor)
        if entered is None:
            # No actor: the pid came from a pooler, or the token expired. Retry once with the pid and clock that the
            # transaction itself reports.
            info["behind_pooler"] = info["backend_pid"] != pid
            entered = self._enter_behind_pooler(cursor, info, actor)
        return entered

    def _enter_behind_pooler(self, cursor: Any, info: dict[str, Any], actor: Actor) -> int | None:
        cursor.execute(_QUERY_BACKEND)
        info["backend_pid"], info["started"], info["cluster"] = cursor.fetchone()
        info["clock_offset"] = float(info["started"]) - time.time()
        return self._begin(cursor, info, self._token(actor, info, _expiring_now(info)), actor)

    def _begin(self, cursor: Any, info: dict[str, Any], token: str | None, actor: Actor) -> int | None:
        cursor.execute(info["padding"] + _BEGIN, (*self._settings, token, actor.reason, actor.request_id))
        entered: int | None
        *_, info["backend_pid"], info["started"], entered = cursor.fetchone()
        return entered

    def _token(self, actor: Actor, info: dict[str, Any], server_time: float) -> str:
        pid, cluster = info["backend_pid"], info["cluster"]
        return self._key.token("session", actor.name or "", backend_pid=pid, server_time=server_time, cluster=cluster)


def sign(connection: Connection, key: SigningKey, purpose: str, subject: str) -> str:
    """Return a token of this key for the transaction of this connection, for one purpose and subject."""
    info = connection.info
    return key.token(purpose, subject, backend_pid=info["backend_pid"], server_time=_expiring_now(info))


def _expiring_now(info: dict[str, Any]) -> float:
    """Return the time to sign with so that only transactions that begin within the same second accept the token.

    Behind a pooler, the next transaction on this backend may belong to any client.
    """
    return float(info["started"]) + 1 - TOKEN_SECONDS


def _driver_connection(connection: Connection) -> Any:
    return connection.connection.dbapi_connection
