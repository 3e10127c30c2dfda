"""Alembic's other commands: a revision that is only stamped is no reason to fail, and is named."""

from __future__ import annotations

from src.database.provisioning.comparison import compare
from tests.migrations.conftest import engine_of, finish, start_alembic


def test_missing_tables_after_a_stamp_are_reported(empty_url, tmp_path):
    finish(start_alembic(empty_url, tmp_path, "stamp", "head"))

    with engine_of(empty_url) as engine, engine.connect() as connection:
        told = [str(one) for one in compare(connection)]
    assert any("the table cases is missing" in one for one in told)
    assert any("schema_revision() is missing" in one for one in told)
