"""Attempts to read: random queries by every means that a session has."""

from __future__ import annotations

import io

from psycopg2.extensions import connection as Driver  # noqa: N812 - a class with a lower-case name
from sqlalchemy import Connection, func, select, text

from src.database import Base
from src.database.connection.actor_tokens import Actor
from src.database.schema import SESSION_ROLES
from tests.security.hostile import REFUSED, Intruder
from tests.security.population import CASE_TABLES, MODELS, case_column

PRELUDES = (
    "RESET ROLE",
    *(f"SET LOCAL ROLE {role}" for role in SESSION_ROLES),
    "SET LOCAL ROLE NONE",
    "SET LOCAL row_security = off",
    "SET LOCAL enable_seqscan = off",
    "SET LOCAL enable_indexscan = off",
    "SET LOCAL plan_cache_mode = force_generic_plan",
    "SET LOCAL client_min_messages = debug1",
    "SET LOCAL debug_print_plan = on",
    "SET LOCAL search_path = pg_temp, public",
    "SET LOCAL search_path = ''",
    "SET LOCAL plpgsql.extra_errors = 'all'",
    "SET LOCAL transform_null_equals = on",
    "SET LOCAL standard_conforming_strings = off",
    "SET SESSION AUTHORIZATION DEFAULT",
    "SELECT set_config('sti.actor', '', true)",
)


# What the catalogs, the statistics and the files of the server could show.
CATALOG_READS = (
    "SELECT * FROM pg_stats", "SELECT * FROM pg_stats_ext", "SELECT * FROM pg_statistic",
    "SELECT * FROM pg_stat_user_tables", "SELECT * FROM pg_statio_user_indexes", "SELECT * FROM pg_locks",
    "SELECT * FROM pg_cursors", "SELECT * FROM pg_prepared_statements", "SELECT * FROM pg_prepared_xacts",
    "SELECT * FROM pg_settings", "SELECT * FROM pg_sequences", "SELECT * FROM pg_stat_activity",
    "SELECT * FROM information_schema.column_options", "SELECT * FROM pg_largeobject",
    "SELECT lo_get(oid) FROM pg_largeobject_metadata", "SELECT * FROM pg_stat_progress_copy",
    "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef", "SELECT * FROM pg_shseclabel",
    "SELECT query_to_xml('SELECT * FROM cases', true, true, '')",
    "SELECT table_to_xml('case_notes', true, true, '')", "SELECT schema_to_xml('public', true, true, '')",
    "SELECT database_to_xml(true, true, '')",
    "SELECT * FROM ts_stat('SELECT search FROM transcription_segments')",
    "SELECT * FROM cursor_to_xml('h', 99, true, true, '')", "SELECT currval('cases_id_seq')",
    "SELECT last_value FROM cases_id_seq", "SELECT pg_read_file('postgresql.conf')",
    "SELECT * FROM pg_ls_logdir()", "SELECT heap_page_items(get_raw_page('cases', 0))",
)  # fmt: skip


def column_of(table: str) -> str:
    return case_column(Base.metadata.tables[table]) or "id"


def prepare(intruder: Intruder, connection: Connection) -> None:
    for _ in range(intruder.pick(0, 0, 1, 2)):
        intruder.ask(connection, intruder.pick(*PRELUDES))


def random_query(intruder: Intruder) -> tuple[str, bool]:
    """Return a random SELECT, and whether it concerns only the other case."""
    table = intruder.pick(*CASE_TABLES)
    case, guess, other = column_of(table), intruder.guess(table), intruder.stage.other
    columns = [c.name for c in Base.metadata.tables[table].columns]
    where, foreign = intruder.pick(
        ("true", False),
        (f"{case} = {other}", True),
        (f"{case} IN (SELECT id FROM public.cases) OR {case} = {other}", False),
        (f"t.id = {guess} AND {case} = {other}", True),
        ("t.id BETWEEN 0 AND 100000", False),
        ("t::text LIKE '%secret%'", False),
        (f"t::text ~ '.*common.*' AND {case} = {other}", True),
        (f"1 / (t.id - {guess}) > -9", False),
        (f"(CASE WHEN t.id = {guess} AND {case} = {other} THEN t::text ELSE '1' END)::int > 0", False),
        (f"(CASE WHEN {case} = {other} THEN t::text ELSE '2020-01-01' END)::date IS NOT NULL", False),
    )
    what = intruder.pick("*", "to_jsonb(t)", "count(*)", "string_agg(t::text, '|')", "max(t.id)", "t.ctid, t.tableoid",
                         "row_to_json(t)", f"t.{intruder.pick(*columns)}", f"min(t.{case})", "t::text")  # fmt: skip
    whole = what.startswith(("count", "string", "max", "min"))
    order = "" if whole else intruder.pick("", f"ORDER BY {intruder.pick(*columns)}", "ORDER BY random()", "LIMIT 99")
    sample = intruder.pick("", "", "TABLESAMPLE SYSTEM (100)") if table != "activity_logs" else ""
    plain = f"SELECT {what} FROM public.{table} t {sample} WHERE {where} {order}"
    shape = intruder.pick(
        "{0}",
        "SELECT * FROM ({0}) x",
        "WITH x AS MATERIALIZED ({0}) SELECT * FROM x",
        "({0}) UNION ALL ({0})",
        "SELECT x.* FROM generate_series(1, 2) g CROSS JOIN LATERAL ({0}) x",
        "SELECT x.* FROM public.users u JOIN LATERAL ({0}) x ON u.is_active",
        # An aggregate always returns a row.
        "{0}" if whole else "SELECT EXISTS ({0})",
    )
    return shape.format(plain), foreign


