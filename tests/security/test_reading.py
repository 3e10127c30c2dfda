"""Alice and Bob see exactly the rows of their own cases, with every way of reading."""

from __future__ import annotations

import io

import pytest
from sqlalchemy import exists, func, select, text
from sqlalchemy.orm import aliased

from src.database import Base, Case
from src.database.connection.actor_tokens import Actor
from src.errors import NotFound
from src.services import cases, search
from tests.security.population import (
    ALL_TABLES,
    CASE_TABLES,
    HIDDEN_TABLES,
    MODELS,
    OWNERS,
    SHARED_TABLES,
    case_column,
    core,
)

both = pytest.mark.parametrize("name", OWNERS)
tables = pytest.mark.parametrize("table", CASE_TABLES)


def test_every_table_is_classified_by_visibility():
    """A new table must be classified here and in the population."""
    assert set(ALL_TABLES) == set(CASE_TABLES) | SHARED_TABLES | HIDDEN_TABLES


@both
@tables
def test_every_way_of_reading_returns_the_rows_of_the_own_case(shared, name, table):
    own = shared.rows_of(name, table)
    model, column = MODELS[table], case_column(Base.metadata.tables[table])
    foreign = shared.case_of[shared.other(name)]
    with shared.db.session(actor=name) as session:
        assert set(session.scalars(select(model.id))) == own
        assert {row.id for row in session.scalars(select(model))} == own
        assert session.scalar(select(func.count()).select_from(model)) == len(own)
        assert session.scalar(select(exists().where(getattr(model, column) == foreign))) is False
        theirs = max(shared.rows_of(shared.other(name), table))
        assert session.scalars(select(model).where(model.id == theirs)).one_or_none() is None
    own = shared.rows_of(name, table)  # with the entries of these looks
    with core(shared.db, Actor(name)) as connection:
        assert set(connection.scalars(select(model.__table__.c.id))) == own
        for query in ways_to_read(table, column):
            assert set(connection.scalars(text(query))) == own, query
        copied = io.StringIO()
        with connection.connection.dbapi_connection.cursor() as cursor:
            cursor.copy_expert(f"COPY (SELECT id FROM {table}) TO STDOUT", copied)
        assert {int(line) for line in copied.getvalue().split()} == own
        with connection.connection.dbapi_connection.cursor(name="server_side") as cursor:
            cursor.execute(f"SELECT id FROM {table}")
            assert {row[0] for row in cursor} == own


def ways_to_read(table, column):
    yield f"SELECT id FROM {table}"
    yield f"SELECT id FROM public.{table} WHERE true OR id < 0"
    yield f"SELECT id FROM ONLY public.{table}" if table != "activity_logs" else f"SELECT id FROM {table}"
    yield f"WITH all_rows AS MATERIALIZED (SELECT * FROM {table}) SELECT id FROM all_rows"
    yield f"SELECT a.id FROM {table} a JOIN {table} b USING (id)"
    yield f"SELECT b.id FROM {table} a FULL JOIN {table} b ON true"
    if table != "activity_logs":  # some entries belong to no case
        yield f"SELECT l.id FROM cases c CROSS JOIN LATERAL (SELECT t.id FROM {table} t WHERE t.{column} = c.id) l"
    yield f"SELECT l.id FROM generate_series(1, 9) g CROSS JOIN LATERAL (SELECT t.id FROM {table} t) l"
    yield f"SELECT first_value(id) OVER (PARTITION BY id ORDER BY {column}) FROM {table}"
    yield f"SELECT id FROM {table} UNION ALL SELECT id FROM {table}"
    yield f"SELECT (SELECT t.id FROM {table} t WHERE t.id = x.id LIMIT 1) FROM {table} x"
    yield f"SELECT unnest(array_agg(id)) FROM {table}"
    yield f"SELECT id FROM {table} GROUP BY CUBE (id) HAVING id IS NOT NULL"
    if table != "activity_logs":
        yield f"SELECT id FROM {table} TABLESAMPLE BERNOULLI (100)"
        yield f"SELECT id FROM {table} TABLESAMPLE SYSTEM (100)"
    yield f"SELECT (jsonb_array_elements(jsonb_agg(to_jsonb(t) - 'password_hash')) ->> 'id')::bigint FROM {table} t"


@both
def test_a_join_over_everything_stays_in_the_own_case(shared, name):
    other = aliased(Case)
    with shared.db.session(actor=name) as session:
        pairs = session.execute(select(Case.id, other.id).join(other, Case.id <= other.id)).all()
        assert pairs == [(shared.case_of[name],) * 2]


