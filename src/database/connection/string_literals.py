r"""Connections on which the driver quotes texts as the server reads them.

psycopg2 decides once, when it connects, whether it writes texts as E'…': where `standard_conforming_strings` is off.
The layer sets it to on afterwards, and then neither the driver nor libpq would double a backslash inside E'…': `a\b`
would be stored as another text, and `\'` would end it, so that the rest of a value would be SQL. So the setting has to
be on when the connection begins.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from src.errors import ConfigurationError

_SETTING = "standard_conforming_strings"
# PgBouncer accepts no options of a connection, or ignores them.
_OFF = (
    f"{_SETTING} is off for new connections behind this pooler, and texts with a backslash would be read as other"
    f" texts. Run: ALTER DATABASE … RESET {_SETTING} (or ALTER ROLE …), then restart the pooler."
)


def quote_texts_as_the_server_reads_them(engine: Engine) -> None:
    """Begin every connection of this engine with the setting; a connection that begins without it is opened again."""
    opened: Callable[..., Any] = engine.dialect.connect

    def connect_with_setting(*arguments: Any, **options: Any) -> Any:
        connection = opened(*arguments, **options)
        if _is_on(connection):
            return connection
        connection.close()
        # The role, the database or these options turn it off; the last option counts.
        given = options.get("options") or os.environ.get("PGOPTIONS", "")
        try:
            connection = opened(*arguments, **{**options, "options": f"{given} -c {_SETTING}=on".strip()})
        except engine.dialect.loaded_dbapi.Error as error:
            if "unsupported startup parameter" not in str(error):
                raise
            raise ConfigurationError(_OFF) from error
        if _is_on(connection):
            return connection
        connection.close()
        raise ConfigurationError(_OFF)

    engine.dialect.connect = connect_with_setting  # type: ignore[method-assign]  # no event can replace a connection


def _is_on(connection: Any) -> bool:
    return bool(connection.get_parameter_status(_SETTING) == "on")
