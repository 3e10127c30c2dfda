"""The settings that a session may change, with other values for each. They are read from the server: new ones too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg2 import Error
from psycopg2.extensions import connection as Driver  # noqa: N812 - a class with a lower-case name

# Other values of settings of text, and of numbers for which the lowest and the highest value take too long or too much
# memory. The server rejects unknown ones, for example a locale that is not installed; these are skipped.
CHOSEN: dict[str, tuple[str, ...]] = {
    "DateStyle": ("SQL, DMY", "German", "Postgres, MDY"),
    "TimeZone": ("Asia/Kathmandu", "America/St_Johns", "Asia/Kolkata"),
    "application_name": ("another",),
    "createrole_self_grant": ("set, inherit",),
    "debug_parallel_query": ("on",),
    "default_text_search_config": ("pg_catalog.german", "pg_catalog.english"),
    "extra_float_digits": ("-15", "0", "3"),
    "geqo_effort": ("1",),
    "geqo_generations": ("1",),
    "geqo_pool_size": ("100",),
    "gin_fuzzy_search_limit": ("1", "2"),
    "lc_monetary": ("C", "de_DE.UTF-8"),
    "lc_numeric": ("C", "de_DE.UTF-8"),
    "lc_time": ("C", "de_DE.UTF-8"),
    "plpgsql.extra_errors": ("all",),
    "plpgsql.extra_warnings": ("all",),
    "search_path": ("", "pg_temp, public", "public, pg_catalog"),
    "synchronous_commit": ("remote_apply", "local"),
    "temp_buffers": ("100",),
    "temp_tablespaces": ("pg_default",),
    "timezone_abbreviations": ("Australia", "India"),
    "vacuum_cost_delay": ("1",),
    "work_mem": ("64", "1048576"),
}
# They end a statement or the connection, write to the log of the server, take effect before the first statement, or
# are how an operator chooses the storage of new tables.
WITHOUT_MEANING = {
    "client_connection_check_interval",
    "client_min_messages",
    "default_table_access_method",
    "default_tablespace",
    "default_toast_compression",
    "debug_pretty_print",
    "debug_print_parse",
    "debug_print_plan",
    "debug_print_raw_parse",
    "debug_print_rewritten",
    "exit_on_error",
    "icu_validation_level",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "local_preload_libraries",
    "lock_timeout",
    "log_parameter_max_length_on_error",
    "statement_timeout",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "trace_notify",
    "trace_sort",
    "transaction_timeout",
    "wal_sender_timeout",
}
# Of the running transaction, which has begun, and of the text between client and server.
OF_THE_TRANSACTION = {"client_encoding", "transaction_deferrable", "transaction_isolation", "transaction_read_only"}
# With another value a statement must fail or have the same result: each is changed alone.
REFUSING = {
    "default_transaction_read_only": "on",
    "restrict_nonsystem_relation_kind": "view, foreign-table",
    "row_security": "off",
}
# Only transactions with READ COMMITTED use and renew the stored cases of a user (sql/case_access.sql).
ISOLATION = {"default_transaction_isolation": "repeatable read"}
# Settings that matter only together: the limit applies to indexes, which small tables are not searched with.
TOGETHER = ({"gin_fuzzy_search_limit": "1", "enable_seqscan": "off"},)
SKIPPED = WITHOUT_MEANING | OF_THE_TRANSACTION | REFUSING.keys() | ISOLATION.keys()

_SETTINGS = """
SELECT name, vartype, setting, enumvals, min_val, max_val FROM pg_catalog.pg_settings
 WHERE context = 'user' ORDER BY name
"""


def other_values(connection: Driver) -> dict[str, list[str]]:
    """Return other values for each setting that this login may change.

    Fails for a setting of text without values in CHOSEN.
    """
    with connection.cursor() as cursor:
        cursor.execute("DO $$ BEGIN PERFORM 1; END $$")  # loads plpgsql, which then has settings
        cursor.execute(_SETTINGS)
        settings = [row for row in cursor.fetchall() if row[0] not in SKIPPED]
    connection.rollback()
    unknown = [name for name, kind, *_ in settings if kind == "string" and name not in CHOSEN]
    assert unknown == [], f"add other values to tests/security/setting_values.py: {unknown}"
    return {
        name: [value for value in _candidates(name, kind, present, limits) if _is_accepted(connection, name, value)]
        for name, kind, present, *limits in settings
    }


def _candidates(name: str, kind: str, present: str, limits: list[Any]) -> Iterator[str]:
    words, lowest, highest = limits
    candidates: tuple[str | None, ...]
    if name in CHOSEN:
        candidates = CHOSEN[name]
    elif kind == "bool":
        candidates = ("off" if present == "on" else "on",)
    elif kind == "enum":
        candidates = tuple(words or ())
    elif kind == "real":
        # Higher costs add up to infinity, with which the planner fails.
        candidates = (lowest, str(min(float(highest or 0), 1e6)))
    else:
        candidates = (lowest, highest)
    yield from (value for value in candidates if value is not None and value != present)


def _is_accepted(connection: Driver, name: str, value: str) -> bool:
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))
        except Error:
            return False
        finally:
            connection.rollback()
    return True


def batches(values: dict[str, list[str]], count: int) -> list[dict[str, str]]:
    """Return `count` sets of changed settings, so that each value of each setting is in at least one.

    In each set most settings are changed, and not the same ones: with all plans disabled, none would be. Fails if a
    setting has more values than sets.
    """
    assert max(len(others) for others in values.values()) < count
    found: list[dict[str, str]] = [{} for _ in range(count)]
    for place, (name, others) in enumerate(values.items()):
        for number, chosen in enumerate(found):
            # The place shifts the turn in which a setting has its default.
            turn = (number + place) % (len(others) + 1)
            if turn < len(others):
                chosen[name] = others[turn]
    for chosen in found:
        # Other settings raise the cost of every plan above that of compiling it, which takes much longer.
        chosen["jit"] = "off"
    return found