@both
def test_search_finds_only_own_words(shared, name):
    with shared.db.session(actor=name) as session:
        assert [hit.case_id for hit in search.transcripts(session, "common")] == [shared.case_of[name]]
        assert search.transcripts(session, f"{shared.other(name)}secret") == []
        assert len(search.transcripts(session, f"{name}secret")) == 1


@pytest.mark.parametrize("options", ["", "WITH (security_barrier)", "WITH (security_invoker)"])
def test_own_views_show_no_additional_rows(shared, options):
    with core(shared.db, Actor("alice")) as connection:
        for table in CASE_TABLES:
            connection.execute(text(f"CREATE TEMP VIEW my_{table} {options} AS SELECT * FROM public.{table}"))
            connection.execute(text(f"CREATE TEMP TABLE kept_{table} AS SELECT id FROM public.{table}"))
            own = shared.rows_of("alice", table)
            assert set(connection.scalars(text(f"SELECT id FROM my_{table}"))) == own
            assert set(connection.scalars(text(f"SELECT id FROM kept_{table}"))) == own
        connection.get_transaction().rollback()


@both
@tables
def test_explain_analyze_reveals_no_foreign_value(shared, name, table):
    other = shared.other(name)
    with core(shared.db, Actor(name)) as connection:
        plan = "\n".join(connection.scalars(text(f"EXPLAIN (ANALYZE, VERBOSE, BUFFERS OFF) SELECT * FROM {table} t")))
    assert f"CASE-{other.upper()}" not in plan
    assert f"Secret note of {other}" not in plan


LEAK = """
CREATE FUNCTION pg_temp.leak(value text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN RAISE NOTICE 'leaked %', value; RETURN true; END $$
"""


def test_a_cheap_predicate_is_not_evaluated_before_the_policy(shared):
    with core(shared.db, Actor("alice")) as connection:
        driver = connection.connection.dbapi_connection
        with driver.cursor() as cursor:  # SQLAlchemy's own cursors remove the notices
            cursor.execute(LEAK)
            for table in CASE_TABLES:
                cursor.execute(f"SELECT id FROM {table} t WHERE pg_temp.leak(t::text)")
                cursor.execute(f"SELECT id FROM {table} t ORDER BY pg_temp.leak(t::text) LIMIT 1")
                notices = "".join(driver.notices)
                assert "leaked" in notices, table
                assert "CASE-BOB" not in notices
                assert "Secret note of bob" not in notices
        connection.get_transaction().rollback()


@pytest.mark.parametrize("bait", ["1 / (id - {id})", "(CASE WHEN id = {id} THEN 'x' ELSE '1' END)::int"])
def test_an_error_in_a_condition_does_not_reveal_a_foreign_row(shared, bait):
    with core(shared.db, Actor("alice")) as connection:
        condition = bait.format(id=shared.case_of["bob"])
        assert connection.execute(text(f"SELECT id FROM cases WHERE {condition} > -9")).rowcount == 1


def test_statistics_reveal_no_values(populated):
    with populated.owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    for view in ("pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"):
        with core(populated.db, Actor("alice")) as connection:
            rows = connection.execute(text(f"SELECT * FROM {view} WHERE schemaname = 'public'")).all()
            assert "CASE-BOB" not in str(rows)
            assert [row.tablename for row in rows if row.tablename in CASE_TABLES] == [], view


def test_partitions_of_the_log_cannot_be_accessed_directly(shared):
    with shared.owner.connect() as connection:
        partitions = connection.scalars(text("SELECT inhrelid::regclass::text FROM pg_inherits"
                                             " WHERE inhparent = 'public.activity_logs'::regclass")).all()  # fmt: skip
    assert len(partitions) >= 4
    for role in ("sti_app", "sti_wide", "sti_admin", "NONE"):
        for partition in partitions:
            with core(shared.db, Actor("alice"), role) as connection:
                for action in ("SELECT count(*) FROM {}", "INSERT INTO {} DEFAULT VALUES", "UPDATE {} SET id = 1",
                               "DELETE FROM {}", "TRUNCATE {}", "LOCK TABLE {} IN ACCESS SHARE MODE"):  # fmt: skip
                    with pytest.raises(Exception, match="permission denied"), connection.begin_nested():
                        connection.execute(text(action.format(partition)))


def test_a_missing_case_and_a_foreign_one_have_the_same_message(shared):
    words = []
    for code in ("CASE-BOB", "CASE-NOBODY"):
        with pytest.raises(NotFound) as caught, shared.db.session(actor="alice") as session:
            cases.get_case(session, code)
        words.append(str(caught.value).replace(code, "…"))
    assert words[0] == words[1]
