"""No setting changes what a function means: neither on the connection that changed it, nor on one that it warmed.

PL/pgSQL reads an expression when a connection first evaluates it, under the settings of that moment, and keeps the
result: a session that changed a setting could change what the functions do for later users of its connection.

Every call of `function_calls.py` runs on a connection that changed settings before the first call, and again on the
same connection after RESET ALL. Both must have the results of a connection that changed nothing. Many settings are
changed at once; if a result differs, the settings that cause it are found by halving.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import psycopg2.errors
import pytest
from psycopg2.extensions import connection as Driver  # noqa: N812 - a class with a lower-case name
from sqlalchemy import URL, create_engine, text

from src.database.connection.engine import PoolOptions, connect_arguments, make_engine
from src.database.schema import SESSION_ROLES, functions
from src.database.testing import SpeechServer
from src.storage import MemoryStorage
from tests.declared import DERIVED
from tests.security.function_calls import VISIBLE_CASES, Call, calls, prepare
from tests.security.population import Populated, populate
from tests.security.setting_values import ISOLATION, REFUSING, TOGETHER, batches, other_values

Result = tuple[Any, ...]
# The settings are changed in this many sets.
SETS = 4
# Errors that calls expect: of this layer, of privileges, and of CHECKs.
REFUSALS = {"STI01", "STI02", "42501", "22023", "23503", "23505", "23514", "P0002", "22008"}
NEW_HASH, RENEWED_HASH = "bcrypt:$2b$12$new", r"bcrypt:$2b$\x"

# What the calls have written to the log, with times and random values replaced by whether they have the expected form.
# Only built-in functions.
WRITTEN = r"""
SELECT l.entity, l.operation, t.code, l.actor, l.case_id, l.reason, l.request_id,
       (SELECT jsonb_object_agg(e.key, CASE WHEN e.key ~ '(_at|_after|last_login)$' AND e.value <> 'null'
                   THEN to_jsonb(e.value #>> '{}' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9.:]+[+]00:00$')
                   WHEN e.value #>> '{}' ~ '^sha256:[0-9a-f]{64}$|until [0-9-]{10} [0-9:]{8} UTC$'
                        OR e.key IN ('opened_xid', 'entries')
                   THEN '"hidden"' ELSE e.value END)
          FROM (SELECT * FROM jsonb_each(l.new)
                 UNION ALL SELECT 'old.' || o.key, o.value FROM jsonb_each(l.old) o) e)::text,
       coalesce(sha256(l.salt || convert_to(jsonb_build_object('new', l.new, 'old', l.old)::text, 'UTF8'))
                = l.payload_hash, l.old IS NULL AND l.new IS NULL),
       sha256(decode('00', 'hex') || convert_to(jsonb_build_array(l.id,
           (extract(epoch FROM l.created_at) * 1000000)::bigint, l.activity_type_id, l.actor_id, l.actor,
           l.case_id, l.entity, l.entity_id, l.operation, l.reason, l.request_id, l.transaction_id::text, l.epoch,
           l.schema_revision)::text, 'UTF8') || l.payload_hash) = l.leaf_hash
  FROM public.activity_logs l JOIN public.activity_types t ON t.id = l.activity_type_id
 WHERE l.transaction_id = pg_current_xact_id() ORDER BY l.id
"""

DEFINITIONS = """
SELECT oid, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'
 UNION ALL SELECT polrelid, concat_ws(' ', polname, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
             FROM pg_policy
 UNION ALL SELECT tgrelid, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
"""
SEQUENCES = """
SELECT 'SELECT ' || string_agg(format('setval(%L, %s, %L)', format('%I.%I', schemaname, sequencename),
                                      coalesce(last_value, start_value), last_value IS NOT NULL), ', ')
  FROM pg_sequences
"""
# The monthly partitions of the log, which the owner created.
BOUNDS = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), c.reltablespace FROM pg_class c
 WHERE c.relname LIKE 'activity_logs%' AND c.relispartition AND c.relkind = 'r' ORDER BY 1
"""


@dataclass
class Stage:
    """A populated database and its calls."""

    populated: Populated
    calls: list[Call]
    values: dict[str, Any]
    login_url: str
    owner_url: str
    sequences: str

    def connect(self, url: str) -> Driver:
        return psycopg2.connect(url, **connect_arguments(PoolOptions()))

    def rewind(self) -> None:
        """Set all sequences to where they were, so that new rows have the same ids in every run."""
        with self.populated.owner.begin() as connection:
            connection.exec_driver_sql(self.sequences)


@pytest.fixture(scope="module")
def stage(speech_server: SpeechServer) -> Iterator[Stage]:
    with speech_server.copy() as url:
        owner = make_engine(url, PoolOptions(size=2))
        with speech_server.database(url, storage=MemoryStorage()) as db, login_of_all_roles(speech_server) as login:
            populated = populate(db, owner)
            values = {**prepare(populated), "new_hash": NEW_HASH, "renewed_hash": RENEWED_HASH}
            with owner.connect() as connection:
                sequences = connection.scalar(text(SEQUENCES))
            yield Stage(
                populated, calls(), values, address(url.set(username=login, password="x")), address(url), sequences
            )
        owner.dispose()


@contextmanager
def login_of_all_roles(server: SpeechServer) -> Iterator[str]:
    """Create a login for members and administrators, so that one connection calls functions as either."""
    login, engine = f"sti_test_calls_{os.getpid()}", make_engine(server.maintenance, PoolOptions(size=1))
    with engine.begin() as connection:
        roles = ", ".join(SESSION_ROLES)
        connection.execute(text(f"CREATE ROLE {login} LOGIN NOINHERIT PASSWORD 'x' IN ROLE {roles}"))
    yield login
    with engine.begin() as connection:
        connection.execute(text(f"DROP ROLE {login}"))
    engine.dispose()


def address(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


class Person:
    """A connection of the login or of the owner, which calls functions as one actor after the other."""

    def __init__(self, stage: Stage, url: str) -> None:
        self.stage = stage
        self.driver = stage.connect(url)
        self.is_owner = url == stage.owner_url
        self.actor: str | None = None
        self.started = 0

    def change(self, settings: dict[str, str]) -> None:
        """Change settings for the connection, before its first statement with a function of this layer."""
        with self.driver.cursor() as cursor:
            for name, value in settings.items():
                cursor.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
        self.driver.commit()

    def begin(self) -> None:
        self.actor = None
        with self.driver.cursor() as cursor:
            cursor.execute("SELECT (extract(epoch FROM pg_catalog.now()) * 1000000)::bigint")
            self.started = cursor.fetchone()[0]

    def become(self, actor: str) -> None:
        if actor == self.actor:
            return
        self.actor = actor
        with self.driver.cursor() as cursor:
            cursor.execute("RESET ROLE")
            name = actor.removeprefix("owner").removeprefix(":")
            token = self._token("session", name) if name else None
            cursor.execute("SELECT database_role FROM public.begin_actor(%s, %s, %s)", (token, r"reas\on", "R'1"))
            (role,) = cursor.fetchone()
            if not self.is_owner:
                cursor.execute("SELECT pg_catalog.set_config('role', %s, true)", (role,))

    def call(self, call: Call) -> Result:
        """Return the result in the binary format, which no setting affects, or the error."""
        written = io.BytesIO()
        with self.driver.cursor() as cursor:
            try:
                cursor.execute("SAVEPOINT before")
                self.become(call.actor)
                query = cursor.mogrify(call.query, {**self.stage.values, **self._tokens()}).decode()
                if query.startswith("SET "):
                    cursor.execute(query)
                else:
                    cursor.copy_expert(f"COPY ({query}) TO STDOUT WITH (FORMAT binary)", written)
                cursor.execute("RELEASE SAVEPOINT before")
                return ("rows", written.getvalue())
            except psycopg2.Error as error:
                if error.pgcode is None:
                    raise
                cursor.execute("ROLLBACK TO SAVEPOINT before")
                self.actor = None
                return ("error", error.pgcode, error.diag.message_primary)

    def written(self) -> Result:
        """Return what the calls wrote to the log, read with the default settings."""
        with self.driver.cursor() as cursor:
            cursor.execute("RESET ROLE; RESET ALL; SET TIME ZONE 'UTC'")
            self.actor = None
            self.become("owner" if self.is_owner else "root")
            cursor.execute(WRITTEN)
            entries = cursor.fetchall()
            cursor.execute(BOUNDS)
            return (*entries, *cursor.fetchall())

    def executed(self) -> set[str]:
        with self.driver.cursor() as cursor:
            cursor.execute(
                "SELECT funcname::text FROM pg_catalog.pg_stat_xact_user_functions WHERE schemaname = 'public'"
            )
            return {name for (name,) in cursor.fetchall()}

    def close(self) -> None:
        self.driver.close()

    def _token(self, purpose: str, subject: str) -> str:
        key, pid = self.stage.populated.db.signing_key, self.driver.info.backend_pid
        return key.token(purpose, subject, backend_pid=pid, started=self.started)

    def _tokens(self) -> dict[str, str]:

        def digest(hashed: str) -> str:
            return sha256(hashed.encode()).hexdigest()

        return {
            "login_token": self._token("login", "alice"),
            "reads_token": self._token("reads", str(self.stage.values["alice"])),
            "password_token": self._token("password", f"{digest(NEW_HASH)} alice"),
            "failed_token": self._token("outcome", f"failed {digest('')} alice"),
            "early_token": self._token("outcome", f"early {digest('')} alice"),
            "renewed_token": self._token("outcome", f"succeeded {digest(RENEWED_HASH)} alice"),
        }


class People:
    """Two new connections, of the login and of the owner."""

    def __init__(self, stage: Stage, settings: dict[str, str]) -> None:
        self.stage = stage
        self.login, self.owner = Person(stage, stage.login_url), Person(stage, stage.owner_url)
        for person in (self.login, self.owner):
            person.change(settings)

    def run(self, executed: set[str] | None = None) -> dict[int, Result]:
        """Run the calls, in one transaction of each connection, which is rolled back.

        `executed` receives the names of executed functions, where the server counts them.
        """
        results: dict[int, Result] = {}
        for place, person in enumerate((self.login, self.owner), 1):
            self.stage.rewind()
            person.begin()
            for number, call in enumerate(self.stage.calls):
                if call.actor.startswith("owner") == person.is_owner:
                    results[number] = person.call(call)
            results[-place] = person.written()
            if executed is not None:
                executed |= person.executed()
            person.driver.rollback()
        return results

    def reset(self) -> None:
        for person in (self.login, self.owner):
            with person.driver.cursor() as cursor:
                cursor.execute("RESET ALL")
            person.driver.commit()

    def close(self) -> None:
        for person in (self.login, self.owner):
            person.close()


WHILE, AFTERWARDS = "while it is changed", "on a connection that was warmed with it"


def differences(stage: Stage, expected: dict[int, Result], settings: dict[str, str]) -> list[str]:
    """Return the calls whose result differs with these settings, or afterwards on the same connection."""
    with closing(People(stage, settings)) as people:
        found = compared(stage, expected, people.run(), WHILE)
        people.reset()
        return found + compared(stage, expected, people.run(), AFTERWARDS)


def compared(stage: Stage, expected: dict[int, Result], results: dict[int, Result], when: str) -> list[str]:
    return [
        described(stage, number, when, expected[number], result)
        for number, result in results.items()
        if result != expected[number]
    ]


def described(stage: Stage, number: int, when: str, expected: Result, result: Result) -> str:
    if number < 0:
        pairs = [pair for pair in zip(expected, result, strict=False) if pair[0] != pair[1]]
        first = pairs[0] if pairs else (expected, result)
        return f"{when}: the log of the {('login', 'owner')[-number - 1]}: {shortened(*first)}"
    call = stage.calls[number]
    return f"{when}: {call.actor}: {call.query}: {shortened(expected, result)}"


def shortened(expected: Result, result: Result) -> str:
    """Return both results from the first difference on."""
    first, second = (str(each) for each in (expected, result))
    start = max(0, next((n for n, pair in enumerate(zip(first, second, strict=False)) if len(set(pair)) > 1), 0) - 40)
    return f"{second[start : start + 200]} instead of {first[start : start + 200]}"


def causes(stage: Stage, expected: dict[int, Result], settings: dict[str, str], found: list[str]) -> list[str]:
    """Return the smallest sets of settings that halving finds, each with one of the differences that it causes."""
    items = list(settings.items())
    named = []
    for half in (dict(items[: len(items) // 2]), dict(items[len(items) // 2 :])) if len(items) > 1 else ():
        different = differences(stage, expected, half)
        if different:
            named += causes(stage, expected, half, different)
    # If neither half has a difference, only both together have one.
    return named or [f"{settings}\n    {found[0]}"]


def require_equal(stage: Stage, expected: dict[int, Result], settings: dict[str, str]) -> None:
    different = differences(stage, expected, settings)
    if different:
        named = causes(stage, expected, settings, different)
        pytest.fail("\n".join(["settings change the meaning of functions; pin them with SET:", *named]))


@pytest.fixture(scope="module")
def expected(stage: Stage) -> dict[int, Result]:
    with closing(People(stage, {})) as people:
        return people.run()


@pytest.fixture(scope="module")
def values(stage: Stage) -> dict[str, list[str]]:
    with closing(stage.connect(stage.login_url)) as driver:
        return other_values(driver)


@contextmanager
def of_database(stage: Stage, server: SpeechServer, name: str, value: str) -> Iterator[None]:
    """Set a setting that only a superuser may change, for new connections to the database of the stage."""
    engine = create_engine(server.maintenance, isolation_level="AUTOCOMMIT")
    database = stage.populated.owner.url.database
    with engine.connect() as connection:
        if not connection.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")):
            pytest.skip("the server of this run has no superuser")
        connection.exec_driver_sql(f"ALTER DATABASE {database} SET {name} = {value}")
        try:
            yield
        finally:
            connection.exec_driver_sql(f"ALTER DATABASE {database} RESET {name}")
            engine.dispose()


def test_every_function_has_a_call(stage: Stage):
    called = set().union(*(call.functions for call in stage.calls))
    missing = [
        each.name for each in functions() if each.name not in called and "RETURNS trigger" not in each.definition
    ]
    assert missing == [], "add calls to tests/security/function_calls.py"


def test_every_trigger_function_is_executed_by_a_call(stage: Stage, speech_server: SpeechServer):
    executed: set[str] = set()
    with of_database(stage, speech_server, "track_functions", "'all'"), closing(People(stage, {})) as people:
        people.run(executed)
    triggers = {each.name for each in functions() if "RETURNS trigger" in each.definition}
    assert sorted(triggers - executed) == [], "add rows that fire them to tests/security/function_calls.py"


def test_the_calls_have_equal_results_on_equal_connections(stage: Stage, expected: dict[int, Result]):
    """Otherwise a difference would not show an influence of settings."""
    assert differences(stage, expected, {}) == []
    assert [number for number, result in expected.items() if result[0] == "error" and result[1] not in REFUSALS] == []


@pytest.mark.parametrize("number", range(SETS))
def test_settings_do_not_change_what_functions_mean(
    stage: Stage, expected: dict[int, Result], values: dict[str, list[str]], number: int
):
    require_equal(stage, expected, batches(values, SETS)[number])


@pytest.mark.parametrize("settings", TOGETHER)
def test_settings_do_not_matter_together(stage: Stage, expected: dict[int, Result], settings: dict[str, str]):
    assert differences(stage, expected, settings) == []


def test_no_actor_begins_in_another_isolation(stage: Stage, expected: dict[int, Result]):
    """The engines of this layer state the isolation in BEGIN; a program that does not is refused."""
    with pytest.raises(psycopg2.errors.InvalidTransactionState, match="are READ COMMITTED, not REPEATABLE READ"):
        differences(stage, expected, ISOLATION)


@pytest.mark.parametrize("name", REFUSING)
def test_settings_that_make_statements_fail_leave_nothing(stage: Stage, expected: dict[int, Result], name: str):
    with stage.populated.owner.connect() as connection:
        if connection.scalar(text("SELECT current_setting(:name, true)"), {"name": name}) is None:
            pytest.skip(f"this server does not have the setting {name}")
    with closing(People(stage, {name: REFUSING[name]})) as people:
        changed = people.run()
        people.reset()
        assert compared(stage, expected, people.run(), AFTERWARDS) == []
    for number, call in enumerate(stage.calls):
        # The rows are never visible: a statement fails if row security would hide any.
        if name == "row_security" and call.query == VISIBLE_CASES:
            assert changed[number][:2] == ("error", "42501")


@pytest.mark.parametrize("value", ["use_variable", "use_column"])
def test_names_of_columns_and_variables_are_never_ambiguous(
    stage: Stage, speech_server: SpeechServer, expected: dict[int, Result], value: str
):
    with of_database(stage, speech_server, "plpgsql.variable_conflict", value), closing(People(stage, {})) as people:
        assert compared(stage, expected, people.run(), WHILE) == []


def test_settings_of_the_owner_do_not_change_what_it_creates(stage: Stage, values: dict[str, list[str]]):
    """Expressions of functions, policies and triggers are read when they are created."""
    defaults = created(stage, {})
    for number in range(SETS):
        changed = created(stage, batches(values, SETS)[number])
        assert [each for each in changed if each not in defaults] == []


def created(stage: Stage, settings: dict[str, str]) -> list[tuple[Any, ...]]:
    """Create functions, policies and triggers under these settings; return their definitions, and roll back."""
    with closing(Person(stage, stage.owner_url)) as person, person.driver.cursor() as cursor:
        person.change(settings)
        cursor.execute("SET LOCAL check_function_bodies = off")
        for function in functions():
            cursor.execute(function.create())
        for table in DERIVED:
            for each in (*table.triggers, *table.policies):
                cursor.execute(each.create())
        cursor.execute("RESET ALL; SET LOCAL search_path = pg_catalog")
        cursor.execute(DEFINITIONS)
        found = cursor.fetchall()
        person.driver.rollback()
        return found
