"""Planner statistics contain no text of other cases, which EXPLAIN would reveal."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Text, text

from src.database import Base
from src.database.connection.actor_tokens import Actor
from src.database.models import Case, User
from src.database.provisioning.extensions import NAME_INDEXES, create_name_indexes
from src.database.schema.declaration import PERSONAL, with_mark
from src.services import cases
from tests.declared import CASE_TABLES, DERIVED, UNSAMPLED_COLUMNS
from tests.security.population import core

# Our own codes, hashes and random keys: no text written by users.
PLAIN = {
    "role", "content_type", "codec", "storage_type", "key", "backend", "state", "upload_id", "kind",
    "worker", "model_name", "model_version", "segments_sha256", "details_schema", "dialect",
    "last_error",
}  # fmt: skip
ASKED = (
    "cases WHERE title < '{}'", "cases WHERE lower(title) < '{}'", "cases WHERE title = '{}'",
    "cases WHERE title ^@ '{}'",
    "cases WHERE case_code < '{}'", "cases WHERE lower(case_code) < '{}'",
    "case_notes WHERE body < '{}'",
    "case_notes WHERE public.search_vector_1('simple', body) @@ '{}'::tsquery",
)  # fmt: skip


@pytest.fixture
def sampled(db, owner):
    """A thousand cases of Bob, 300 with a note, and one of Alice, after ANALYZE."""
    with db.session(actor="bob") as session:
        number = session.query(User).filter_by(username="bob").one().id
        session.add_all(Case(title=f"secret {n:04}", case_code=f"SECRET-{n}", opened_by_id=number) for n in range(1000))
        session.flush()
        for case in session.query(Case).limit(300):
            cases.add_note(session, case, f"secret plan of {case.title}")
    with db.session(actor="alice") as session:
        cases.open_case(session, title="own")
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        create_name_indexes(connection)
        connection.execute(text("ANALYZE"))
    return db


def estimate(connection, asked):
    """Return the estimated number of rows, multiplied by a million so that fractions are visible."""
    plan = connection.execute(text(f"EXPLAIN SELECT FROM generate_series(1, 1000000), {asked}")).scalars().all()
    return re.findall(r"rows=(\d+)", plan[0])


def test_estimates_do_not_reveal_words_of_other_cases(sampled):
    with core(sampled, Actor("alice")) as connection:
        for asked in ASKED:
            words = ("a", "plan", "secret", "secret-0500", "zzz")
            assert len({tuple(estimate(connection, asked.format(word))) for word in words}) == 1, asked


def test_text_of_cases_is_never_sampled(owner):
    with owner.begin() as connection:
        indexes = create_name_indexes(connection)
        sampled = connection.execute(
            text("SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
                 " WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0"
                 # Of an index ANALYZE samples expressions only.
                 " AND (c.relkind NOT IN ('i', 'I') OR a.attnum = 1)"
                 " AND a.attstattarget IS DISTINCT FROM 0")
        ).all()  # fmt: skip
    sampled = {(relation, column) for relation, column in sampled}
    for table in ("cases", *CASE_TABLES):
        columns = Base.metadata.tables[table].columns
        texts = {column.name for column in columns if isinstance(column.type, Text)} | {*with_mark(columns, PERSONAL)}
        assert texts - PLAIN == set(UNSAMPLED_COLUMNS.get(table, ())), table
        assert not {(table, name) for name in texts - PLAIN} & sampled
    named = {name for name in NAME_INDEXES if not name.startswith("users")} if indexes else set()
    by_expression = re.findall(r"ALTER INDEX public\.(\w+)", "".join(sql for each in DERIVED for sql in each.unsampled))
    assert len(by_expression) == 8
    assert not {relation for relation, _ in sampled} & {*named, *by_expression}
