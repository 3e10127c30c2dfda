"""`alembic stamp` without tables succeeds, and the missing tables are reported."""

from __future__ import annotations

from src.database.provisioning.comparison import compare
from tests.migrations.conftest import engine_of, finish, start_alembic


def test_missing_tables_after_a_stamp_are_reported(empty_url, tmp_path):
    finish(start_alembic(empty_url, tmp_path, "stamp", "head"))

    with engine_of(empty_url) as engine, engine.connect() as connection:
        reported = [str(one) for one in compare(connection)]
    assert any("the table cases is missing" in one for one in reported)
    assert any("schema_revision() is missing" in one for one in reported)
