"""How a transaction begins: what was left behind goes, who acts is handed over, signed, and takes the role he earns."""

from __future__ import annotations

import logging
import time
from typing import Any

from sqlalchemy import Connection

from src.database.connection.actor_tokens import TOKEN_SECONDS, Actor, SigningKey
from src.database.connection.driver_errors import first_line
from src.errors import ServerUnreachable

logger = logging.getLogger(__name__)

# One round trip. What an earlier user of the connection left behind goes first: settings, cursors held over a commit
# and temporary tables would show or do the next one somebody else's things (no dearer within the noise). Then every
# setting is local to the transaction, so a pooler in transaction mode is as good as none. Two are what the driver said
# when it connected, which behind a pooler RESET ALL does not bring back: with another encoding than the driver's, text
# would be stored as rubbish. pg_temp stands last, so that not even a temporary table of this transaction hides one of
# ours.
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

# Behind a pooler only the transaction knows its backend, so it is asked first: one round trip more.
_ASK = """
SELECT pg_catalog.pg_backend_pid(), extract(epoch FROM pg_catalog.now()),
       (SELECT system_identifier FROM pg_catalog.pg_control_system())
"""


class ActorTransaction:
    """Begins transactions for actors whom `key` vouches for."""

    def __init__(self, key: SigningKey, *, application_name: str, statement_timeout: str, idle_timeout: str) -> None:
        self._key = key
        self._settings = (application_name, statement_timeout, idle_timeout)

    def enter(self, connection: Connection, actor: Actor) -> None:
        """Let this transaction be the actor's; nobody's when nobody is named, or when nobody active has the name.

        Raises ServerUnreachable when the server does not let it begin.
        """
        info = connection.info
        cursor = _driver_connection(connection).cursor()
        try:
            info["actor_id"] = self._enter(cursor, info, actor)
        except connection.dialect.loaded_dbapi.Error as error:
            # The plain cursor saves a tenth of the door's time; the price is to say here what SQLAlchemy would say.
            connection.invalidate(error)
            raise ServerUnreachable(f"A transaction could not begin: {first_line(error)}. Try again.") from error
        finally:
            cursor.close()
        if actor.name is not None and info["actor_id"] is None:
            logger.warning(
                "No active user is named %r, or the key file is another database's: this session sees nothing.",
                actor.name,
            )

    def _enter(self, cursor: Any, info: dict[str, Any], actor: Actor) -> int | None:
        if actor.name is None:
            return self._begin(cursor, info, None, actor)
        if info["behind_pooler"]:
            return self._enter_asking(cursor, info, actor)
        pid, now = info["backend_pid"], time.time() + info["clock_offset"]
        entered = self._begin(cursor, info, self._token(actor, info, now), actor)
        if entered is None:
            # Nobody acts so far. A pooler that greeted with the number of a backend, by chance or on purpose, or a
            # token that came too late: once more, by what the transaction says about itself.
            info["behind_pooler"] = info["backend_pid"] != pid
            entered = self._enter_asking(cursor, info, actor)
        return entered

    def _enter_asking(self, cursor: Any, info: dict[str, Any], actor: Actor) -> int | None:
        cursor.execute(_ASK)
        info["backend_pid"], info["started"], info["cluster"] = cursor.fetchone()
        info["clock_offset"] = float(info["started"]) - time.time()
        return self._begin(cursor, info, self._token(actor, info, _only_now(info)), actor)

    def _begin(self, cursor: Any, info: dict[str, Any], token: str | None, actor: Actor) -> int | None:
        cursor.execute(info["padding"] + _BEGIN, (*self._settings, token, actor.reason, actor.request_id))
        entered: int | None
        *_, info["backend_pid"], info["started"], entered = cursor.fetchone()
        return entered

    def _token(self, actor: Actor, info: dict[str, Any], server_time: float) -> str:
        pid, cluster = info["backend_pid"], info["cluster"]
        return self._key.token("session", actor.name or "", backend_pid=pid, server_time=server_time, cluster=cluster)


def sign(connection: Connection, key: SigningKey, purpose: str, subject: str) -> str:
    """Return a token of this key for this connection's transaction, for one purpose and subject."""
    info = connection.info
    return key.token(purpose, subject, backend_pid=info["backend_pid"], server_time=_only_now(info))


def _only_now(info: dict[str, Any]) -> float:
    """The time to sign by, so that another transaction takes the token only if it begins within the same second.

    Behind a pooler anybody may be the next one on this backend.
    """
    return float(info["started"]) + 1 - TOKEN_SECONDS


def _driver_connection(connection: Connection) -> Any:
    return connection.connection.dbapi_connection