def read(intruder: Intruder) -> None:
    sql, foreign = random_query(intruder)
    with intruder.transaction() as connection:
        prepare(intruder, connection)
        rows = intruder.ask(connection, sql)
        if foreign:
            intruder.expect_nothing(rows or ())


def read_with_the_driver(intruder: Intruder) -> None:
    """Read with the driver's own cursors: plain, server-side, held beyond the end of the transaction."""
    sql, _ = random_query(intruder)
    with intruder.transaction() as connection:
        prepare(intruder, connection)
        driver: Driver = connection.connection.dbapi_connection
        way = intruder.pick("plain", "named", "held", "notice", "explain", "prepared", "copy", "copy into")
        with driver.cursor(*(["mine"] if way == "named" else [])) as cursor:
            try:
                if way == "copy":
                    copied = io.StringIO()
                    cursor.copy_expert(f"COPY ({sql}) TO STDOUT", copied)
                    intruder.check(copied.getvalue())
                elif way == "copy into":
                    table = intruder.pick(*CASE_TABLES)
                    cursor.copy_expert(f"COPY public.{table} ({column_of(table)}) FROM STDIN",
                                       io.StringIO(f"{intruder.stage.other}\n"))  # fmt: skip
                    intruder.report(f"copied into {table}")
                else:
                    cursor.execute(
                        {
                            "held": f"DECLARE h CURSOR WITH HOLD FOR {sql}; COMMIT; FETCH ALL FROM h",
                            "notice": f"DO $do$ DECLARE r record; BEGIN FOR r IN {sql} LOOP RAISE NOTICE '%', r;"
                            " END LOOP; END $do$",
                            "explain": f"EXPLAIN (ANALYZE, VERBOSE, BUFFERS, SETTINGS) {sql}",
                            "prepared": f"PREPARE q AS {sql}; EXECUTE q",
                        }.get(way, sql)
                    )
                    intruder.check(*(cursor.fetchall() if way != "notice" else ()))
            finally:
                intruder.check(*driver.notices)
                driver.notices.clear()
                if way == "prepared":
                    driver.rollback()
                    with driver.cursor() as after:
                        after.execute("DEALLOCATE ALL")


def read_by_orm(intruder: Intruder) -> None:
    table = intruder.pick(*(t for t in CASE_TABLES))
    model = MODELS[table]
    query = select(model).where(intruder.pick(model.id == intruder.guess(table), text("true")))
    try:
        with intruder.stage.db.session(actor=intruder.name, required=False) as session:
            for thing in session.scalars(query.order_by(intruder.pick(model.id, text("1 DESC")))):
                intruder.check(thing, tuple(vars(thing).values()))
            intruder.expect_nothing([(session.get(model, intruder.guess(table)),)] if table != "activity_logs" else ())
            counted = select(func.count()).select_from(model)
            intruder.expect_nothing([(session.scalar(counted.where(model.id.in_(intruder.stage.rows[table]),
                                     getattr(model, column_of(table)) == intruder.stage.other)),)])  # fmt: skip
    except REFUSED as error:
        intruder.check(error)


LEAK = """CREATE FUNCTION pg_temp.leak(value text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 {options} AS $f$
BEGIN RAISE NOTICE 'leaked %', value; IF value LIKE '%kanari%' THEN RAISE EXCEPTION 'leaked %', value; END IF;
RETURN true; END $f$"""


