"""Settings of PostgreSQL that change what statements mean: the same on every connection.

A role, the database, PGOPTIONS or `options=` of a URL can set them; RESET ALL restores those values. Startup options
do not work behind PgBouncer, so they are set after connecting, and for sessions again in every transaction.
`tests/database/test_pinned_settings.py` lists all other settings that a login can change, and why they are left alone.
"""

from __future__ import annotations

from typing import Any

from src.database.connection.transaction_rules import DATE_STYLE

# Isolation and access mode of a transaction are part of the BEGIN that the driver sends.
ISOLATION = "READ COMMITTED"

# pg_temp comes last, so that a temporary table cannot hide a table of this layer; without "$user", no schema with the
# name of the login can either.
PINNED = {
    "search_path": "public, pg_temp",
    "DateStyle": DATE_STYLE,
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "xmlbinary": "base64",
    "xmloption": "content",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "quote_all_identifiers": "off",  # before the next one, which is stored quoted otherwise
    "default_text_search_config": "pg_catalog.simple",
    "gin_fuzzy_search_limit": "0",
    "row_security": "on",
    "exit_on_error": "off",
    "restrict_nonsystem_relation_kind": "",
}


# Reads a file of the server each time, which takes as long as all the others: in transactions only where it differs.
_SLOW = "timezone_abbreviations"


def pinned(server_version: int, *, slow: bool = True) -> dict[str, str]:
    """Return the settings that a server of this version has."""
    found = {name: value for name, value in PINNED.items() if slow or name != _SLOW}
    # Added by minor releases: 15.8, 16.4.
    if server_version < 150_008 or 160_000 <= server_version < 160_004:
        del found["restrict_nonsystem_relation_kind"]
    return found


def set_locally(server_version: int, *, slow: bool) -> str:
    """Return the calls that pin the settings for the rest of the transaction, as a list of columns."""
    return _calls(pinned(server_version, slow=slow), local="true")


def pin(connection: Any) -> None:
    """Pin the settings of a new connection of the driver, for the transactions of owners and for those of sessions."""
    connection.readonly = connection.deferrable = False
    with connection.cursor() as cursor:
        calls = _calls(pinned(connection.server_version), local="false")
        cursor.execute(f"SELECT pg_catalog.current_setting('{_SLOW}'), {calls}")
        connection.pins_slow = cursor.fetchone()[0] != PINNED[_SLOW]
    connection.commit()


def _calls(settings: dict[str, str], *, local: str) -> str:
    return ", ".join(f"pg_catalog.set_config('{name}', '{value}', {local})" for name, value in settings.items())
