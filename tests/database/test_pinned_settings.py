"""Settings that change what statements mean are the same in every transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select, text

from src.database import Case
from src.database.connection.engine import PoolOptions, make_engine
from src.database.connection.pinned_settings import pinned

# Of the settings that a login can change: reset by every transaction, or of the operator.
OF_THE_TRANSACTION = {
    "transaction_isolation": "read committed", "transaction_read_only": "off", "transaction_deferrable": "off",
}  # fmt: skip
IN_BEGIN = {"default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable"}
SET_BY_THE_LAYER = {"application_name", "client_encoding", "statement_timeout", "idle_in_transaction_session_timeout"}
# How fast, how patient, how talkative; never what a statement returns or stores.
ENDINGS_OF_PLANS = (
    "enable_", "geqo", "jit", "cpu_", "_cost", "parallel", "max_parallel", "_collapse_limit", "log_", "debug_", "tcp_",
    "vacuum_", "_buffers", "_mem", "effective_", "trace_", "track_", "min_parallel", "plpgsql.", "_timeout", "_usage",
    "io_", "_io_", "pg_trgm", "optimize_", "wal_", "hash_mem", "backtrace", "pg_stat_statements",
)  # fmt: skip
HARMLESS = {
    "backend_flush_after", "check_function_bodies", "client_connection_check_interval", "client_min_messages",
    "commit_siblings", "constraint_exclusion", "createrole_self_grant", "cursor_tuple_fraction",
    "default_statistics_target", "default_table_access_method", "default_tablespace", "default_toast_compression",
    "escape_string_warning", "file_copy_method", "icu_validation_level", "ignore_system_indexes",
    "local_preload_libraries", "password_encryption", "plan_cache_mode", "post_auth_delay",
    "recursive_worktable_factor",
    "session_replication_role", "stats_fetch_consistency", "synchronize_seqscans", "synchronous_commit",
    "temp_file_limit", "temp_tablespaces", "transaction_timeout", "commit_delay", "lo_compat_privileges",
    "update_process_title", "gin_pending_list_limit", "md5_password_warnings", "scram_iterations",
    "zero_damaged_pages", "event_triggers", "allow_system_table_mods",
}  # fmt: skip
OTHERS = {
    "search_path": "pg_temp, other", "DateStyle": "German", "IntervalStyle": "iso_8601", "TimeZone": "Asia/Kathmandu",
    "timezone_abbreviations": "India", "standard_conforming_strings": "off", "backslash_quote": "on",
    "transform_null_equals": "on", "array_nulls": "off", "bytea_output": "escape", "extra_float_digits": "-15",
    "xmlbinary": "hex", "xmloption": "document", "default_text_search_config": "pg_catalog.german",
    "gin_fuzzy_search_limit": "1", "quote_all_identifiers": "on", "row_security": "off", "exit_on_error": "on",
    "lc_monetary": "C.UTF-8", "lc_numeric": "C.UTF-8", "lc_time": "C.UTF-8",
    "restrict_nonsystem_relation_kind": "view",
    "default_transaction_isolation": "serializable", "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
}  # fmt: skip


def test_every_setting_that_a_login_can_change_is_pinned_or_harmless(db, owner):
    with owner.connect() as connection:
        names = set(connection.scalars(text("SELECT name FROM pg_settings WHERE context = 'user'")))
        version = connection.connection.dbapi_connection.server_version
    known = {*pinned(version), *OF_THE_TRANSACTION, *IN_BEGIN, *SET_BY_THE_LAYER, *HARMLESS}
    unknown = {name for name in names - known if not any(part in name for part in ENDINGS_OF_PLANS)}
    assert unknown == set(), "does it change what a statement means? pin it, or list it as harmless"
    assert {name.lower() for name in pinned(version)} <= {name.lower() for name in names}
    assert OTHERS.keys() == {*pinned(version), *IN_BEGIN}


@contextmanager
def set_everywhere(owner, where: str, target: str) -> Iterator[None]:
    with owner.connect() as connection:
        version = connection.connection.dbapi_connection.server_version
    chosen = {name: value for name, value in OTHERS.items() if name in {*pinned(version), *IN_BEGIN}}
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name, value in chosen.items():
            as_text = value if name == "search_path" else f"'{value}'"
            connection.exec_driver_sql(f"ALTER {where} {target} SET {name} = {as_text}")
    try:
        yield
    finally:
        with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"ALTER {where} {target} RESET ALL")


def settings_of(connection):
    version = connection.connection.dbapi_connection.server_version
    expected = {**pinned(version), **OF_THE_TRANSACTION}
    return {name: connection.scalar(text(f"SHOW {name}")) for name in expected}, expected


# Read as another text, or as SQL, where the driver and the server disagree about backslashes.
TEXTS = (r"a\b 'c'", "\\", r"\'", r"\' || current_user --", r"\\' || current_user --", r"\x41 \101 \n", "'", "''\\")


def require_texts(connection):
    """Every text arrives as it is, as a parameter and as a part of a list."""
    for value in TEXTS:
        assert connection.scalar(text("SELECT CAST(:value AS text)"), {"value": value}) == value
    assert connection.scalar(text("SELECT CAST(:values AS text[])"), {"values": list(TEXTS)}) == list(TEXTS)
    assert connection.scalar(text("SELECT CAST(:value AS bytea)"), {"value": b"\\'\x00"}).tobytes() == b"\\'\x00"


def require_pinned(db, owner_url):
    with db.session(actor="alice") as session:
        found, expected = settings_of(session.connection())
        assert found == expected
        require_texts(session)
        session.add(Case(title=r"a\b 'c'"))
    with db.session(actor="alice") as session:
        assert session.scalars(select(Case.title)).all() == [r"a\b 'c'"]
    engine = make_engine(owner_url, PoolOptions(size=1))
    try:
        for _ in range(2):
            with engine.begin() as connection:
                found, expected = settings_of(connection)
                assert found == expected
                require_texts(connection)
    finally:
        engine.dispose()


@pytest.mark.parametrize("place", ["database", "owner", "options", "environment"])
def test_settings_of_others_change_nothing(speech_server, owner, owner_url, place, monkeypatch):
    startup = " ".join(
        f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in OTHERS.items()
        if name != "restrict_nonsystem_relation_kind"
    )  # fmt: skip
    database = owner_url.database
    if place == "environment":
        monkeypatch.setenv("PGOPTIONS", startup)
        url = owner_url
    elif place == "options":
        url = owner_url.update_query_dict({"options": startup})
    else:
        url = owner_url
    if place in {"options", "environment"}:
        with speech_server.database(url) as db:
            require_pinned(db, url)
        return
    where, target = ("DATABASE", database) if place == "database" else ("ROLE", str(owner_url.username))
    with set_everywhere(owner, where, target), speech_server.database(url) as db:
        require_pinned(db, url)


def test_a_schema_named_like_the_login_shadows_nothing(speech_server, owner, owner_url):
    logins = [str(owner_url.username), speech_server.keys.login]
    with owner.begin() as connection:
        for login in logins:
            connection.execute(text(f'CREATE SCHEMA "{login}"'))
            connection.execute(text(f'CREATE TABLE "{login}".cases (id int)'))
            connection.execute(text(f'GRANT ALL ON SCHEMA "{login}" TO PUBLIC'))
    engine = make_engine(owner_url, PoolOptions(size=1))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 'cases'::regclass = 'public.cases'::regclass"))
        assert connection.scalar(text("SELECT current_schema()")) == "public"
    engine.dispose()
    with speech_server.database(owner_url) as db, db.session(actor="alice") as session:
        assert session.scalar(text("SELECT 'cases'::regclass = 'public.cases'::regclass"))