def create_temporary_objects(intruder: Intruder) -> None:
    """Create temporary views, tables, functions and triggers that shadow ours or read from them."""
    table, (sql, _) = intruder.pick(*CASE_TABLES), random_query(intruder)
    with intruder.transaction() as connection:
        made = intruder.pick("view", "barrier", "table", "leak", "definer", "shadow", "trigger", "matview")
        if made in {"view", "barrier"}:
            options = "WITH (security_barrier)" if made == "barrier" else ""
            intruder.ask(connection, f"CREATE TEMP VIEW mine {options} AS SELECT t::text FROM public.{table} t")
            intruder.ask(connection, "SELECT * FROM pg_temp.mine")
        elif made in {"table", "matview"}:
            kind = "TEMP TABLE" if made == "table" else "MATERIALIZED VIEW"
            intruder.ask(connection, f"CREATE {kind} mine AS SELECT t::text FROM public.{table} t")
            intruder.ask(connection, "SELECT * FROM mine")
        elif made in {"leak", "definer"}:
            intruder.ask(connection, LEAK.format(options="SECURITY DEFINER" if made == "definer" else ""))
            intruder.ask(connection, f"SELECT count(*) FROM public.{table} t WHERE pg_temp.leak(t::text)")
            intruder.ask(connection, f"SELECT id FROM public.{table} t ORDER BY pg_temp.leak(t::text)")
            intruder.ask(connection, f"UPDATE public.{table} t SET id = id WHERE pg_temp.leak(t::text)")
        elif made == "shadow":
            # A table that makes every user an owner of the case, for code that resolves names in pg_temp first.
            intruder.ask(connection, "CREATE TEMP TABLE case_participants AS SELECT c.id AS case_id, u.id AS user_id,"
                         " 'owner' AS role, '{}'::jsonb AS permissions, NULL::timestamptz AS expires_at"
                         f" FROM users u, (VALUES ({intruder.stage.other}::bigint)) c (id)")  # fmt: skip
            intruder.ask(connection, "CREATE FUNCTION pg_temp.actor_case_ids() RETURNS integer[]"
                         f" LANGUAGE sql AS 'SELECT ARRAY[{intruder.stage.other}]'")  # fmt: skip
            intruder.ask(connection, "SET LOCAL search_path = pg_temp, public, pg_catalog")
            intruder.ask(connection, sql)
            intruder.ask(connection, "SELECT * FROM search_page('common', '{}')")
        else:
            function = intruder.pick("capture_change", "adopt_object", "own_case", "release_object", "announce_hold")
            intruder.ask(connection, f"CREATE TEMP TABLE {table} AS SELECT * FROM public.{table} WITH NO DATA")
            intruder.ask(connection, f"CREATE TRIGGER forge AFTER INSERT ON pg_temp.{table} FOR EACH ROW"
                         f" EXECUTE FUNCTION public.{function}('case_id', '', '')")  # fmt: skip
        connection.get_transaction().rollback()


def read_the_catalog(intruder: Intruder) -> None:
    stage = intruder.stage
    with intruder.transaction() as connection:
        relation = intruder.pick(f"public.{intruder.pick(*stage.partitions)}", intruder.pick(*stage.relations))
        place = intruder.pick(f"SELECT * FROM {relation}", intruder.pick(*CATALOG_READS))
        if "stat_activity" not in place:  # an actor that resets its role sees running statements: docs/security.md
            prepare(intruder, connection)
        intruder.ask(connection, place)


def bypass_db_session(intruder: Intruder) -> None:
    engine, (sql, _) = intruder.stage.db.engine, random_query(intruder)
    if intruder.rng.random() < 0.5:
        with engine.execution_options(isolation_level="AUTOCOMMIT", actor=Actor(intruder.name)).connect() as connection:
            for statement in (intruder.pick("SELECT 1", *(f"SET ROLE {role}" for role in SESSION_ROLES)), sql):
                try:
                    intruder.check(*connection.execute(text(statement)).fetchall() if statement is sql else (
                        connection.execute(text(statement)),))  # fmt: skip
                except REFUSED as error:
                    intruder.check(error)
        return
    raw = engine.raw_connection()
    try:
        with raw.cursor() as cursor:
            for statement in (intruder.pick("SELECT 1", *(f"SET LOCAL ROLE {role}" for role in SESSION_ROLES)), sql):
                cursor.execute(statement)
            intruder.check(*cursor.fetchall())
    except REFUSED as error:
        intruder.check(error)
    finally:
        raw.close()
