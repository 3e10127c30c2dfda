"""A revision that changes how words are indexed brings the indexes that it can along, in both directions."""

from __future__ import annotations

from sqlalchemy import text

from src.database.migrate import downgrade, upgrade
from src.database.seeding import sow
from tests.migrations.conftest import engine_of

# With the index only: what it was made with shows, and not what its function says today.
ASK = """
SELECT count(*) FROM case_notes
 WHERE search_vector('simple', body) @@ (SELECT search_query('simple', 'harbour'))
"""


def found(url):
    with engine_of(url) as engine, engine.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = " ".join(connection.execute(text("EXPLAIN " + ASK)).scalars())
        assert "case_notes_search_idx" in plan
        return connection.scalar(text(ASK))


def test_notes_of_before_are_found_by_the_rules_of_today(empty_url):
    upgrade(empty_url, "0009")
    with engine_of(empty_url) as engine, engine.begin() as connection:
        sow(connection)
        connection.execute(text("INSERT INTO users (username) VALUES ('alice')"))
        connection.execute(text("INSERT INTO cases (title, opened_by_id) SELECT 'Old', id FROM users"))
        connection.execute(
            text("INSERT INTO case_notes (case_id, author_id, body)"
                 " SELECT c.id, u.id, 'left.harbour' FROM cases c, users u")
        )  # fmt: skip
    assert found(empty_url) == 0
    upgrade(empty_url, "0010")
    assert found(empty_url) == 1
    downgrade(empty_url, "0009")
    assert found(empty_url) == 0
